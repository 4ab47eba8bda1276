"""Received runs, and their scope under every trouble."""

import os
import pickle
from contextlib import suppress

import pytest
import trio
from helpers import address_of, exports_lock, receive_datagrams
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import open_udp_socket
from triobatch._core.arena import SLOT_SIZE
from triobatch._core.probes import has_gro
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.run import Run
from triobatch.testing import memory_datagram_pair

needs_gro = pytest.mark.skipif(not has_gro(), reason="needs UDP_GRO")
TRAIN = os.urandom(950)
OTHER = bytes(950)


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


async def send(hosts, data=TRAIN):
    """Send a train of ten, the last one shorter."""
    sender, receiver = hosts
    assert await sender.send_segments(data, 100, address_of(receiver)) == 10
    return receiver


async def refill(receiver, hosts):
    """Have the kernel write to all that it wrote to before."""
    await send(hosts, OTHER)
    await receive_datagrams(receiver, 10)


@needs_gro
async def test_a_train_comes_whole(hosts):
    receiver = await send(hosts)
    with assert_checkpoints():
        scope = receiver.receive_runs()
        runs = await scope.__aenter__()
    assert [bytes(run.data) for run in runs] == [TRAIN]
    assert [run.segment_size for run in runs] == [100]
    assert [run.count for run in runs] == [10]
    assert [run.address for run in runs] == [address_of(hosts[0])]
    await scope.__aexit__(None, None, None)
    statistics = receiver.statistics()
    assert statistics.datagrams_received == 10
    assert statistics.receive_calls == 1


async def test_they_are_what_was_sent_and_are_waited_for(hosts):
    _, receiver = hosts
    arrived = []

    async def receive():
        while len(arrived) < 10:
            async with receiver.receive_runs() as runs:
                arrived.extend(bytes(d) for run in runs for d in run)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await send(hosts)
    assert arrived == [TRAIN[i : i + 100] for i in range(0, 950, 100)]


async def test_without_waiting_there_is_something_or_would_block(hosts):
    _, receiver = hosts
    with pytest.raises(trio.WouldBlock), receiver.receive_runs_nowait():
        pass
    await send(hosts)
    data = b""
    with suppress(trio.WouldBlock):
        while True:
            with receiver.receive_runs_nowait() as runs:
                data += b"".join(run.data for run in runs)
    assert data == TRAIN


async def test_an_empty_datagram_is_a_run(hosts):
    sender, receiver = hosts
    await sender.send(b"", address_of(receiver))
    async with receiver.receive_runs() as [run]:
        assert (run.data, run.segment_size, run.count) == (b"", 0, 1)
        assert await receiver.send_runs([run], address_of(sender)) == 1
    assert await sender.receive() == (b"", address_of(receiver))


@needs_gro
async def test_as_many_come_as_fit_and_one_in_any_case(hosts):
    sender, receiver = hosts
    for size in (300, 300, 301, 700):
        await sender.send_segments(bytes(size), 100, address_of(receiver))
    taken = []
    for limit in (600, 600, 600):
        async with receiver.receive_runs(max_bytes=limit) as runs:
            taken.append([len(run.data) for run in runs])
    assert taken == [[300, 300], [301], [700]]


@needs_gro
async def test_what_earlier_calls_left_comes_first(hosts):
    receiver = await send(hosts)
    assert len(await receiver.receive_batch(4)) == 4
    await send(hosts, OTHER)
    async with receiver.receive_runs() as [run]:
        assert (run.data, run.segment_size) == (TRAIN[400:], 100)
    async with receiver.receive_runs() as [run]:
        assert run.data == OTHER
    # And the other way round.
    sender, _ = hosts
    for letter in b"abc":
        await sender.send_segments(
            bytes([letter] * 20), 10, address_of(receiver)
        )
    async with receiver.receive_runs(max_bytes=1) as [run]:
        assert run.data == b"a" * 20
    datagrams = await receive_datagrams(receiver, 4)
    assert [data[:1] for data, _ in datagrams] == [b"b", b"b", b"c", b"c"]


async def test_after_the_scope_every_view_is_an_error(hosts):
    receiver = await send(hosts)
    async with receiver.receive_runs() as runs:
        data = [run.data for run in runs]
        pieces = [piece for run in runs for piece in run]
        kept = list(runs)
        # The list is the program's.
        runs.clear()
    for view in data + pieces:
        with pytest.raises(ValueError, match="released"):
            view[0]
    for run in kept:
        with pytest.raises(ValueError, match="released"):
            bytes(run.data)
        with pytest.raises(ValueError, match="released"):
            list(run)


@pytest.mark.parametrize("keep", [lambda v: v[3:90], memoryview])
@pytest.mark.parametrize("way", ["receive_batch", "runs", "one", "messages"])
async def test_a_slice_that_outlives_the_scope_keeps_its_bytes(
    hosts, keep, way
):
    receiver = await send(hosts)
    async with receiver.receive_runs() as runs:
        kept = keep(runs[0].data)
        expected = bytes(kept)
        shown = runs[0]
    with pytest.raises(ValueError, match="released"):
        bytes(shown.data)
    with suppress(trio.WouldBlock):
        while True:
            receiver.receive_nowait()
    for _ in range(3):
        await send(hosts, OTHER)
        if way == "receive_batch":
            await receive_datagrams(receiver, 10)
        elif way == "one":
            for _ in range(10):
                await receiver.receive()
        elif way == "messages":
            count = 0
            while count < 10:
                count += len(await receiver.receive_messages())
        else:
            count = 0
            while count < 10:
                async with receiver.receive_runs() as runs:
                    count += sum(run.count for run in runs)
    assert kept == expected


@pytest.mark.parametrize("export", [pickle.PickleBuffer, "numpy"])
async def test_an_export_that_outlives_the_scope_keeps_its_bytes(
    hosts, export
):
    if export == "numpy":
        export = pytest.importorskip("numpy").asarray
    receiver = await send(hosts)
    async with receiver.receive_runs() as runs:
        kept = export(runs[0].data)
        expected = bytes(kept)
        run = runs[0]
    with suppress(trio.WouldBlock):
        while True:
            receiver.receive_nowait()
    await refill(receiver, hosts)
    assert bytes(kept) == expected
    with pytest.raises(ValueError, match="released"):
        bytes(run.data)


@exports_lock
async def test_without_such_a_slice_the_memory_stays(hosts):
    receiver = hosts[1]
    spares = receiver._receive.inbox.spares
    with suppress(trio.WouldBlock):
        receiver.receive_nowait()
    memory = spares[-1]
    for _ in range(3):
        await send(hosts)
        count = 0
        while count < 10:
            async with receiver.receive_runs() as runs:
                for run in runs:
                    for datagram in run:
                        count += bytes(datagram) in TRAIN
                assert await receiver.send_runs(
                    runs, address_of(hosts[0])
                ) == sum(run.count for run in runs)
        # The last one is still there, by its name.
        with pytest.raises(ValueError, match="released"):
            bytes(datagram)
    await send(hosts)
    await receive_datagrams(receiver, 10)
    assert spares[-1] is memory


@pytest.mark.parametrize("way", ["receive", "receive_batch", "receive_runs"])
async def test_who_else_would_receive_is_told_so(hosts, way):
    receiver = await send(hosts)

    async def receive():
        if way == "receive_runs":
            async with receiver.receive_runs():
                pass
        else:
            await getattr(receiver, way)()

    async with receiver.receive_runs(max_bytes=1) as runs:
        before = bytes(runs[0].data)
        with pytest.raises(trio.BusyResourceError, match="has its runs"):
            await receive()
        with pytest.raises(trio.BusyResourceError):
            receiver.receive_batch_nowait()
        with (
            pytest.raises(trio.BusyResourceError),
            receiver.receive_runs_nowait(),
        ):
            pass
        assert runs[0].data == before
    # The scope that was refused has ended nothing.
    await refill(receiver, hosts)


async def test_who_waits_for_runs_keeps_others_out(hosts):
    _, receiver = hosts

    async def wait():
        async with receiver.receive_runs():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await receiver.receive()
        nursery.cancel_scope.cancel()
    # Nothing is lost if entering is cancelled.
    await send(hosts)
    await receive_datagrams(receiver, 10)


async def test_cancelled_before_it_begins_nothing_is_lost(hosts):
    receiver = await send(hosts)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with receiver.receive_runs():
            pytest.fail("entered")
    assert scope.cancelled_caught
    datagrams = await receive_datagrams(receiver, 10)
    assert b"".join(data for data, _ in datagrams) == TRAIN


@needs_gro
@pytest.mark.parametrize("trouble", ["cancelled", "exception"])
async def test_a_scope_loses_what_it_has_and_nothing_else(hosts, trouble):
    await send(hosts)
    receiver = await send(hosts, OTHER)
    views = []
    with trio.CancelScope() as scope, suppress(KeyError):
        async with receiver.receive_runs(max_bytes=1) as runs:
            views += [run.data for run in runs]
            if trouble == "exception":
                raise KeyError
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert len(views) == 1
    with pytest.raises(ValueError, match="released"):
        bytes(views[0])
    datagrams = await receive_datagrams(receiver, 10)
    assert b"".join(data for data, _ in datagrams) == OTHER


async def test_closing_within_leaves_the_views_until_the_end(hosts):
    receiver = await send(hosts)
    sender, _ = hosts
    async with receiver.receive_runs() as runs:
        data = b"".join(run.data for run in runs)
        await receiver.aclose()
        assert b"".join(run.data for run in runs) == data
        assert TRAIN.startswith(data)
        # They can still be sent by another.
        count = sum(run.count for run in runs)
        assert await sender.send_runs(runs, address_of(sender)) == count
        view = runs[0].data
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    with pytest.raises(trio.ClosedResourceError):
        async with receiver.receive_runs():
            pass
    arrived = await receive_datagrams(sender, count)
    assert b"".join(payload for payload, _ in arrived) == data


async def test_runs_after_their_scope_are_sent_by_nobody(hosts):
    sender, receiver = hosts
    await send(hosts)
    async with receiver.receive_runs() as runs:
        kept = list(runs)
    alive = Run(b"alive", 5)
    before = sender.statistics().send_calls
    for nowait in False, True:
        with pytest.raises(ValueError, match="run 1: its scope has ended"):
            if nowait:
                sender.send_runs_nowait([alive, *kept], address_of(receiver))
            else:
                await sender.send_runs([alive, *kept], address_of(receiver))
    assert sender.statistics().send_calls == before


async def test_a_scope_that_ends_while_its_runs_are_sent_changes_nothing(
    hosts, play
):
    sender, receiver = hosts
    await send(hosts)
    with_room = play(sender, ["EAGAIN"] * 50)
    async with trio.open_nursery() as nursery:
        async with receiver.receive_runs() as runs:
            expected = b"".join(run.data for run in runs)
            count = sum(run.count for run in runs)
            nursery.start_soon(sender.send_runs, runs, address_of(sender))
            while len(with_room[0].left) == 50:
                await trio.lowlevel.checkpoint()
        with suppress(trio.WouldBlock):
            while True:
                receiver.receive_nowait()
        await receiver.send_segments(OTHER, 100, address_of(receiver))
        await receive_datagrams(receiver, 10)
    arrived = await receive_datagrams(sender, count)
    assert b"".join(data for data, _ in arrived) == expected


async def test_a_truncated_datagram_is_told_apart(datagram_pair):
    left, right = datagram_pair
    # What a Unix socket takes.
    left.socket.setsockopt(1, 7, 1 << 20)
    await left.send_batch(
        [(b"a", None), (bytes(SLOT_SIZE + 1), None), (b"c", None)]
    )
    async with right.receive_runs() as runs:
        assert [bytes(run.data) for run in runs] == [b"a"]
    with pytest.raises(TruncatedDatagramError):
        async with right.receive_runs():
            pass
    async with right.receive_runs() as runs:
        assert [bytes(run.data) for run in runs] == [b"c"]


# A model: what was sent, in order, and how it is received.

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 700), st.integers(1, 300)),
        st.tuples(st.just("batch"), st.integers(1, 5)),
        st.tuples(
            st.just("runs"),
            st.integers(1, 900),
            st.sampled_from(["leave", "raise", "slice", "send"]),
        ),
    ),
    max_size=30,
)


async def follow(steps, left, right, address):
    """Take the steps; every datagram comes once, in order, unchanged."""
    expected, kept = [], []
    number = 0
    for kind, *arguments in steps:
        if kind == "send":
            size, segment_size = arguments
            data = bytes((number + i) % 251 for i in range(size))
            number += 1
            await left.send_runs([Run(data, segment_size)], address)
            expected += [bytes(d) for d in Run(data, segment_size)]
        elif kind == "batch":
            with suppress(trio.WouldBlock):
                for payload, _ in right.receive_batch_nowait(*arguments):
                    assert payload == expected.pop(0)
        else:
            limit, use = arguments
            with suppress(trio.WouldBlock, KeyError):
                with right.receive_runs_nowait(limit) as runs:
                    assert sum(len(r.data) for r in runs[1:]) < limit
                    for run in runs:
                        datagrams = list(map(bytes, run))
                        assert datagrams == expected[: len(datagrams)]
                        del expected[: len(datagrams)]
                    if use == "raise":
                        raise KeyError
                    if use == "slice":
                        part = runs[-1].data[1:]
                        kept.append((part, bytes(part)))
                    if use == "send":
                        await left.send_runs(runs, address)
                        expected += [bytes(d) for run in runs for d in run]
                run = runs[0]
                with pytest.raises(ValueError, match="released"):
                    bytes(run.data)
        for part, content in kept:
            assert part == content
        if len(kept) > 2:
            del kept[0]
    with suppress(trio.WouldBlock):
        while True:
            for payload, _ in right.receive_batch_nowait():
                assert payload == expected.pop(0)
    assert expected == []


# Or a receive buffer would not hold what is on its way.
@needs_gro
@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_runs_do_what_the_model_does(steps):
    async def main():
        async with (
            await open_udp_socket(local_address=("127.0.0.1", 0)) as left,
            await open_udp_socket(local_address=("127.0.0.1", 0)) as right,
        ):
            await follow(steps, left, right, address_of(right))

    trio.run(main)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_runs_in_memory_do_what_the_model_does(steps):
    async def main():
        left, right = memory_datagram_pair()
        async with left, right:
            await follow(steps, left, right, None)

    trio.run(main)
