"""System calls that do what a test wants, on one socket.

A loopback connection never takes 3 bytes of 10, and no machine runs out of
buffers on demand. So the calls on one socket are made to: what a script does
not say, the kernel still does. The seam is the modules' own names for their
system calls, so nothing in the way of a normal call pays for it.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest import mock

from triobatch._core import calls, streams_python
from triobatch._core.chunks import front, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from triobatch._datagrams.socket import DatagramSocket
    from triobatch._streams.stream import BatchSocketStream

# At most so many bytes or messages; or an error; or what the kernel will.
Step: TypeAlias = "int | OSError | None"


class ScriptedCalls:
    """What is left of a script, and what was done of it.

    Attributes:
      log: The steps that were taken, in order.
      left: The steps that were not.
    """

    def __init__(self, fileno: Callable[[], int], steps: list[Step]) -> None:
        self.log: list[Step] = []
        self.left = steps
        self._fileno = fileno

    def _next(self, fd: int) -> int | None:
        """Return the limit for a call on ``fd``, or raise its error."""
        while self.left and fd == self._fileno():
            step = self.left.pop(0)
            self.log.append(step)
            if isinstance(step, InterruptedError):
                # The call is repeated, and nobody hears of it.
                continue
            if isinstance(step, OSError):
                raise step
            return step
        return None


@contextmanager
def scripted_calls(
    target: BatchSocketStream | DatagramSocket,
    *,
    sending: Iterable[int | OSError | None] = (),
    receiving: Iterable[int | OSError | None] = (),
) -> Iterator[tuple[ScriptedCalls, ScriptedCalls]]:
    """Say what the next system calls on a socket come to, for a block.

    Each item of a script is for one call: a number lets it take at most so
    many bytes of a stream, or messages of a datagram socket (where a run of
    datagrams that the kernel cuts up is one message); an OSError, such as
    ``os_error(errno.EIO)``, is raised in its place; None leaves it to the
    kernel, as are the calls after the last item. EAGAIN is waited for, which
    ends at once on a socket that is ready, and EINTR is never seen: the call
    is repeated. ::

        script = [3, os_error(errno.EAGAIN), os_error(errno.ECONNRESET)]
        with scripted_calls(stream, sending=script):
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"message")

    Args:
      target: The stream or the socket.
      sending: What the calls that send come to.
      receiving: What the calls that receive come to.

    Returns:
      What has become of the two scripts.

    Raises:
      ValueError: a number is less than 1.
      TypeError: an item is something else.

    For one thread: two blocks of different threads must not overlap.
    """
    fileno = target.socket.fileno
    sent = ScriptedCalls(fileno, _as_steps(sending))
    received = ScriptedCalls(fileno, _as_steps(receiving))
    with mock.patch.multiple(
        calls,
        # The way around a Buffers; the general one does the same.
        copy=lambda *_: None,
        **_stream_sends(sent),
        **_stream_receives(sent, received),
        **_datagrams(sent, received),
    ):
        yield sent, received


def _as_steps(script: Iterable[Step]) -> list[Step]:
    steps = list(script)
    for step in steps:
        if isinstance(step, int):
            if step < 1:
                raise ValueError(f"a step must be at least 1, not {step}")
        elif step is not None and not isinstance(step, OSError):
            raise TypeError(
                "a step must be a number, an OSError or None, "
                f"not {type(step).__name__}"
            )
    return steps


def os_error(number: int) -> OSError:
    """Return the OSError that a system call raises for an errno."""
    return OSError(number, os.strerror(number))


def _stream_sends(script: ScriptedCalls) -> dict[str, Any]:
    send_copied, send_pointed = calls.send_copied, calls.send_pointed

    def send_front(
        fd: int,
        chunks: list[bytes | memoryview],
        index: int,
        offset: int,
        limit: int,
    ) -> tuple[int, bool]:
        offered = b"".join(front(chunks, index, offset, limit))
        return calls.send(fd, offered), False

    class ScriptedVector(streams_python.Vector):
        def send(self, fd: int) -> tuple[int, bool]:
            limit = script._next(fd)
            if limit is None:
                return super().send(fd)
            chunks, offset = self._chunks, self._offset
            sent, _ = send_front(fd, chunks, 0, offset, limit)
            index, self._offset = locate(chunks, 0, offset, sent)
            self._chunks = chunks[index:]
            return sent, not self._chunks

    def copied(
        fd: int, chunks: list[bytes | memoryview], index: int, offset: int
    ) -> tuple[int, bool]:
        limit = script._next(fd)
        if limit is None:
            return send_copied(fd, chunks, index, offset)
        return send_front(fd, chunks, index, offset, limit)

    def pointed(
        fd: int, chunks: list[bytes | memoryview], offset: int
    ) -> tuple[int, bool]:
        limit = script._next(fd)
        if limit is None:
            return send_pointed(fd, chunks, offset)
        return send_front(fd, chunks, 0, offset, limit)

    return {
        "Vector": ScriptedVector,
        "send_copied": copied,
        "send_pointed": pointed,
    }


def _stream_receives(
    sent: ScriptedCalls, received: ScriptedCalls
) -> dict[str, Any]:
    receive, receive_into = calls.receive, calls.receive_into
    send = calls.send

    def scripted_receive(fd: int, size: int) -> bytes:
        limit = received._next(fd)
        return receive(fd, size if limit is None else min(size, limit))

    def scripted_receive_into(fd: int, buffers: list[memoryview]) -> int:
        limit = received._next(fd)
        if limit is not None:
            buffers = [
                memoryview(part) for part in front(list(buffers), 0, 0, limit)
            ]
        return receive_into(fd, buffers)

    def broadcast(fds: list[int], data: bytes) -> list[int]:
        results: list[int] = []
        for fd in fds:
            try:
                results.append(send(fd, data[: sent._next(fd)]))
            except OSError as error:
                results.append(-(error.errno or errno.EIO))
        return results

    return {
        "receive": scripted_receive,
        "receive_into": scripted_receive_into,
        "broadcast": broadcast,
    }


def _datagrams(sent: ScriptedCalls, received: ScriptedCalls) -> dict[str, Any]:
    send_datagrams = calls.send_datagrams
    send_segments = calls.send_segments
    receive_datagrams = calls.receive_datagrams

    def scripted_send(
        fd: int,
        joined: bytes,
        sizes: list[int],
        segment_sizes: list[int],
        peers: list[bytes],
        *rest: Any,
    ) -> int:
        limit = sent._next(fd)
        if limit is None:
            limit = len(sizes)
        return send_datagrams(
            fd,
            joined,
            sizes[:limit],
            segment_sizes[:limit],
            peers if len(peers) == 1 else peers[:limit],
            *rest,
        )

    def scripted_segments(
        fd: int, data: bytes | memoryview, segment_size: int, *rest: Any
    ) -> int:
        limit = sent._next(fd)
        if limit is not None:
            data = data[: limit * segment_size]
        return send_segments(fd, data, segment_size, *rest)

    def scripted_receive(fd: int, arena: Any, slots: int) -> int:
        limit = received._next(fd)
        return receive_datagrams(
            fd, arena, slots if limit is None else min(slots, limit)
        )

    return {
        "send_datagrams": scripted_send,
        "send_segments": scripted_segments,
        "receive_datagrams": scripted_receive,
    }
