"""What only the C core does; what both do is in test_syscalls."""

from __future__ import annotations

import os
import socket
import sys
import threading

import extensions
import pytest
from helpers import drain, is_exported

from triobatch._core.chunks import COPY_SIZE, IOV_MAX

core = extensions.load("triobatch._core.streams_c", extensions.C_CORE)

needs_extension = extensions.needs(extensions.CHUNKS)


@pytest.fixture
def pair():
    """Two connected Unix sockets, neither of which blocks."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture
def no_extension(monkeypatch):
    """As on PyPy and free-threaded builds."""
    monkeypatch.setattr(core, "_copy", lambda *_: (0, -1))
    monkeypatch.setattr(core, "_point_to_bytes", lambda *_: False)


def test_a_blocking_descriptor_does_not_make_a_call_block(pair):
    left, right = pair
    for sock in pair:
        # settimeout(None) would not do: the flag is on the open file.
        os.set_blocking(sock.fileno(), True)
    for large in False, True:
        assert core.receive(right.fileno(), 1, large) is None
    room = memoryview(bytearray(1))
    assert core.receive_into(right.fileno(), [room]) is None
    assert core.receive_into(right.fileno(), [room, room]) is None
    filling = bytes(2**20)
    while core.send(left.fileno(), filling) == len(filling):
        pass
    with pytest.raises(BlockingIOError):
        core.send(left.fileno(), filling)


def test_a_vector_may_be_longer_than_a_call(pair):
    left, right = pair
    chunks = [b"%04d" % i for i in range(2 * IOV_MAX + 1)]
    vector = core.Vector(chunks, 0)
    assert vector.send(left.fileno()) == (4 * IOV_MAX, False)
    assert vector.send(left.fileno()) == (4 * IOV_MAX, False)
    assert vector.send(left.fileno()) == (4, True)
    assert drain(right) == b"".join(chunks)


def test_a_vector_begins_anew(pair):
    left, right = pair
    vector = core.Vector.with_room(3)
    for chunks, offset, expected in [
        ([b"ab", b"cd", b"ef"], 1, b"bcdef"),
        ([memoryview(b"gh")], 0, b"gh"),
        ([b"i", memoryview(b"jk")], 0, b"ijk"),
    ]:
        vector.point(chunks, offset)
        assert vector.send(left.fileno()) == (len(expected), True)
        assert drain(right) == expected


def test_a_vector_holds_no_exports(pair):
    left, _ = pair
    chunk = bytearray(b"data")
    view = memoryview(chunk)
    vector = core.Vector([view], 0)
    vector.send(left.fileno())
    view.release()
    assert not is_exported(chunk)


def test_without_the_chunk_extension_the_same_is_sent(pair, no_extension):
    left, right = pair
    chunks = [b"abc", memoryview(b"def"), b"ghi"]
    assert core.send_copied(left.fileno(), chunks, 1, 1) == (5, True)
    assert core.send_pointed(left.fileno(), chunks, 1) == (8, True)
    assert core.Vector(chunks[::2], 2).send(left.fileno()) == (4, True)
    assert drain(right) == b"efghi" + b"bcdefghi" + b"cghi"


def test_without_the_chunk_extension_a_lone_chunk_is_sent(pair, no_extension):
    left, right = pair
    assert core.send_list(left.fileno(), [b"abc", b"def"], COPY_SIZE) is None
    assert core.send_list(left.fileno(), [b"abc"], COPY_SIZE) == (3, None)
    assert drain(right) == b"abc"


@needs_extension
def test_scratch_memory_is_used_again_whatever_became_of_the_call(pair):
    left, right = pair
    fd = left.fileno()
    assert core.receive(fd, 1) is None
    (kept,) = core._pool
    assert core.send_list(fd, [b"a", b"b"], COPY_SIZE) == (2, None)
    assert core.send_list(fd, [b"a", bytearray(b"b")], COPY_SIZE) is None
    right.close()
    with pytest.raises(BrokenPipeError):
        core.send_list(fd, [b"a", b"b"], COPY_SIZE)
    with pytest.raises(ConnectionResetError):
        core.receive(fd, 1)
    assert core._pool == [kept]


@needs_extension
def test_scratch_memory_in_use_is_not_disturbed_by_another(pair):
    # As a signal handler, or a finalizer, may do in the midst of a send.
    left, right = pair
    scratch = core.take_scratch()
    scratch.contents[:5] = b"first"
    core.send_copied(left.fileno(), [b"an", b"other"], 0, 0)
    core.send_pointed(left.fileno(), [b"one", b"more"], 0)
    core.send_list(left.fileno(), [b"a", b"list"], COPY_SIZE)
    assert core.receive(right.fileno(), 100) == b"anotheronemorealist"
    assert scratch.contents[:5] == b"first"


@pytest.fixture
def restless():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(function, arguments):
    """Run a function once for each argument, all at the same time."""
    failures = []
    start = threading.Barrier(len(arguments))

    def run(argument):
        start.wait()
        try:
            function(argument)
        except AssertionError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(a,)) for a in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def send_in_each_way(fd, letter):
    little, large = [letter * 50] * 400, [letter * 3000] * 8
    yield lambda: core.send_copied(fd, little, 0, 0)[0]
    yield lambda: core.send_pointed(fd, large, 0)[0]
    yield lambda: core.send_list(fd, little, COPY_SIZE)[0]


@needs_extension
def test_threads_do_not_disturb_each_other(restless):
    # Each call copies or points to its chunks, and then lets go of the GIL.
    def converse(letter):
        left, right = socket.socketpair()
        with left, right:
            for sock in left, right:
                sock.setblocking(False)
            for _ in range(100):
                for send in send_in_each_way(left.fileno(), letter):
                    sent = send()
                    assert sent > 19_999
                    assert drain(right) == letter * sent

    in_threads(converse, [b"a", b"b", b"c"])


def test_the_pool_of_scratch_memory_stays_small(monkeypatch):
    monkeypatch.setattr(core, "_pool", [])
    taken = [core.take_scratch() for _ in range(9)]
    for scratch in taken:
        scratch.give_back()
    assert len(core._pool) == core.POOL_SIZE == 4


def test_receiving_makes_scratch_memory_where_there_is_none(pair, monkeypatch):
    left, right = pair
    monkeypatch.setattr(core, "_pool", [])
    left.send(b"abc")
    assert core.receive(right.fileno(), 9) == b"abc"
    assert core.receive(right.fileno(), 9) is None
    assert len(core._pool) == 1
