"""What a batch makes of one outcome after another."""

import errno
import mmap
import os

import pytest
import trio
from helpers import address_of, exports_lock, received
from needs import needs_gso

from triobatch._core.probes import gso_segments
from triobatch._datagrams import driving as _datagram_driving
from triobatch._datagrams.errors import DatagramError, DatagramErrorGroup
from triobatch._queues.datagrams import Datagrams


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


@needs_gso
async def test_interleaved_destinations_get_a_run_each(make_socket):
    sender, *receivers = [await make_socket() for _ in range(3)]
    await sender.send_batch(
        (b"%02d" % i, address_of(receivers[i % 2])) for i in range(60)
    )
    statistics = sender.statistics()
    assert statistics.datagrams_sent == 60
    assert statistics.gso_runs == 2
    for parity, sock in enumerate(receivers):
        assert (
            await received(sock) == [b"%02d" % i for i in range(60)][parity::2]
        )


@needs_gso
async def test_a_run_is_counted_and_a_plain_message_is_not(hosts):
    sender, receiver = hosts
    payloads = [b"a", b"bb", b"bb", b"", b"c"]
    await sender.send_batch((p, address_of(receiver)) for p in payloads)
    assert sender.statistics().gso_runs == 1
    assert await received(receiver) == payloads


@pytest.mark.parametrize("passing", ["EHOSTUNREACH", "ENETUNREACH"])
async def test_two_reports_with_a_success_between_are_two(
    hosts, play, passing
):
    sender, receiver = hosts
    script, _ = play(sender, [passing, 1] * 5)
    payloads = [bytes(i) for i in range(10)]
    assert await sender.send_batch((p, address_of(receiver)) for p in payloads)
    assert script.left == []
    assert sender.statistics().reports == 5
    assert await received(receiver) == payloads


async def test_congestion_that_passes_may_come_again(
    hosts, play, autojump_clock
):
    sender, receiver = hosts
    script, _ = play(sender, ["ENOBUFS"] * 5 + [1] + ["ENOMEM"] * 5)
    payloads = [bytes(i) for i in range(10)]
    assert await sender.send_batch((p, address_of(receiver)) for p in payloads)
    assert script.left == []
    assert await received(receiver) == payloads


@needs_gso
async def test_a_run_that_finds_no_buffers_is_not_taken_apart(
    hosts, play, autojump_clock
):
    sender, receiver = hosts
    script, _ = play(sender, ["ENOBUFS"] * 6)
    queue = Datagrams([(b"xy", address_of(receiver))] * 5)
    # Its datagrams would all find none, each with a call of its own.
    with pytest.raises(DatagramErrorGroup, match="5 of 5 datagrams refused"):
        await sender.send_batch(queue)
    assert script.left == []
    assert script.offered == [[10]] * 6
    assert sender.statistics().gso_refusals == {}
    assert len(queue) == 5


@pytest.mark.parametrize("full", ["EAGAIN", "ENOBUFS"])
async def test_a_refusal_is_told_also_if_nothing_else_can_go_now(
    hosts, play, full
):
    sender, receiver = hosts
    play(sender, ["EPERM", full])
    queue = Datagrams((bytes(i), address_of(receiver)) for i in range(3))
    with pytest.raises(DatagramErrorGroup) as info:
        sender.send_batch_nowait(queue)
    assert (info.value.sent, info.value.left) == (0, 2)
    assert [error.index for error in info.value.exceptions] == [0]
    assert [payload for payload, _ in queue] == [b"", b"\0", b"\0\0"]


async def test_a_descriptor_that_is_no_more_is_a_closed_socket(hosts, play):
    sender, receiver = hosts
    play(sender, ["EBADF", "ENOTSOCK"])
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError):
            await sender.send(b"x", address_of(receiver))


@pytest.mark.parametrize("method", ["send_many", "send_batch"])
async def test_refused_payloads_are_free_while_the_error_is_handled(
    hosts, method
):
    sender, _ = hosts
    nowhere = ("127.0.0.1", 0)
    payloads = [bytearray(1), bytearray(2)]
    if method == "send_many":
        sending = sender.send_many(payloads, nowhere)
    else:
        sending = sender.send_batch([(p, nowhere) for p in payloads])
    with pytest.raises(DatagramErrorGroup, match="2 of 2") as info:
        await sending
    assert info.value.__traceback__
    # A BufferError, if what is in the traceback held them.
    for payload in payloads:
        payload.append(0)


async def test_a_long_batch_of_small_datagrams_lets_others_run(hosts):
    sender, receiver = hosts
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    # Messages of one datagram: each is larger than the one before it.
    steps = 5 * _datagram_driving.STEPS_BETWEEN_CHECKPOINTS
    batch = [(bytes(1 + i % 64), address_of(receiver)) for i in range(64)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await sender.send_batch(batch * (steps + 1))
        nursery.cancel_scope.cancel()
    assert sender.statistics().datagrams_sent == 64 * (steps + 1)
    assert turns >= 3


@pytest.mark.parametrize("destinations", [1, 250])
async def test_what_is_refused_is_not_planned_again_with_all_behind_it(
    hosts, play, destinations
):
    sender, receiver = hosts
    script, _ = play(sender, [])
    hosts_without_port = [f"127.0.0.{i + 1}" for i in range(destinations)]
    queue = Datagrams(
        (bytes(1 + i % 50), (hosts_without_port[i % destinations], 0))
        for i in range(1000)
    )
    queue.extend([(b"x", address_of(receiver))] * 1000)
    with pytest.raises(DatagramErrorGroup, match="1000 of 2000") as info:
        await sender.send_batch(queue)
    refused = sorted(error.index for error in info.value.exceptions)
    assert refused == list(range(1000))
    offered = sum(map(len, script.offered))
    assert offered < 10 * 1000
    # As many as before, once the kernel takes them again.
    assert gso_segments() == 1 or sender.statistics().gso_runs >= 1
    assert len(await received(receiver)) == 1000


@exports_lock
@pytest.mark.parametrize("family", ["ipv4", "unix"])
async def test_what_no_kernel_takes_is_refused_without_a_copy(
    make_socket, family, tmp_path
):
    sender, receiver = await make_socket(family), await make_socket(family)
    target = address_of(receiver)
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 5 << 30)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as giant,
    ):
        with pytest.raises(DatagramErrorGroup) as info:
            await sender.send_batch(
                [(b"a", target), (giant, target), (b"b", target)]
            )
        with pytest.raises(DatagramError, match="Message too long"):
            await sender.send(giant, target)
    (error,) = info.value.exceptions
    assert (error.index, error.errno) == (1, errno.EMSGSIZE)
    assert await received(receiver) == [b"a", b"b"]
