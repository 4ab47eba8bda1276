"""What only the Python core does; what both do is in test_syscalls."""

from __future__ import annotations

import gc
import inspect
import os
import socket
import sys
from contextlib import contextmanager, suppress

import pytest

from triobatch._core import streams_python as core


@pytest.fixture
def pair():
    """Two connected Unix sockets, neither of which blocks."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


CALLS = {
    "send": lambda fd: core.send(fd, b"ab"),
    "send_copied": lambda fd: core.send_copied(fd, [b"a", b"b"], 0, 0),
    "send_list": lambda fd: core.send_list(fd, [b"a", b"b"], 2),
    "send_pointed": lambda fd: core.send_pointed(fd, [b"a", b"b"], 0),
    "Vector": lambda fd: core.Vector([b"a", b"b"], 0).send(fd),
    "receive": lambda fd: core.receive(fd, 2),
    "receive_into": lambda fd: core.receive_into(
        fd, [memoryview(bytearray(2))]
    ),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


def test_a_call_leaves_the_descriptor_open(pair, call):
    left, right = pair
    right.send(b"xy")
    call(left.fileno())
    right.send(b"z")
    assert left.recv(3)[-1:] == b"z"


def test_a_failing_call_leaves_the_descriptor_open(call):
    reader, writer = os.pipe()
    for fd in reader, writer:
        with pytest.raises(OSError, match="non-socket"):
            call(fd)
        os.fstat(fd)
        os.close(fd)


@pytest.fixture
def default_timeout():
    socket.setdefaulttimeout(0.01)
    yield
    socket.setdefaulttimeout(None)


def test_a_default_timeout_makes_no_call_wait(pair, call, default_timeout):
    left, _ = pair
    with suppress(BlockingIOError):
        while True:
            left.send(bytes(100_000))
    # TimeoutError, if it waited.
    try:
        answer = call(left.fileno())
    except BlockingIOError:
        return
    assert answer in (None, (0, b"ab"))


@pytest.mark.skipif(
    not hasattr(os, "get_blocking"), reason="the mode cannot be asked for"
)
def test_a_default_timeout_leaves_the_descriptor_as_it_was(
    pair, call, default_timeout
):
    left, right = pair
    right.send(b"xy")
    call(left.fileno())
    assert not os.get_blocking(left.fileno())


def test_a_vector_lets_go_of_what_was_sent(pair):
    left, _ = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    first, second = bytearray(100), bytearray(100_000)
    views = [memoryview(first), memoryview(second)]
    vector = core.Vector(views, 5)
    sent, whole = vector.send(left.fileno())
    assert sent > len(first)
    assert not whole
    views[0].release()
    first += b"grows"


class Windows:
    """A socket with the methods that it has there."""

    def __init__(self, sock):
        self.send = sock.send
        self.recv = sock.recv
        self.recv_into = sock.recv_into


@pytest.fixture
def windows(monkeypatch):
    borrowed = core._borrowed

    @contextmanager
    def lesser(fd):
        with borrowed(fd) as sock:
            yield Windows(sock)

    monkeypatch.setattr(core, "_borrowed", lesser)


def test_where_nothing_gathers_chunks_are_joined(pair, windows):
    left, right = pair
    chunks = [b"abc", memoryview(b"def"), b"ghi"]
    assert core.send_pointed(left.fileno(), chunks, 1) == (8, True)
    assert right.recv(100) == b"bcdefghi"


def test_where_nothing_gathers_little_is_joined_at_a_time(
    pair, windows, monkeypatch
):
    left, right = pair
    monkeypatch.setattr(core, "COPY_SIZE", 10)
    vector = core.Vector([b"abcdefgh", b"ijklmn", b"op"], 1)
    assert vector.send(left.fileno()) == (10, False)
    assert vector.send(left.fileno()) == (5, True)
    assert right.recv(100) == b"bcdefghijklmnop"


def test_where_nothing_scatters_what_came_is_copied(
    pair, windows, monkeypatch
):
    left, right = pair
    monkeypatch.setattr(core, "COPY_SIZE", 6)
    buffers = [bytearray(2), bytearray(), bytearray(3), bytearray(4)]
    views = list(map(memoryview, buffers))
    assert core.receive_into(right.fileno(), views) is None
    left.send(b"abcdefgh")
    assert core.receive_into(right.fileno(), views) == 6
    assert buffers == [b"ab", b"", b"cde", b"f\0\0\0"]
    assert core.receive_into(right.fileno(), views[3:]) == 2
    assert buffers[3] == b"gh\0\0"


class HandlerError(Exception):
    pass


def interrupt_at(position):
    """Raise where a signal is seen to: where a call starts or has ended."""
    seen = 0

    def look(frame, event, argument):
        nonlocal seen
        # Not between Python and C. And an exception between next() and a
        # generator would pass its blocks by, which that of a signal does not.
        generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        if event == "c_return" or (
            event in {"call", "return"} and not generator
        ):
            seen += 1
            if seen == position:
                raise HandlerError

    sys.setprofile(look)


@pytest.mark.skipif(
    sys.implementation.name != "cpython",
    reason="about where CPython looks for signals",
)
def test_a_raising_signal_handler_leaves_the_descriptor_open(pair, call):
    left, right = pair
    right.send(bytes(10_000))
    position = 1
    while True:
        try:
            interrupt_at(position)
            call(left.fileno())
        except HandlerError:
            pass
        else:
            break
        finally:
            sys.setprofile(None)
        gc.collect()
        assert left.getpeername() is not None, position
        position += 1
    assert position > 10
