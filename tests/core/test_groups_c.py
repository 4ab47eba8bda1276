"""What only the C core does for a group; what both do is in test_groups."""

from __future__ import annotations

import errno
import mmap
import os
import socket

import extensions
import pytest
import trio

import triobatch

core = extensions.load("triobatch._core.groups_c", extensions.C_CORE)
lib, ffi = core.lib, core.ffi


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_a_blocking_descriptor_does_not_make_a_call_block(pair):
    left, right = pair
    for sock in pair:
        os.set_blocking(sock.fileno(), True)
    arena = core.GroupArena(10)
    assert core.receive_group(arena, [right.fileno()]) == [-errno.EAGAIN]
    while core.send_group([left.fileno()], [bytes(2**16)])[1]:
        pass
    results = core.send_group([left.fileno()], [b"x"])
    assert results == ([-errno.EAGAIN], False)


def test_without_the_chunk_extension(pair, monkeypatch):
    left, right = pair
    monkeypatch.setattr(core, "_flatten", lambda *_: None)
    monkeypatch.setattr(core, "_split", None)
    fds = [left.fileno(), right.fileno()]
    results = core.send_group(fds, [[b"ab", b"", b"c"], b"d"])
    assert results == ([3, 1], True)
    arena = core.GroupArena(10)
    expected = [b"d", b"abc", -errno.EAGAIN]
    assert core.receive_group(arena, [*fds, fds[0]]) == expected


@pytest.mark.parametrize(
    ("count", "memory_size", "receive_size"),
    [(1, 0, 1), (1, 9, 10), (2, 19, 10), (1, 10, 0), (0, 0, 0)],
)
def test_memory_that_is_too_small_is_refused(
    pair, count, memory_size, receive_size
):
    pair[1].send(b"x" * 100)
    fds = [pair[0].fileno()] * count
    memory = ffi.new("char[]", 100)
    results = ffi.new("ssize_t[]", 2)
    assert (
        lib.tb_receive_group(
            fds, count, memory, memory_size, receive_size, results
        )
        == -errno.EINVAL
    )
    assert pair[0].recv(100) == b"x" * 100


@pytest.mark.parametrize("counts", [[2], [1, 1], [0, 2], [2**32 - 1]])
def test_pieces_that_are_missing_are_refused(pair, counts):
    left, right = pair
    right.setblocking(False)
    piece = ffi.new("char[]", b"x")
    pieces = ffi.new("struct iovec[]", [(piece, 1)])
    results = ffi.new("ssize_t[]", 2)
    assert (
        lib.tb_send_group(
            [left.fileno()] * len(counts),
            counts,
            len(counts),
            pieces,
            1,
            ffi.NULL,
            0,
            results,
        )
        == -errno.EINVAL
    )
    with pytest.raises(BlockingIOError):
        right.recv(1)


@pytest.mark.parametrize("room", [0, 3, 4, 5])
def test_scratch_memory_is_not_written_past_its_end(pair, room):
    left, right = pair
    data = ffi.new("char[]", b"abcd")
    pieces = ffi.new("struct iovec[]", [(data, 2), (data + 2, 2)])
    scratch = ffi.new("char[]", b"-" * 8)
    results = ffi.new("ssize_t[]", 1)
    assert (
        lib.tb_send_group(
            [left.fileno()], [2], 1, pieces, 2, scratch, room, results
        )
        == 1
    )
    assert results[0] == 4
    assert right.recv(10) == b"abcd"
    copied = b"abcd----" if room >= 4 else b"-" * 8
    assert ffi.buffer(scratch, 8)[:] == copied


def test_a_group_may_be_larger_than_the_scratch_memory(pair):
    left, right = pair
    count = 200
    results, whole = core.send_group([left.fileno()] * count, [b"x"] * count)
    assert whole
    assert results == [1] * count
    assert right.recv(999) == b"x" * count


class ShortOfMemory:
    """Stands for mmap, where so many bytes are too many."""

    def __init__(self, most):
        self.most = most
        self.MAP_PRIVATE = mmap.MAP_PRIVATE
        self.MAP_ANONYMOUS = mmap.MAP_ANONYMOUS

    def mmap(self, number, size, flags):
        if size > self.most:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return mmap.mmap(number, size, flags)


def test_where_memory_is_short_fewer_are_received_from(pair, monkeypatch):
    left, right = pair
    left.send(b"abcdefghij")
    arena = core.GroupArena(2)
    monkeypatch.setattr(core, "mmap", ShortOfMemory(5))
    fds = [right.fileno()] * 9
    assert core.receive_group(arena, fds) == [b"ab", b"cd"]
    assert len(fds) == 2
    # There is as much as before.
    monkeypatch.setattr(core, "mmap", ShortOfMemory(0))
    fds = [right.fileno()] * 9
    assert core.receive_group(arena, fds) == [b"ef", b"gh"]
    with pytest.raises(OSError, match="memory"):
        core.receive_group(core.GroupArena(2), fds)


async def test_a_group_short_of_memory_leaves_none_out(monkeypatch):
    monkeypatch.setattr(core, "mmap", ShortOfMemory(300))
    async with triobatch.open_stream_group(receive_size=100) as group:
        peers = []
        for _ in range(8):
            sockets = trio.socket.socketpair()
            peer, stream = map(triobatch.BatchSocketStream, sockets)
            group.add(stream)
            peers.append(peer)
            await peer.send_all(b"x")
        received = []
        with trio.fail_after(5):
            while len(received) < 8:
                received += await group.receive_batch()
        assert {stream for stream, _ in received} == set(group)
        for peer in peers:
            await peer.aclose()
