"""Which of Trio's exceptions an errno becomes."""

import errno
import os
import socket

import pytest
import trio

from triobatch._resource_errors import (
    closed_socket,
    open_fd,
    raise_stream_error,
)


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK])
def test_a_descriptor_that_is_gone_means_closed(number):
    error = OSError(number, os.strerror(number))
    with pytest.raises(
        trio.ClosedResourceError, match=r"^this socket was already closed$"
    ) as caught:
        raise_stream_error(error)
    # As Trio has it: the errno says nothing more.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "number",
    [errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENOBUFS, 99999],
)
def test_any_other_errno_means_broken(number):
    error = OSError(number, "the reason")
    with pytest.raises(
        trio.BrokenResourceError, match=r"^socket connection broken: .*reason"
    ) as caught:
        raise_stream_error(error)
    assert caught.value.__cause__ is error


async def test_an_open_socket_tells_its_descriptor():
    with trio.socket.socket() as sock:
        assert open_fd(sock) == sock.fileno()


async def test_a_closed_socket_has_no_descriptor():
    sock = trio.socket.socket()
    sock.close()
    with pytest.raises(trio.ClosedResourceError, match="already closed"):
        open_fd(sock)


async def test_a_detached_socket_has_no_descriptor():
    sock = trio.socket.socket()
    socket.close(sock.detach())
    with pytest.raises(trio.ClosedResourceError):
        open_fd(sock)


def test_closed_reads_like_trios_own():
    stdlib, peer = socket.socketpair()
    peer.close()

    async def send_on_a_closed_stream():
        sock = trio.socket.from_stdlib_socket(stdlib)
        stream = trio.SocketStream(sock)
        await stream.aclose()
        await stream.send_all(b"x")

    with pytest.raises(trio.ClosedResourceError) as theirs:
        trio.run(send_on_a_closed_stream)
    assert str(theirs.value) == str(closed_socket())
