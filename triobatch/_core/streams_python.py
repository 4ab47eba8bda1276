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

from triobatch._core.borrowed_socket import borrowed_socket, keeping_mode
from triobatch._core.chunks import COPY_SIZE, front, locate, measure
from triobatch._core.counts import checked, checked_vector
from triobatch._core.files import spread
from triobatch._core.flags import MSG_DONTWAIT, MSG_NOSIGNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from triobatch._wire.hints import Buffer

_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL

# The C type, whose methods look for no signals (see borrowed_socket).
_Socket = socket.SocketType
_init = keeping_mode(_Socket.__init__)
_recv, _detach = _Socket.recv, _Socket.detach

# join() takes 80 bytes for each object while it works.
_JOIN_COUNT = 4096


def _borrowed(fd: int) -> AbstractContextManager[socket.socket]:
    # Given so that CPython does not have to ask.
    return borrowed_socket(fd, socket.AF_INET, socket.SOCK_STREAM)


def send(fd: int, data: bytes | memoryview) -> int:
    """Send one piece with one ``send(2)``; return the bytes taken."""
    with _borrowed(fd) as sock:
        return checked(sock.send(data, _FLAGS), len(data))


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


def send_list(
    fd: int, chunks: list[Buffer], room: int
) -> tuple[int, bytes | memoryview | None] | None:
    """Send a list whole, if all of it is bytes, with one ``send(2)``.

    Args:
      fd: A stream socket.
      chunks: Anything may be in it.
      room: How many bytes to send at the most.

    Returns:
      The bytes taken, 0 if the call would block, and the rest, or None when
      there is none; for any other list, and for no bytes, None.
    """
    # Another thread may change the list.
    own = cast("list[bytes]", chunks.copy())
    if len(own) > _JOIN_COUNT or not 0 < measure(own) <= room:  # type: ignore[arg-type]
        return None
    joined = own[0] if len(own) == 1 else b"".join(own)
    try:
        sent = send(fd, joined)
    except BlockingIOError:
        sent = 0
    return sent, None if sent == len(joined) else memoryview(joined)[sent:]


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
        checked_vector(sent, chunks)
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


def receive(fd: int, size: int, large: bool = True) -> bytes | None:  # noqa: ARG001 (the twin's)
    """Receive at most ``size`` bytes with one ``recv(2)``.

    The socket is borrowed as by ``borrowed_socket``, whose generator costs 3
    us a call; so it is 1 us over ``os.read``, which knows no MSG_DONTWAIT.
    What comes is never copied here, ``large`` or not.

    Returns:
      The bytes; ``b""`` at the end of the stream; None if it would block.
    """
    borrowed = _Socket.__new__(_Socket)
    try:
        _init(borrowed, socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        if socket.getdefaulttimeout() is not None:
            borrowed.setblocking(False)
        received = _recv(borrowed, size, MSG_DONTWAIT)
    except BlockingIOError:
        return None
    finally:
        _detach(borrowed)
    checked(len(received), size)
    return received


def receive_into(fd: int, buffers: Sequence[memoryview]) -> int | None:
    """Fill at most IOV_MAX buffers with one system call.

    Returns:
      The bytes received; 0 at the end of the stream; None if it would block.
    """
    try:
        with _borrowed(fd) as sock:
            if hasattr(sock, "recvmsg_into"):
                received = sock.recvmsg_into(buffers, 0, MSG_DONTWAIT)[0]
                return checked(received, sum(map(len, buffers)))
            if len(buffers) == 1:
                return sock.recv_into(buffers[0])
            room = min(COPY_SIZE, sum(map(len, buffers)))
            return spread(sock.recv(room), buffers)
    except BlockingIOError:
        return None


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
