"""The kernel in memory, and that it answers as Linux does."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from needs import needs_addresses_where_connected, needs_metadata
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._core import calls
from triobatch._core.arena import CONTROL_SIZE, MSG_TRUNC, Arena
from triobatch._wire.addresses import AF_UNIX, encode_address
from triobatch._wire.metadata import Metadata, decode_metadata, encode_metadata
from triobatch.testing._memory_kernel import (
    MAX_DATAGRAM_SIZE,
    MemoryKernel,
    MemoryReadiness,
)

LEFT, RIGHT = encode_address("left"), encode_address("right")


def make_kernel(max_queued=None, link=None):
    return MemoryKernel(("left", "right"), max_queued, link)


def send(kernel, payload, peer=b"", control=()):
    return kernel.send_datagrams(
        0, payload, [len(payload)], [0], [peer], control
    )


def receive(kernel, count=64):
    arena = Arena(64, AF_UNIX, control_size=CONTROL_SIZE)
    received = kernel.receive_datagrams(1, arena, count)
    return [
        arena.memory[
            slot * arena.slot_size : slot * arena.slot_size + arena.sizes[slot]
        ]
        for slot in range(received)
    ]


def errno_of(call, *args):
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        call(*args)
    return caught.value.errno


@pytest.fixture
def linux():
    """The send of a real connected socket, whose peer can be closed."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no Unix sockets")
    pair = [socket.socket(AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in pair:
        sock.bind("")
    names = {LEFT: pair[0].getsockname(), RIGHT: pair[1].getsockname()}
    pair[0].connect(names[RIGHT])
    pair[1].connect(names[LEFT])

    def linux_send(payload, peer):
        name = names.get(peer, "/nowhere")
        return pair[0].sendto(payload, name) if peer else pair[0].send(payload)

    yield linux_send, pair[1].close
    for sock in pair:
        sock.close()


LARGE = bytes(2**20)


@needs_addresses_where_connected
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    ("payload", "peer"),
    [
        (b"x", LEFT),
        (b"x", b"elsewhere"),
        (LARGE, b""),
        (LARGE, LEFT),
        (LARGE, b"elsewhere"),
    ],
)
def test_what_is_refused_is_refused_as_by_linux(linux, payload, peer, closed):
    linux_send, close = linux
    kernel = make_kernel()
    if closed:
        close()
        kernel.sockets[1].close()
    assert errno_of(send, kernel, payload, peer) == errno_of(
        linux_send, payload, peer
    )


@needs_addresses_where_connected
def test_a_peer_that_is_closed_is_forgotten_as_by_linux(linux):
    linux_send, close = linux
    kernel = make_kernel()
    close()
    kernel.sockets[1].close()
    for payload, peer in [
        (b"x", RIGHT),
        (LARGE, b""),
        (b"x", b""),
        (b"x", b""),
        (b"x", RIGHT),
    ]:
        assert errno_of(send, kernel, payload, peer) == errno_of(
            linux_send, payload, peer
        )


def test_the_largest_datagram_is_that_of_udp():
    kernel = make_kernel()
    assert send(kernel, bytes(MAX_DATAGRAM_SIZE)) == 1
    assert errno_of(send, kernel, bytes(MAX_DATAGRAM_SIZE + 1)) == (
        errno.EMSGSIZE
    )
    assert receive(kernel) == [bytes(MAX_DATAGRAM_SIZE)]


def test_a_batch_ends_at_the_first_that_does_not_go():
    kernel = make_kernel(max_queued=2)
    assert kernel.send_datagrams(0, b"abc", [1] * 3, [0] * 3, [b""], ()) == 2
    assert errno_of(send, kernel, b"d") == errno.EAGAIN
    assert receive(kernel) == [b"a", b"b"]
    peers = [b"", LEFT, b""]
    assert kernel.send_datagrams(0, b"abc", [1] * 3, [0] * 3, peers, ()) == 1
    assert receive(kernel) == [b"a"]
    assert receive(kernel) == []


def test_a_call_takes_so_many_messages():
    kernel = make_kernel()
    size = 2 * calls.MAX_MESSAGES + 1
    data = bytes(size)
    assert kernel.send_segments(0, data, 2, 2, b"", ()) == (
        2 * calls.MAX_MESSAGES
    )
    assert kernel.send_segments(0, data[-1:], 2, 2, RIGHT, ()) == 1
    assert receive(kernel, 3) == [bytes(2)] * 3
    assert len(receive(kernel)) == calls.MAX_MESSAGES - 2


PAST_EPERM = bytes(int(number == errno.EPERM) for number in range(256))


def send_past(kernel, payloads, peers):
    sizes = list(map(len, payloads))
    plain = [0] * len(sizes)
    return kernel.send_past(0, payloads, sizes, plain, peers, (), PAST_EPERM)


def test_the_refused_are_passed_and_the_others_go():
    kernel = make_kernel()
    peers = [LEFT, b"", LEFT, RIGHT, b"elsewhere", b""]
    tried = send_past(kernel, [b"a", b"bb", b"c", b"d", b"e", b"f"], peers)
    assert tried.errors == bytes([errno.EPERM, 0, errno.EPERM, 0])
    assert tried.stopped == errno.ENOENT
    assert receive(kernel) == [b"bb", b"d"]
    one = send_past(kernel, [b"a", b"b"], [LEFT])
    assert one.errors == bytes([errno.EPERM] * 2)
    tried = send_past(kernel, [b"x"] * (calls.MAX_MESSAGES + 1), [b""])
    assert tried.errors == bytes(calls.MAX_MESSAGES)


def test_with_a_link_one_is_tried_at_a_time():
    kernel = make_kernel(link=lambda data: [data, data])
    assert send_past(kernel, [b"a", b"b"], [b""]).errors == bytes(1)
    assert receive(kernel) == [b"a", b"a"]


def test_with_a_link_a_call_takes_one():
    kernel = make_kernel(link=lambda data: [data, data])
    assert kernel.send_segments(0, b"abc", 1, 1, b"", ()) == 1
    assert receive(kernel) == [b"a", b"a"]


@needs_metadata
def test_only_what_a_header_carries_arrives():
    kernel = make_kernel()
    arena = Arena(2, AF_UNIX, control_size=CONTROL_SIZE)
    control = encode_metadata(
        Metadata(ttl=9, local_address="192.0.2.1", interface_index=1), AF_UNIX
    )
    assert len(control) == 2
    send(kernel, b"x", control=control)
    send(kernel, b"y")
    assert kernel.receive_datagrams(1, arena, 2) == 2
    received = bytes(arena.control[: arena.control_sizes[0]])
    assert decode_metadata(received) == (Metadata(ttl=9), None)
    assert arena.control_sizes[1] == 0


async def test_waiting_for_room_is_a_checkpoint_also_where_there_is_some():
    kernel = make_kernel(max_queued=1)
    readiness = MemoryReadiness(kernel, 0)
    with assert_checkpoints():
        await readiness.room_at(b"")
    send(kernel, b"x")
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(readiness.room_at, RIGHT)
        await wait_all_tasks_blocked()
        receive(kernel)
    with assert_checkpoints():
        await readiness.writable(b"", again=False)


async def test_nothing_is_ever_reported():
    readiness = MemoryReadiness(make_kernel(), 0)
    readiness.drain()
    with trio.move_on_after(0) as scope:
        await readiness.error(again=False)
    assert scope.cancelled_caught
    with assert_checkpoints():
        await readiness.flooded()
    assert readiness.was_refused_here()
    assert not readiness.keep_errors
    assert not readiness.errors


def test_a_slot_that_is_too_small_is_marked_as_by_recvmsg():
    kernel = make_kernel()
    arena = Arena(1, AF_UNIX, 2, bytearray(2))
    send(kernel, b"abc")
    assert kernel.receive_datagrams(1, arena, 1) == 1
    assert (arena.memory, arena.sizes[0]) == (b"ab", 3)
    assert arena.flags[0] == MSG_TRUNC


def test_a_closed_socket_keeps_nothing():
    kernel = make_kernel()
    send(kernel, b"abc")
    kernel.sockets[1].close()
    assert not kernel.sockets[1].arrived
    assert kernel.sockets[1].fileno() == -1
