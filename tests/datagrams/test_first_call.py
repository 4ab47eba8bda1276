"""The first call of a batch, and who goes on with its answer."""

import errno
import socket
from contextlib import nullcontext, suppress

import pytest
import trio
from helpers import address_of, receive_all
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Datagrams, DatagramSocket
from triobatch._core import calls
from triobatch._core.probes import gso_segments
from triobatch._datagrams.errors import DatagramError, DatagramErrorGroup
from triobatch._datagrams.gso import NO_SEGMENTATION
from triobatch.testing import scripted_calls

PAYLOADS = [b"%04d" % i for i in range(300)]


def error(number):
    return OSError(number, "scripted")


async def send_one(sock, target):
    await sock.send(PAYLOADS[0], target)


async def send_many(sock, target):
    assert await sock.send_many(PAYLOADS, target) == len(PAYLOADS)


async def send_pairs(sock, target):
    pairs = [(payload, target) for payload in PAYLOADS]
    assert await sock.send_batch(pairs) == len(PAYLOADS)


async def send_queue(sock, target):
    queue = Datagrams((payload, target) for payload in PAYLOADS)
    assert await sock.send_batch(queue) == len(PAYLOADS)
    assert not queue


WAYS = [send_one, send_many, send_pairs, send_queue]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "script",
    [
        [],
        [1],
        [error(errno.EAGAIN)],
        [error(errno.ENOBUFS)],
        [error(errno.ECONNREFUSED)],
        [1, error(errno.EAGAIN), 1, error(errno.ENOBUFS)],
    ],
)
async def test_what_passes_loses_and_repeats_nothing(make_socket, way, script):
    sender, receiver = await make_socket(), await make_socket()
    expected = PAYLOADS[: 1 if way is send_one else None]
    with (
        scripted_calls(sender, sending=script) as (sent, _),
        assert_checkpoints(),
    ):
        await way(sender, address_of(receiver))
    assert sent.offered
    assert await receive_all(receiver, len(expected)) == expected
    statistics = sender.statistics()
    assert statistics.datagrams_sent == len(expected)
    assert statistics.send_calls == len(sent.offered)
    reported = any(
        isinstance(step, OSError) and step.errno == errno.ECONNREFUSED
        for step in script
    )
    assert statistics.reports == reported


@pytest.mark.parametrize("way", WAYS)
async def test_a_first_answer_that_there_is_no_room_is_told(make_socket, way):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    with (
        scripted_calls(sender, sending=[error(errno.EAGAIN)]),
        pytest.raises(trio.WouldBlock),
    ):
        if way is send_one:
            sender.send_nowait(PAYLOADS[0], target)
        else:
            sender.send_many_nowait(PAYLOADS, target)
    assert sender.statistics().datagrams_sent == 0


def queued(target, count=300):
    return Datagrams((payload, target) for payload in PAYLOADS[:count])


def payloads_of(queue):
    return [payload for payload, _ in queue]


@pytest.mark.parametrize("nowait", [False, True])
@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("messages", [0, 1, 2])
async def test_a_queue_holds_what_a_failed_socket_left(
    make_socket, messages, count, nowait
):
    sender, receiver = await make_socket(), await make_socket()
    queue = queued(address_of(receiver), count)
    script = [*[messages] * (messages > 0), error(errno.EPIPE)]
    with (
        scripted_calls(sender, sending=script),
        pytest.raises(BrokenPipeError)
        if count > 1 or not messages
        else nullcontext(),
    ):
        if nowait:
            sender.send_batch_nowait(queue)
        else:
            await sender.send_batch(queue)
    gone = count - len(queue)
    assert sender.statistics().datagrams_sent == gone
    assert bool(gone) == bool(messages)
    assert payloads_of(queue) == PAYLOADS[gone:count]
    assert await receive_all(receiver, gone) == PAYLOADS[:gone]
    assert await sender.send_batch(queue) == count - gone
    expected = PAYLOADS[gone:count]
    assert await receive_all(receiver, len(expected)) == expected


@pytest.mark.parametrize("messages", [[], [1]])
async def test_a_queue_holds_what_there_was_no_room_for(make_socket, messages):
    sender, receiver = await make_socket(), await make_socket()
    queue = queued(address_of(receiver))
    script = [*messages, error(errno.EAGAIN)]
    with (
        scripted_calls(sender, sending=script),
        nullcontext() if messages else pytest.raises(trio.WouldBlock),
    ):
        sent = sender.send_batch_nowait(queue)
        assert 0 < sent < len(PAYLOADS)
    gone = len(PAYLOADS) - len(queue)
    assert payloads_of(queue) == PAYLOADS[gone:]
    assert sender.statistics().datagrams_sent == gone
    assert await receive_all(receiver, gone) == PAYLOADS[:gone]


async def test_a_cancelled_queue_keeps_its_rest_and_what_was_added(
    datagram_pair,
):
    left, right = datagram_pair
    room = before = left.send_many_nowait([bytes(100)] * 1000)
    queue = queued(None, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_batch, queue)
        await wait_all_tasks_blocked()
        queue.append((b"more", None))
        with pytest.raises(BufferError):
            queue.clear()
        nursery.cancel_scope.cancel()
    assert payloads_of(queue) == [*PAYLOADS[:3], b"more"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_batch, queue)
        await wait_all_tasks_blocked()
        queue.append((b"even more", None))
        while room > 0:
            room -= len(await right.receive_batch())
    assert payloads_of(queue) == [b"even more"]
    assert left.statistics().datagrams_sent == before + 4


async def test_a_refused_queue_has_the_datagrams_own_index(make_socket):
    sender = await make_socket()
    nowhere = ("127.0.0.1", 0)
    queue = queued(nowhere, 3)
    for send in (sender.send_batch, sender.send_batch_nowait):
        with pytest.raises(DatagramErrorGroup) as info:
            await as_awaitable(send(queue))
        assert [e.index for e in info.value.exceptions] == [0, 1, 2]
        assert info.value.sent == 0
        assert payloads_of(queue) == PAYLOADS[:3]
    assert await sender.send_batch(queue, errors="ignore") == 0
    assert not queue
    assert sender.statistics().refused == 9


async def test_an_index_counts_what_the_first_call_took(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    count = gso_segments() + 1
    queue = queued(address_of(receiver), count)
    with (
        scripted_calls(sender, sending=[1, error(errno.EINVAL)]),
        pytest.raises(DatagramErrorGroup) as info,
    ):
        await sender.send_batch(queue)
    assert [e.index for e in info.value.exceptions] == [count - 1]
    assert info.value.sent == count - 1
    assert payloads_of(queue) == [PAYLOADS[count - 1]]
    assert sender.statistics().gso_runs == (gso_segments() > 1)
    assert await receive_all(receiver, count - 1) == PAYLOADS[: count - 1]


async def as_awaitable(result):
    return result if isinstance(result, int) else await result


async def test_a_queue_with_an_impossible_address_says_which(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    for queue, index in (
        (Datagrams([(b"a", "nowhere at all")]), 0),
        (Datagrams([(b"a", target), (b"b", 5), (b"c", target)]), 1),
    ):
        before = list(queue)
        with pytest.raises(TypeError, match=f"datagram {index}"):
            await sender.send_batch(queue)
        assert list(queue) == before
    assert sender.statistics().send_calls == 0


async def test_a_refusal_has_the_datagrams_own_index(make_socket):
    sender = await make_socket()
    nowhere = ("127.0.0.1", 0)
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_many([b"a", b"b"], nowhere)
    assert [(e.index, e.errno, e.address) for e in info.value.exceptions] == [
        (0, errno.EINVAL, nowhere),
        (1, errno.EINVAL, nowhere),
    ]
    with pytest.raises(DatagramErrorGroup):
        await sender.send_many([b"a"], nowhere)
    with pytest.raises(DatagramError):
        await sender.send(b"a", nowhere)
    assert await sender.send_many([b"a"], nowhere, errors="ignore") == 0
    assert await sender.send(b"a", nowhere, errors="ignore") is None
    assert sender.statistics().refused == 6


@pytest.mark.parametrize("way", WAYS)
async def test_the_guard_is_let_go_of_whatever_comes(make_socket, way):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    with trio.CancelScope() as scope:
        scope.cancel()
        await way(sender, target)
    with (
        scripted_calls(sender, sending=[error(errno.EBADF)]),
        pytest.raises(trio.ClosedResourceError),
    ):
        await way(sender, target)
    with (
        scripted_calls(sender, sending=[error(errno.EPIPE)]),
        pytest.raises(BrokenPipeError),
    ):
        await way(sender, target)
    await way(sender, target)


@pytest.mark.parametrize("way", WAYS)
async def test_a_second_task_is_told_which_one_is_sending(datagram_pair, way):
    left, right = datagram_pair
    left.send_many_nowait([bytes(100)] * 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(way, left, None, name="the first one")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="the first one"):
            await way(left, None)
        with pytest.raises(trio.BusyResourceError, match="the first one"):
            left.send_nowait(b"x")
        nursery.cancel_scope.cancel()
    await right.receive_batch(1000)


@pytest.mark.parametrize("size", [65527, 65528, 65535])
@pytest.mark.parametrize("way", ["many", "many_nowait", "pairs"])
async def test_memory_that_was_refused_is_given_to_one_after_the_other(
    make_socket, way, size
):
    sender = await make_socket()
    # No IPv4 datagram is so large; of more than 65527 no segment is, either.
    payloads, target = [bytes(size)] * 2, sender.local_address
    with pytest.raises(DatagramErrorGroup) as info:
        if way == "many":
            await sender.send_many(payloads, target)
        elif way == "many_nowait":
            sender.send_many_nowait(payloads, target)
        else:
            pairs = [(payload, target) for payload in payloads]
            await sender.send_batch(pairs)
    found = [(error.index, error.errno) for error in info.value.exceptions]
    assert found == [(0, errno.EMSGSIZE), (1, errno.EMSGSIZE)]
    one, other = (
        calls.pack([payload] * 2, b"", NO_SEGMENTATION)
        for payload in PAYLOADS[:2]
    )
    assert bytes(one.data) == PAYLOADS[0] * 2
    assert bytes(other.data) == PAYLOADS[1] * 2
    one.give_back()
    other.give_back()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
@pytest.mark.parametrize("size", [65527, 65528, 65535])
@pytest.mark.parametrize("taken", [1, 2, 3])
@pytest.mark.parametrize("way", ["many", "many_nowait", "pairs"])
async def test_large_ones_of_which_some_went_go_once(
    tmp_path, way, taken, size
):
    # A Unix socket takes datagrams that are too large for a segment.
    path = str(tmp_path / "receiver")
    payloads = [bytes([number]) * size for number in range(4)]
    with (
        trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(path)
        receiver.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        sender = DatagramSocket(sock)
        with scripted_calls(sender, sending=[taken]):
            if way == "many":
                count = await sender.send_many(payloads, path)
            elif way == "many_nowait":
                count = sender.send_many_nowait(payloads, path)
            else:
                pairs = [(payload, path) for payload in payloads]
                count = await sender.send_batch(pairs)
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(receiver.recv(2**17))
    assert [one[0] for one in found] == [0, 1, 2, 3][: len(found)]
    assert count == len(found) == 4
    assert sender.statistics().datagrams_sent == 4


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EBADF])
async def test_what_was_refused_stays_in_order_when_sending_ends(
    make_socket, number
):
    sender, receiver = await make_socket(), await make_socket()
    # Grouped by destination before they go; nothing can be sent to port 0.
    hosts = ["127.0.0.1", "127.0.0.2"] * 2
    items = [(b"%d" % i, (host, 0)) for i, host in enumerate(hosts)]
    queue = Datagrams([*items, (b"x", receiver.local_address)])
    script = [None] * 4 + [error(number)] * 9
    with (
        scripted_calls(sender, sending=script),
        trio.move_on_after(0.006),
        suppress(trio.ClosedResourceError),
    ):
        await sender.send_batch(queue)
    refused = sender.statistics().refused
    assert refused > 1
    front = list(queue)[:refused]
    assert front == sorted(front)


class Ambiguous(int):
    __hash__ = int.__hash__

    def __eq__(self, other):
        raise ValueError("ambiguous")


async def test_an_address_that_cannot_be_compared_is_named(make_socket):
    sender = await make_socket()
    ports = [9, Ambiguous(9)]
    queue = Datagrams((b"x", ("127.0.0.1", port)) for port in ports)
    with pytest.raises(ValueError, match="datagram 1: "):
        await sender.send_batch(queue)
    assert len(queue) == 2


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
async def test_what_only_equals_a_path_is_none():
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        queue = Datagrams([(b"x", b"/a"), (b"y", bytearray(b"/a"))])
        with pytest.raises(TypeError, match="datagram 1: "):
            await DatagramSocket(sock).send_batch(queue)
    assert len(queue) == 2
