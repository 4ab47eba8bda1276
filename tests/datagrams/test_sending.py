"""The batch on its way: scripted system calls, in front of the real ones."""

import pytest
import trio
from helpers import address_of, received
from needs import needs_gso
from receive_buffer import needs_room
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._queues.datagrams import Datagrams


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


# Runs of three, and runs of as many as the kernel cuts.
MIXED = [(b"%d" % i).ljust(9 - i % 3 // 2) for i in range(60)]
EQUAL = [(b"%d" % i).ljust(100) for i in range(1000)]


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param(MIXED, id="mixed"),
        pytest.param(EQUAL, id="equal", marks=needs_room),
    ],
)
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["EIO"], marks=needs_gso),
        pytest.param(["EINVAL"], marks=needs_gso),
        ["EMSGSIZE"],
        pytest.param([1, "EIO"], marks=needs_gso),
        pytest.param([1, "EINVAL", 1, "EAGAIN"], marks=needs_gso),
        ["ENOBUFS", "ENOBUFS"],
        [1, "ENOBUFS", 1, "ENOMEM"],
        ["EAGAIN"],
        [1, 1, 1, "EAGAIN", 2, "EAGAIN"],
        ["ECONNREFUSED", 1, "EHOSTUNREACH", 1, "ENETUNREACH"],
        ["ECONNREFUSED"] * 8,
        pytest.param(
            ["EIO", "EAGAIN", 3, "ENOBUFS", "ECONNREFUSED"], marks=needs_gso
        ),
    ],
    ids=str,
)
async def test_what_passes_neither_loses_nor_repeats_a_datagram(
    hosts, play, payloads, lines
):
    sender, receiver = hosts
    script, _ = play(sender, lines)
    queue = Datagrams((p, address_of(receiver)) for p in payloads)
    with assert_checkpoints():
        assert await sender.send_batch(queue) == len(payloads)
    assert script.left == []
    assert not queue
    assert await received(receiver) == payloads


async def test_a_report_met_by_a_lone_datagram_is_counted(hosts, play):
    sender, receiver = hosts
    for send in (
        lambda: sender.send(b"x", address_of(receiver)),
        lambda: sender.send_batch([(b"x", address_of(receiver))]),
        lambda: sender.send_many([b"x"], address_of(receiver)),
        lambda: sender.send_segments(b"x", 1, address_of(receiver)),
    ):
        before = sender.statistics()
        script, _ = play(sender, ["ECONNREFUSED"])
        await send()
        assert script.offered == [[1], [1]]
        assert await received(receiver) == [b"x"]
        after = sender.statistics()
        assert after.reports == before.reports + 1
        assert after.send_calls == before.send_calls + 2


async def test_an_error_in_the_middle_is_charged_where_it_happened(
    hosts, play
):
    sender, receiver = hosts
    # Behind a refusal one goes alone, and then all that are left.
    play(sender, [3, "EPERM", None, 1, "EPERM"])
    queue = Datagrams((bytes(i), address_of(receiver)) for i in range(10))
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_batch(queue)
    assert [error.index for error in info.value.exceptions] == [3, 6]
    assert [payload for payload, _ in queue] == [bytes(3), bytes(6)]
    assert len(await received(receiver)) == 8


async def test_an_address_error_is_believed_the_second_time(hosts, play):
    sender, receiver = hosts
    play(sender, ["EHOSTUNREACH"])
    await sender.send(b"a", address_of(receiver))
    play(sender, ["EHOSTUNREACH", "EHOSTUNREACH"])
    with pytest.raises(OSError, match="No route to host"):
        await sender.send(b"b", address_of(receiver))
    assert await received(receiver) == [b"a"]


async def test_a_socket_error_keeps_the_rest(hosts, play):
    sender, receiver = hosts
    play(sender, [2, "ENOSYS"])
    queue = Datagrams((bytes(i), address_of(receiver)) for i in range(5))
    with pytest.raises(OSError, match="not implemented"):
        await sender.send_batch(queue)
    assert [payload for payload, _ in queue] == [bytes(2), bytes(3), bytes(4)]


async def test_datagrams_added_meanwhile_are_left_for_the_next_call(
    hosts, play
):
    sender, receiver = hosts
    target = address_of(receiver)
    queue = Datagrams([(b"a", target), (b"bb", target)])
    play(sender, ["ENOBUFS"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_batch, queue)
        await trio.testing.wait_all_tasks_blocked()
        queue.append((b"later", target))
        with pytest.raises(BufferError):
            queue.clear()
    assert [payload for payload, _ in queue] == [b"later"]
    assert await received(receiver) == [b"a", b"bb"]


async def test_a_queue_that_another_task_is_sending_is_busy(
    datagram_pair, make_socket
):
    left, _ = datagram_pair
    other = await make_socket("unix")
    queue = Datagrams([(bytes(4000), None)] * 500)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_batch, queue)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="these datagrams"):
            await other.send_batch(queue)
        with pytest.raises(trio.BusyResourceError):
            left.send_batch_nowait(queue)
        with pytest.raises(BufferError):
            queue.clear()
        nursery.cancel_scope.cancel()


async def test_a_segment_size_is_an_int(make_socket):
    with pytest.raises(TypeError):
        await (await make_socket()).send_segments(b"x", 1.5)
