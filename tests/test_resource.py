"""One task at a time, and which of Trio's exceptions an errno becomes."""

import errno
import os
import socket
import sys

import pytest
import trio

from triobatch import Buffers, Datagrams
from triobatch._resource import (
    Claim,
    Guard,
    closed_socket,
    open_fd,
    raise_pipe_error,
    raise_stream_error,
)


def test_a_second_task_is_turned_away():
    guard = Guard("another task is in there")
    with (
        guard,
        pytest.raises(trio.BusyResourceError, match=r"is in there$"),
        guard,
    ):
        pytest.fail("it was let in")


def test_the_first_task_is_not_disturbed_by_the_second():
    guard = Guard("busy")
    with guard:
        for _ in range(2):
            with pytest.raises(trio.BusyResourceError), guard:
                pytest.fail("it was let in")


def test_taking_a_queue_along_keeps_others_from_both():
    guard = Guard("busy inside")
    queue, other = Buffers([b"a"]), Buffers([b"b"])
    guard.take(queue)
    with pytest.raises(trio.BusyResourceError, match="busy inside"):
        guard.take(other)
    with pytest.raises(trio.BusyResourceError, match="sending these buffers"):
        Guard("free").take(queue)
    with Claim(other):
        pass
    guard.let_go(queue)
    with guard, Claim(queue):
        pass


def test_a_queue_that_is_being_sent_leaves_the_guard_free():
    guard, queue = Guard("busy"), Buffers([b"a"])
    with (
        Claim(queue),
        pytest.raises(trio.BusyResourceError, match="these buffers"),
    ):
        guard.take(queue)
    with guard:
        pass


def test_the_next_task_may_enter():
    guard = Guard("busy")
    entered = 0
    for _ in range(2):
        with guard:
            entered += 1
    assert entered == 2


def test_a_failure_lets_the_next_one_in():
    guard = Guard("busy")
    with pytest.raises(ZeroDivisionError), guard:
        raise ZeroDivisionError
    with guard:
        pass


async def test_cancellation_lets_the_next_one_in():
    guard = Guard("busy")
    with trio.CancelScope() as scope:
        scope.cancel()
        with guard:
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    with guard:
        pass


@pytest.mark.parametrize(
    "kind", [Guard("busy"), Claim(Buffers()), Claim(Datagrams())]
)
async def test_ctrl_c_cannot_come_between_taking_and_letting_go(kind):
    # Python sees to signals when a function starts and after each call, so
    # one could find __exit__ begun, and end it before it has let go.
    found = []

    def look(frame, event, argument):
        if frame.f_code.co_name in ("__enter__", "__exit__"):
            found.append(trio.lowlevel.currently_ki_protected())

    sys.setprofile(look)
    try:
        with kind:
            pass
    finally:
        sys.setprofile(None)
    assert found == [True] * len(found) != []


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


def test_a_pipe_that_is_gone_reads_like_trios_own():
    error = OSError(errno.EBADF, os.strerror(errno.EBADF))
    with pytest.raises(
        trio.ClosedResourceError, match=r"^file was already closed$"
    ):
        raise_pipe_error(error)
    with pytest.raises(trio.BrokenResourceError, match=r"^pipe broken: "):
        raise_pipe_error(OSError(errno.EPIPE, os.strerror(errno.EPIPE)))
