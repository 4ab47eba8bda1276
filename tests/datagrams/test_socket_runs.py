"""What a datagram socket offers for runs, and what it refuses."""

import gc
import sys

import pytest
import trio
from helpers import address_of, received
from needs import needs_metadata
from receive_buffer import needs_room
from traced import tracemalloc
from trio.testing import assert_checkpoints

from triobatch import Metadata, open_udp_socket
from triobatch._core.probes import gso_segments, has_gro
from triobatch._datagrams.run import Run

SIZE = 1200
COUNT = 864


@pytest.mark.parametrize("method", ["receive_runs", "receive_runs_nowait"])
@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError)]
)
async def test_a_limit_is_a_positive_number(make_socket, method, size, error):
    sock = await make_socket()
    with pytest.raises(error, match="max_bytes must be"):
        getattr(sock, method)(size)


@pytest.mark.parametrize(
    ("runs", "error", "message"),
    [
        (None, TypeError, "runs must be an iterable of Run objects"),
        (b"ab", TypeError, "runs must be an iterable of Run objects"),
        ([b"ab"], TypeError, "run 0 must be a Run, not bytes"),
        ([Run(b"a", 1), (b"b", 1)], TypeError, "run 1 must be a Run"),
    ],
)
async def test_what_is_no_run_is_refused(make_socket, runs, error, message):
    sock = await make_socket()
    for send in sock.send_runs, sock.send_runs_nowait:
        with pytest.raises(error, match=message):
            result = send(runs, address_of(sock))
            await result
    assert await received(sock) == []


async def test_a_segment_size_that_was_changed_is_looked_at(make_socket):
    sock = await make_socket()
    run = Run(b"abc", 1)
    for size in 0, -1, 65536:
        run.segment_size = size
        with pytest.raises(ValueError, match="run 0: segment_size must be"):
            await sock.send_runs([run], address_of(sock))
    assert await received(sock) == []


async def test_an_impossible_address_leaves_nothing_exported(make_socket):
    sock = await make_socket()
    memory = bytearray(b"abc")
    run = Run(memory, 1)
    with pytest.raises((TypeError, ValueError)) as info:
        await sock.send_runs([run], ("127.0.0.1", "port"))
    run.data.release()
    # The traceback is there, and keeps nothing.
    memory.append(0)
    assert info.tb is not None


async def test_no_runs_are_no_datagrams(make_socket):
    sock = await make_socket()
    with assert_checkpoints():
        assert await sock.send_runs([], address_of(sock)) == 0
    assert sock.send_runs_nowait([], address_of(sock)) == 0
    assert sock.statistics().send_calls == 0


async def test_runs_come_from_any_iterable_and_any_memory(make_socket):
    sock = await make_socket()
    made = (Run(kind(b"abc"), 2) for kind in (bytes, bytearray, memoryview))
    assert await sock.send_runs(made, address_of(sock)) == 6
    assert await received(sock) == [b"ab", b"c"] * 3


@needs_metadata
async def test_metadata_go_with_every_datagram(make_socket):
    sock = await make_socket()
    await sock.send(b"turn it on", address_of(sock))
    await sock.receive_messages()
    for run in Run(b"abc", 3), Run(b"abc", 1):
        await sock.send_runs(
            [run] * 2, address_of(sock), metadata=Metadata(tos=4, ttl=7)
        )
    messages = []
    while len(messages) < 8:
        messages += await sock.receive_messages()
    assert {m.metadata.ttl for m in messages} == {7}
    assert {m.metadata.tos for m in messages} == {4}


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "unix"])
async def test_runs_go_on_to_every_family(make_socket, family):
    sender, middle, end = [await make_socket(family) for _ in range(3)]
    payloads = [b"a" * 100] * 5 + [b"b" * 7]
    await sender.send_many(payloads, address_of(middle))
    count = 0
    while count < 6:
        async with middle.receive_runs() as runs:
            assert {run.address for run in runs} == {address_of(sender)}
            count += await middle.send_runs(runs, address_of(end))
    assert await received(end) == payloads


@needs_room
@pytest.mark.skipif(not has_gro(), reason="needs UDP_GRO")
async def test_no_object_is_made_for_a_datagram():
    options = {"receive_buffer_size": 1 << 23}
    here = {"local_address": ("127.0.0.1", 0), **options}
    async with (
        await open_udp_socket(**here) as source,
        await open_udp_socket(**here) as relay,
        await open_udp_socket(**here) as sink,
    ):
        data = bytes(COUNT * SIZE)

        async def forward():
            """Return the blocks at the end of the block, and the peak."""
            await source.send_segments(data, SIZE, address_of(relay))
            sent = 0
            gc.collect()
            tracemalloc.start()
            before = sys.getallocatedblocks()
            most = 0
            while sent < COUNT:
                async with relay.receive_runs() as runs:
                    sent += await relay.send_runs(runs, address_of(sink))
                    most = max(most, sys.getallocatedblocks() - before)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most, peak

        await forward()
        await received(sink)
        most, peak = await forward()
        arrived = await received(sink)
        assert len(arrived) == COUNT
        if gso_segments() > 1:
            assert relay.statistics().send_calls <= 4
        # 16 runs or so, with a handful of objects each.
        assert most < COUNT / 2
        # And nothing was copied: 1 MiB went through.
        assert peak < 65536
        with pytest.raises(trio.WouldBlock):
            relay.receive_nowait()
