"""What every kind of datagram socket does: the kernel's, and that in memory.

Each test runs on a connected pair of Unix sockets, on one of UDP sockets, and
on one in memory and one of a simulated network, unless it is about waiting for
room: UDP drops instead.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import itertools
import socket
from dataclasses import dataclass
from functools import partial

import pytest
import trio
from helpers import need_unix_sockets
from needs import TAKES_ADDRESSES, TELLS_SIZE, needs_metadata
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import (
    AbstractDatagramSocket,
    Buffers,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    DatagramSocket,
    Metadata,
    open_batch_sender,
    open_udp_socket,
)
from triobatch.testing import (
    MemoryDatagramSocket,
    SimulatedDatagramSocket,
    memory_datagram_pair,
    open_simulated_network,
)

_names = (b"\0triobatch-%d" % number for number in itertools.count())


@dataclass
class Pair:
    """Two sockets that are connected to one another.

    Attributes:
      left_address: What the right one receives from.
      right_address: What the left one may send to.
      limit: The largest datagram.
      refused: An address that the kernel refuses, and with what errno.
      header: Whether there is an IP header.
    """

    left: AbstractDatagramSocket
    right: AbstractDatagramSocket
    left_address: object
    right_address: object
    limit: int
    refused: tuple[object, int]
    header: bool

    def arrived(self):
        """Return the payloads that have arrived at the right one."""
        payloads = []
        while True:
            try:
                batch = self.right.receive_batch_nowait()
            except trio.WouldBlock:
                return payloads
            payloads += [payload for payload, _ in batch]

    def fill(self):
        """Send until there is no room; return how many datagrams went."""
        for sent in itertools.count():
            try:
                self.left.send_nowait(b"filling")
            except trio.WouldBlock:
                return sent
        raise AssertionError


async def unix_pair():
    need_unix_sockets()
    names = [b"%s-%d" % (next(_names), id(object())) for _ in range(2)]
    made = [
        trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in names
    ]
    for sock, name in zip(made, names, strict=True):
        await sock.bind(name)
    await made[0].connect(names[1])
    await made[1].connect(names[0])
    # What it costs the kernel beside its bytes (sock_alloc_send_pskb).
    limit = made[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32
    return Pair(
        DatagramSocket(made[0]),
        DatagramSocket(made[1]),
        *names,
        limit,
        ("/nowhere", errno.ENOENT if TAKES_ADDRESSES else errno.EISCONN),
        header=False,
    )


async def udp_pair():
    left = await open_udp_socket(local_address=("127.0.0.1", 0))
    left_address = left.socket.getsockname()
    right = await open_udp_socket(
        local_address=("127.0.0.1", 0), remote_address=left_address
    )
    right_address = right.socket.getsockname()
    await left.socket.connect(right_address)
    return Pair(
        left,
        right,
        left_address,
        right_address,
        65507,
        (("::1", 9), errno.EAFNOSUPPORT),
        header=True,
    )


async def memory_pair():
    return Pair(
        *memory_datagram_pair(max_queued=10),
        "left",
        "right",
        65507,
        ("/nowhere", errno.ENOENT),
        header=True,
    )


@contextlib.asynccontextmanager
async def simulated_pair():
    names = ("10.0.0.1", 1), ("10.0.0.2", 2)
    async with open_simulated_network(0) as network:
        left, right = (
            network.open_socket(own, remote_address=other)
            for own, other in (names, names[::-1])
        )
        yield Pair(
            left,
            right,
            *names,
            65507,
            (("::1", 9), errno.EAFNOSUPPORT),
            header=True,
        )


@pytest.fixture(params=[unix_pair, udp_pair, memory_pair, simulated_pair])
async def pair(request):
    async with contextlib.AsyncExitStack() as stack:
        if request.param is simulated_pair:
            made = await stack.enter_async_context(simulated_pair())
        else:
            made = await request.param()
        async with made.left, made.right:
            yield made


@pytest.fixture(params=[unix_pair, memory_pair])
async def small(request):
    """A pair of sockets that can be full."""
    made = await request.param()
    async with made.left, made.right:
        yield made


# Of what has a descriptor.
OF_THE_KERNEL = {"getsockopt", "join_group", "leave_group", "setsockopt"}


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    "cls", [DatagramSocket, MemoryDatagramSocket, SimulatedDatagramSocket]
)
def test_every_kind_has_the_methods_of_all(cls):
    assert issubclass(cls, AbstractDatagramSocket)
    assert public(cls) - OF_THE_KERNEL == public(AbstractDatagramSocket)
    for name in public(AbstractDatagramSocket):
        if isinstance(getattr(cls, name), property):
            continue
        own, shared = getattr(cls, name), getattr(AbstractDatagramSocket, name)
        assert inspect.signature(own) == inspect.signature(shared), name
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(
            shared
        ), name


def test_it_is_a_resource_and_abstract():
    assert issubclass(AbstractDatagramSocket, trio.abc.AsyncResource)
    assert inspect.isabstract(AbstractDatagramSocket)
    with pytest.raises(TypeError, match="abstract"):
        AbstractDatagramSocket(None, None)


async def test_one_datagram_arrives_with_its_sender(pair):
    with assert_checkpoints():
        await pair.left.send(b"one")
    pair.left.send_nowait(bytearray(b"two"), pair.right_address)
    with assert_checkpoints():
        await pair.left.send(b"")
    with assert_checkpoints():
        assert await pair.right.receive() == (b"one", pair.left_address)
    assert pair.right.receive_nowait() == (b"two", pair.left_address)
    assert await pair.right.receive() == (b"", pair.left_address)
    with pytest.raises(trio.WouldBlock):
        pair.right.receive_nowait()


@pytest.mark.parametrize("nowait", [False, True])
async def test_buffers_are_one_datagram_and_consumed(pair, nowait):
    buffers = Buffers([b"th", b"", b"ree"])
    if nowait:
        pair.left.send_nowait(buffers)
    else:
        await pair.left.send(buffers)
    assert not buffers
    assert pair.arrived() == [b"three"]


async def test_buffers_are_written_to_it(pair):
    buffers = Buffers([b"on", b"e"])
    with assert_checkpoints():
        assert await buffers.write_to(pair.left) == 3
    with assert_checkpoints():
        assert await buffers.write_to(pair.left) == 0
    assert pair.arrived() == [b"one"]


async def test_a_batch_is_sent_and_a_queue_consumed(pair):
    queue = Datagrams([(b"a", None), (b"b", pair.right_address)])
    with assert_checkpoints():
        assert await pair.left.send_batch(queue) == 2
    assert not queue
    with assert_checkpoints():
        assert await pair.left.send_batch([]) == 0
    assert await pair.left.send_batch([(b"c", None), (b"dd", None)]) == 2
    queue.append((b"e", None))
    assert pair.left.send_batch_nowait(queue) == 1
    assert not queue
    assert pair.left.send_batch_nowait(queue) == 0
    assert pair.arrived() == [b"a", b"b", b"c", b"dd", b"e"]


async def test_many_go_to_one_address(pair):
    with assert_checkpoints():
        assert await pair.left.send_many([b"a", b"bb"]) == 2
    with assert_checkpoints():
        assert await pair.left.send_many([]) == 0
    assert await pair.left.send_many([b"cc"] * 2, pair.right_address) == 2
    assert pair.left.send_many_nowait([b"d"]) == 1
    assert pair.arrived() == [b"a", b"bb", b"cc", b"cc", b"d"]


async def test_segments_are_cut(pair):
    with assert_checkpoints():
        assert await pair.left.send_segments(bytearray(b"abcde"), 2) == 3
    with assert_checkpoints():
        assert await pair.left.send_segments(b"", 9) == 0
    assert pair.left.send_segments_nowait(b"fgh", 3) == 1
    assert pair.arrived() == [b"ab", b"cd", b"e", b"fgh"]


async def test_more_than_a_call_takes_arrives_in_order(pair):
    payloads = [b"%d" % number for number in range(200)]
    received = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.left.send_many, payloads)
        while len(received) < 200:
            batch = await pair.right.receive_batch(7)
            assert 1 <= len(batch) <= 7
            received += [payload for payload, _ in batch]
    assert received == payloads


async def test_a_refused_datagram_stays_and_the_others_go(pair):
    address, number = pair.refused
    queue = Datagrams([(b"a", None), (b"b", address), (b"c", None)])
    with pytest.raises(DatagramErrorGroup) as caught:
        await pair.left.send_batch(queue)
    (error,) = caught.value.exceptions
    assert (error.errno, error.index, error.address) == (number, 1, address)
    assert list(queue) == [(b"b", address)]
    with pytest.raises(DatagramErrorGroup):
        pair.left.send_batch_nowait(queue)
    with pytest.raises(DatagramErrorGroup) as caught:
        await pair.left.send_many([b"x", b"y"], address)
    assert [error.index for error in caught.value.exceptions] == [0, 1]
    with pytest.raises(DatagramError):
        await pair.left.send(b"x", address)
    with pytest.raises(DatagramError):
        pair.left.send_nowait(b"x", address)
    assert pair.arrived() == [b"a", b"c"]


async def test_the_largest_datagram_goes_and_no_larger_one(pair):
    payload = bytes(pair.limit)
    larger = Buffers([payload, b"x"])
    with pytest.raises(DatagramError) as caught:
        await pair.left.send(larger)
    assert caught.value.errno == errno.EMSGSIZE
    assert larger.nbytes == pair.limit + 1
    await pair.left.send(payload)
    (message,) = await pair.right.receive_messages()
    assert message.truncated == (pair.limit > 65536)
    told = TELLS_SIZE or not message.truncated
    assert message.size == (pair.limit if told else 65537)
    assert pair.right.statistics().truncated == message.truncated


async def test_too_large_ones_are_refused_alone(pair):
    sizes = [1, pair.limit + 1, 2]
    with pytest.raises(DatagramErrorGroup) as caught:
        await pair.left.send_many([bytes(size) for size in sizes])
    (error,) = caught.value.exceptions
    assert (error.errno, error.index) == (errno.EMSGSIZE, 1)
    assert pair.arrived() == [bytes(1), bytes(2)]


async def test_refused_ones_can_be_counted_and_dropped(pair):
    address, _ = pair.refused
    # Every other one, and more of them than one call takes.
    batch = [(b"%d" % i, address if i % 2 else None) for i in range(150)]
    queue = Datagrams(batch)
    received = []

    async def receive():
        while len(received) < 75:
            received.extend(await pair.right.receive_batch())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        assert await pair.left.send_batch(queue, errors="ignore") == 75
    assert not queue
    payloads = [payload for payload, _ in received]
    assert payloads == [b"%d" % i for i in range(0, 150, 2)]
    assert pair.left.statistics().refused == 75
    left, ignore = pair.left, {"errors": "ignore"}
    await left.send(b"x", address, **ignore)
    left.send_nowait(b"x", address, **ignore)
    assert await left.send_many([b"x"] * 70, address, **ignore) == 0
    assert left.send_segments_nowait(bytes(70), 1, address, **ignore) == 0
    assert left.statistics().refused == 75 + 1 + 1 + 70 + 70
    assert left.statistics().datagrams_sent == 75


def wrong_calls(sock):
    """Yield calls with an argument that is impossible."""
    queue = [(b"a", None), (b"b", 12345)]
    meta = Metadata(tos=256)
    for suffix in ("", "_nowait"):
        send = getattr(sock, "send" + suffix)
        yield partial(send, "text")
        yield partial(send, b"x", 12345)
        yield partial(send, b"x", ("name", 9))
        yield partial(send, b"x", metadata=meta)
        yield partial(send, b"x", metadata={"tos": 1})
        batch = getattr(sock, "send_batch" + suffix)
        yield partial(batch, Datagrams(queue))
        yield partial(batch, Datagrams(), metadata=meta)
        many = getattr(sock, "send_many" + suffix)
        yield partial(many, [b"a", "text"])
        yield partial(many, b"abc")
        yield partial(many, [b"a"], 12345)
        yield partial(many, [], metadata=meta)
        segments = getattr(sock, "send_segments" + suffix)
        yield partial(segments, "text", 1)
        for size in (0, 65536, 1.5):
            yield partial(segments, b"x", size)
        yield partial(segments, b"x", 1, 12345)
        for name in ("receive_batch", "receive_messages"):
            yield partial(getattr(sock, name + suffix), 0)
            yield partial(getattr(sock, name + suffix), 1.5)
        yield partial(getattr(sock, "receive_errors" + suffix))
    yield partial(sock.send_batch, queue)
    yield partial(sock.send_batch, [b"x"])
    yield partial(sock.send_batch_nowait, [(b"x", None)])


async def errors_of_wrong_calls(pair):
    found = []
    for call in wrong_calls(pair.left):
        with pytest.raises((TypeError, ValueError)) as caught:
            result = call()
            if inspect.iscoroutine(result):
                # Raised before the first checkpoint, it needs no run loop.
                result.send(None)
        found.append((call.func.__name__, repr(caught.value)))
    assert pair.arrived() == []
    return found


async def test_what_is_impossible_is_said_before_anything_is_done(pair):
    unix = await unix_pair()
    async with unix.left, unix.right:
        assert await errors_of_wrong_calls(
            pair
        ) == await errors_of_wrong_calls(unix)


async def test_a_second_receiver_is_told(pair):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.right.receive)
        await wait_all_tasks_blocked()
        for name in ("receive", "receive_batch", "receive_messages"):
            with pytest.raises(trio.BusyResourceError, match="receiving"):
                await getattr(pair.right, name)()
            with pytest.raises(trio.BusyResourceError, match="receiving"):
                getattr(pair.right, name + "_nowait")()
        # The other direction is free.
        await pair.right.send(b"x")
        await pair.left.send(b"wakes")


async def test_a_second_sender_is_told(small):
    small.fill()
    queue = Datagrams([(b"last", None)])
    buffers = Buffers([b"x"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(small.left.send_batch, queue)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="these datagrams"):
            await small.left.send_batch(queue)
        with pytest.raises(BufferError):
            queue.clear()
        with pytest.raises(trio.BusyResourceError, match="on this socket"):
            await small.left.send(buffers)
        with pytest.raises(trio.BusyResourceError, match="on this socket"):
            small.left.send_many_nowait([b"x"])
        with pytest.raises(trio.BusyResourceError, match="on this socket"):
            await small.left.send_segments(b"x", 1)
        small.arrived()
    assert small.arrived() == [b"last"]
    assert not queue
    assert len(buffers) == 1


async def test_what_does_not_go_now_stays(small):
    room = small.fill()
    assert len(small.arrived()) == room
    queue = Datagrams([(b"%d" % i, None) for i in range(room + 3)])
    assert small.left.send_batch_nowait(queue) == room
    assert len(queue) == 3
    for call in (
        partial(small.left.send_batch_nowait, queue),
        partial(small.left.send_nowait, b"x"),
        partial(small.left.send_many_nowait, [b"x", b"y"]),
        partial(small.left.send_segments_nowait, b"xy", 1),
    ):
        with pytest.raises(trio.WouldBlock):
            call()
    small.right.receive_nowait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(small.left.send_batch, queue)
        received = [(await small.right.receive())[0] for _ in range(room + 2)]
    assert received == [b"%d" % i for i in range(1, room + 3)]
    assert small.arrived() == []


async def test_a_cancelled_batch_holds_what_was_not_sent(small):
    room = small.fill()
    assert len(small.arrived()) == room
    count = room + 5
    queue = Datagrams([(b"%d" % i, None) for i in range(count)])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(small.left.send_batch, queue)
            await wait_all_tasks_blocked()
            scope.cancel()
    left = [payload for payload, _ in queue]
    assert small.arrived() + left == [b"%d" % i for i in range(count)]
    assert len(left) == 5


async def test_nothing_is_lost_to_a_cancelled_receiver(pair):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.right.receive)
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            pair.left.send_nowait(b"late")
    assert await pair.right.receive() == (b"late", pair.left_address)
    await pair.left.send(b"waits")
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.right.receive()
    assert scope.cancelled_caught
    assert pair.arrived() == [b"waits"]


async def test_no_more_is_handed_out_than_was_asked_for(pair):
    await pair.left.send_many([b"1", b"2", b"3"])
    assert len(await pair.right.receive_batch(2)) == 2
    assert len(pair.right.receive_messages_nowait(2)) == 1


@needs_metadata
async def test_messages_say_what_the_header_said(pair):
    await pair.left.send(b"before")
    await pair.right.receive_messages()
    asked = Metadata(tos=0b101011, ttl=7)
    await pair.left.send(b"a", metadata=asked)
    await pair.left.send_batch(
        Datagrams([(b"b", pair.right_address)]), metadata=asked
    )
    await pair.left.send_many([b"c", b"c"], metadata=asked)
    pair.left.send_segments_nowait(b"de", 1, metadata=asked)
    messages = []
    with assert_checkpoints():
        messages += await pair.right.receive_messages()
    while len(messages) < 6:
        messages += pair.right.receive_messages_nowait()
    assert b"".join(m.payload for m in messages) == b"abccde"
    expected = (asked.tos, asked.ttl) if pair.header else (None, None)
    for message in messages:
        assert (message.metadata.tos, message.metadata.ttl) == expected
        assert message.address == pair.left_address
        assert message.size == len(message.payload) == 1
        assert not message.truncated


async def test_it_tells_where_it_is_and_where_its_peer_is(pair):
    assert pair.left.local_address == pair.left_address
    assert pair.left.remote_address == pair.right_address


async def test_batches_come_one_after_another(pair):
    await pair.left.send_many([b"1", b"2", b"3"])
    seen = []
    async for batch in pair.right.batches(max_datagrams=2):
        seen.append([payload for payload, _ in batch])
        assert batch[0][1] == pair.left_address
        if len(seen) == 2:
            break
    assert seen == [[b"1", b"2"], [b"3"]]
    # Nothing has to be closed, and nothing is lost.
    await pair.left.send(b"4")
    batches = pair.right.batches()
    with assert_checkpoints():
        assert await anext(batches) == [(b"4", pair.left_address)]
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(batches)
    await pair.left.send(b"5")
    assert await anext(batches) == [(b"5", pair.left_address)]


@pytest.mark.parametrize("limit", [0, -1, "two"])
async def test_batches_of_nothing_are_refused_before_the_loop(pair, limit):
    with pytest.raises((TypeError, ValueError), match="max_datagrams"):
        pair.right.batches(limit)


async def test_the_statistics_count_both_directions(pair):
    await pair.left.send_many([b"a", b"bb", b"ccc"])
    await pair.left.send(b"d")
    assert len(pair.arrived()) == 4
    sent, received = pair.left.statistics(), pair.right.statistics()
    assert (sent.datagrams_sent, sent.datagrams_received) == (4, 0)
    assert (received.datagrams_sent, received.datagrams_received) == (0, 4)
    assert 1 <= sent.send_calls <= 4
    assert received.receive_calls >= 1
    assert sent.gso_refusals == {}
    assert sent.truncated == sent.reports == 0
    # Or it is not told.
    assert not received.kernel_drops


def moving_calls(sock):
    for suffix in ("", "_nowait"):
        yield partial(getattr(sock, "send" + suffix), b"x")
        yield partial(getattr(sock, "send" + suffix), Buffers([b"x"]))
        yield partial(getattr(sock, "send_batch" + suffix), Datagrams())
        yield partial(getattr(sock, "send_many" + suffix), [])
        yield partial(getattr(sock, "send_many" + suffix), [b"x"])
        yield partial(getattr(sock, "send_runs" + suffix), [])
        yield partial(getattr(sock, "send_segments" + suffix), b"", 1)
        for name in ("receive", "receive_batch", "receive_messages"):
            yield partial(getattr(sock, name + suffix))

    async def receive_runs():
        async with sock.receive_runs():
            pass

    def receive_runs_nowait():
        with sock.receive_runs_nowait():
            pass

    yield partial(receive_runs)
    yield partial(receive_runs_nowait)


async def test_a_closed_socket_says_so_on_every_way(pair):
    await pair.left.send(b"unread")
    for _ in range(2):
        with assert_checkpoints():
            await pair.right.aclose()
    calls = list(moving_calls(pair.right))
    # One for each method that moves datagrams.
    assert {call.func.__name__ for call in calls} == public(DatagramSocket) - {
        "aclose",
        "batches",
        "local_address",
        "receive_errors",
        "receive_errors_nowait",
        "remote_address",
        "statistics",
        *OF_THE_KERNEL,
    }
    with pytest.raises(trio.ClosedResourceError):
        _ = pair.right.local_address
    with pytest.raises(trio.ClosedResourceError):
        _ = pair.right.remote_address
    batches = pair.right.batches()
    with pytest.raises(trio.ClosedResourceError):
        await anext(batches)
    for call in calls:
        with pytest.raises(trio.ClosedResourceError):
            result = call()
            if inspect.iscoroutine(result):
                await result


async def test_closing_wakes_who_waits(small):
    small.fill()

    async def expect_closed(call, *arguments):
        with pytest.raises(trio.ClosedResourceError):
            await call(*arguments)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, small.left.receive)
        nursery.start_soon(expect_closed, small.left.send, b"waits")
        await wait_all_tasks_blocked()
        await small.left.aclose()


async def test_closing_closes_also_if_it_is_cancelled(pair):
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.left.aclose()
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        pair.left.send_nowait(b"x")


async def test_a_peer_that_has_closed_refuses(small):
    small.fill()
    queue = Datagrams([(b"a", None), (b"b", None)])
    async with trio.open_nursery() as nursery:

        async def send():
            with pytest.raises(DatagramErrorGroup) as caught:
                await small.left.send_batch(queue)
            assert [error.errno for error in caught.value.exceptions] == [
                errno.ECONNREFUSED,
                errno.ENOTCONN,
            ]

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await small.right.aclose()
    assert len(queue) == 2
    with pytest.raises(DatagramError) as caught:
        await small.left.send(b"c", small.right_address)
    assert caught.value.errno == errno.ECONNREFUSED


async def test_its_own_address_is_refused_to_a_connected_one(small):
    with pytest.raises(DatagramError) as caught:
        await small.left.send(b"x", small.left_address)
    told = isinstance(small.left, DatagramSocket) and not TAKES_ADDRESSES
    assert caught.value.errno == (errno.EISCONN if told else errno.EPERM)


async def test_a_batch_sender_sends_for_many_tasks(pair):
    address, number = pair.refused
    async with open_batch_sender(pair.left) as sender:
        async with trio.open_nursery() as nursery:
            for payload in (b"a", bytearray(b"b"), Buffers([b"c"])):
                nursery.start_soon(sender.send, payload)
        sender.send_nowait(b"d", pair.right_address)
        await sender.flush()
        queue = Datagrams([(b"e", None), (b"f", address)])
        with pytest.raises(DatagramErrorGroup):
            await sender.send_batch(queue)
        assert list(queue) == [(b"f", address)]
        with pytest.raises(DatagramError) as caught:
            await sender.send(b"x", address)
        assert caught.value.errno == number
        sender.send_nowait(b"last")
        calls = sender.statistics().send_calls
        assert calls
        assert calls <= pair.left.statistics().send_calls
    assert sorted(pair.arrived()) == [b"a", b"b", b"c", b"d", b"e", b"last"]
    assert sender.statistics().messages == 6
    assert sender.statistics().refused == 2
    assert sender.unsent == []


@pytest.mark.parametrize("named", [False, True])
async def test_a_batch_sender_withdraws_what_is_cancelled(small, named):
    address = small.right_address if named else None
    room = small.fill()
    async with open_batch_sender(small.left) as sender:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, b"cancelled", address)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert len(small.arrived()) == room
        await sender.send(b"sent", address)
    assert small.arrived() == [b"sent"]


async def test_leaving_a_batch_sender_keeps_what_is_unsent(small):
    small.fill()
    with pytest.raises(KeyError):
        async with open_batch_sender(small.left) as sender:
            sender.send_nowait(b"a")
            sender.send_nowait(b"b", small.right_address)
            await wait_all_tasks_blocked()
            raise KeyError
    assert sorted(sender.unsent) == [
        (b"a", None),
        (b"b", small.right_address),
    ]


async def test_a_batch_sender_tells_of_a_closed_socket(pair):
    async with open_batch_sender(pair.left) as sender:
        await pair.left.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await sender.send(b"x")
