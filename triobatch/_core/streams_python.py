"""System calls on stream sockets, through the standard library.

The twin of ``streams_c``, for macOS, Windows, PyPy and machines without a
compiler: what is in both does the same in both, here a little slower.

They are given a descriptor, and only a standard socket object has ``sendmsg``,
so one is made around the descriptor for the length of each call.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, cast

from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.chunks import COPY_SIZE, front, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

# A closed peer must not kill a process whose SIGPIPE is at its default. macOS
# and Windows have no MSG_NOSIGNAL: CPython's own setting, to ignore SIGPIPE,
# has to do there.
_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


# join() takes 80 bytes for each object while it works.
_JOIN_COUNT = 4096


def _borrowed(fd: int) -> AbstractContextManager[socket.socket]:
    # Given so that CPython does not have to ask.
    return borrowed_socket(fd, socket.AF_INET, socket.SOCK_STREAM)


def send(fd: int, data: bytes | memoryview) -> int:
    """Send one piece with one ``send(2)``; return the bytes taken."""
    with _borrowed(fd) as sock:
        return sock.send(data, _FLAGS)


def send_copied(
    fd: int,
    chunks: list[bytes | memoryview],
    index: int,
    offset: int,
    send: Callable[[int, bytes | memoryview], int] = send,
) -> tuple[int, bool]:
    """Join chunks into one piece, and send it with one ``send(2)``.

    Args:
      fd: A stream socket.
      chunks: At most COPY_SIZE bytes of them are offered.
      index: The chunk to start with.
      offset: Where it starts, in bytes.
      send: The function to send with.

    Returns:
      The bytes taken, and whether that is all that was offered.
    """
    window = chunks[index : index + _JOIN_COUNT]
    pieces = front(window, 0, offset, COPY_SIZE)
    joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    sent = send(fd, joined)
    return sent, sent == len(joined)


def copy(chunks: list[Buffer], room: int) -> None:
    """Return None: nothing is gained over the general way."""


class Vector:
    """A gathered send, as far as the standard library can gather.

    Args:
      chunks: At least one and at most IOV_MAX. The caller keeps every one of
        them alive, and exported, until its last byte is sent.
      offset: Where the first one starts, in bytes.
    """

    __slots__ = ("_chunks", "_offset")

    def __init__(self, chunks: list[bytes | memoryview], offset: int) -> None:
        # No views of its own outlive a call: they would keep what is exported
        # from being let go of with the chunks.
        self._chunks = chunks
        self._offset = offset

    def send(self, fd: int) -> tuple[int, bool]:
        """Send what is left with one system call.

        Returns:
          The bytes taken, and whether that is all of them.
        """
        chunks = self._chunks
        if self._offset:
            chunks = [memoryview(chunks[0])[self._offset :], *chunks[1:]]
        with _borrowed(fd) as sock:
            if hasattr(sock, "sendmsg"):
                sent = sock.sendmsg(chunks, (), _FLAGS)
            else:
                sent = sock.send(
                    b"".join(front(chunks, 0, 0, COPY_SIZE)), _FLAGS
                )
        index, self._offset = locate(self._chunks, 0, self._offset, sent)
        self._chunks = self._chunks[index:]
        return sent, not self._chunks


def send_pointed(
    fd: int, chunks: list[bytes | memoryview], offset: int
) -> tuple[int, bool]:
    """Send chunks where they lie, with one system call.

    Args:
      fd: A stream socket.
      chunks: At least one and at most IOV_MAX.
      offset: Where the first one starts, in bytes.

    Returns:
      The bytes taken, and whether that is all of them.
    """
    return Vector(chunks, offset).send(fd)


def receive(fd: int, size: int) -> bytes:
    """Receive at most ``size`` bytes; return ``b""`` at the end."""
    with _borrowed(fd) as sock:
        return sock.recv(size)


def receive_into(fd: int, buffers: Sequence[memoryview]) -> int:
    """Fill at most IOV_MAX buffers with one system call.

    Returns:
      The bytes received; 0 at the end of the stream.
    """
    with _borrowed(fd) as sock:
        if hasattr(sock, "recvmsg_into"):
            return sock.recvmsg_into(buffers)[0]
        return sock.recv_into(buffers[0])


def broadcast(fds: list[int], data: bytes) -> list[int]:
    """Send ``data`` to many descriptors, with one ``send(2)`` each.

    Returns:
      For each of them the bytes taken, or the errno, negative.
    """
    results: list[int] = []
    for fd in fds:
        try:
            results.append(send(fd, data))
        except BlockingIOError:
            # One number for what has another on Windows.
            results.append(-errno.EAGAIN)
        except OSError as error:
            results.append(-cast("int", error.errno))
    return results
