"""Bytes that the kernel moves: splice(2) and sendfile(2), through the C core.

The twin of ``splice_python``.
"""

from __future__ import annotations

import os

from triobatch._core._c import ffi, lib

TURN: int = lib.TB_RELAY_TURN
WAIT_SOURCE: int = lib.TB_RELAY_WAIT_SOURCE
WAIT_TARGET: int = lib.TB_RELAY_WAIT_TARGET
ENDED: int = lib.TB_RELAY_ENDED

_send_file = lib.tb_send_file
_send_more = lib.tb_send_more
_cached = lib.tb_cached
_relay = lib.tb_relay

# A pipe holds so many pieces of up to 32 KiB, and not bytes, so more can be
# asked for than F_SETPIPE_SZ says.
_PIPE_SIZE = 2**20


class Relay:
    """A pipe through which the kernel moves bytes between two sockets.

    Raises:
      OSError: there are no descriptors left for it.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._state = ffi.new("struct tb_relay *")
        self._state.pipe_out, self._state.pipe_in = pipe
        self._state.pipe_size = _PIPE_SIZE

    def __enter__(self) -> Relay:  # noqa: PYI034
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._state.pipe_out)
        os.close(self._state.pipe_in)

    @property
    def received(self) -> int:
        """The bytes that came in."""
        size: int = self._state.sent + self._state.held
        return size

    @property
    def sent(self) -> int:
        """The bytes that went out."""
        size: int = self._state.sent
        return size

    @property
    def calls(self) -> tuple[int, int]:
        """The system calls that received, and that sent, something."""
        return self._state.receives, self._state.sends

    def move(self, source: int, target: int, size: int) -> int:
        """Move bytes with splice(2) until something has to be waited for.

        Args:
          source: A descriptor to receive from.
          target: One to send to.
          size: As soon as so many are sent, it is the others' turn.

        Returns:
          ``TURN``, ``WAIT_SOURCE``, ``WAIT_TARGET`` or ``ENDED``.

        Raises:
          OSError: one of the two failed.
        """
        state = self._state
        state.source, state.target = source, target
        answer: int = _relay(state, size)
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer


def send_file(fd: int, file: int, offset: int, size: int) -> int:
    """Send a part of a file with one ``sendfile(2)``.

    Returns:
      The bytes taken; 0 at the end of the file.
    """
    sent: int = _send_file(fd, file, offset, size)
    if sent < 0:
        raise OSError(-sent, os.strerror(-sent))
    return sent


def send_more(fd: int, data: bytes | memoryview) -> int:
    """Send a piece, of which more will follow; return the bytes taken."""
    sent: int
    if type(data) is bytes:
        # cffi passes the pointer itself; any other type must be exported.
        sent = _send_more(fd, data, len(data))
    else:
        with ffi.from_buffer(data) as exported:
            sent = _send_more(fd, exported, len(exported))
    if sent < 0:
        raise OSError(-sent, os.strerror(-sent))
    return sent


def cached(file: int, offset: int, size: int) -> int:
    """Return how much of a part of a file is in memory, from its front on.

    By samples; all of it where the file system cannot tell.
    """
    found: int = _cached(file, offset, size)
    return size if found < 0 else found
