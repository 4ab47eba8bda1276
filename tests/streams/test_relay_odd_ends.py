"""What a relay's ends may do beside sending and ending."""

from __future__ import annotations

import errno
import os
import socket

import pytest
import trio
from helpers import receive_exactly, receive_to_end
from trio.testing import wait_all_tasks_blocked

from triobatch import (
    BufferedReceiveStream,
    open_shared_stream,
    open_stream_group,
    relay,
)
from triobatch._core.choice import CORE
from triobatch._streams import relay as relay_module

# More than is copied before the kernel is left to it.
MUCH = os.urandom(2**20) * 2

spliced = pytest.mark.skipif(CORE != "c", reason="no core that splices")


@pytest.fixture
async def ends(make_streams):
    """Return the two far ends, and the two that are to be relayed."""
    first, a = await make_streams()
    second, b = await make_streams()
    return first, second, a, b


async def bring_much(first, second):
    """Send, and receive, what is enough to be left to the kernel."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.send_all, MUCH)
        assert await receive_exactly(second, len(MUCH)) == MUCH
    await wait_all_tasks_blocked()


class Shifted(BufferedReceiveStream):
    """One that has its own way with what it sends and receives."""

    ended = 0

    async def send_all(self, data):
        await super().send_all(bytes(byte ^ 1 for byte in data))

    async def send_eof(self):
        self.ended += 1
        await super().send_eof()

    async def receive_some(self, max_bytes=None):
        data = await super().receive_some(max_bytes)
        return bytes(byte ^ 1 for byte in data)


@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_reader_with_ways_of_its_own_is_not_gone_round(ends, which):
    first, second, a, b = ends
    if which == "source":
        a = Shifted(a)
    else:
        b = Shifted(b)
    size = 2**18
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(first.send_all, MUCH[:size])
        received = await receive_exactly(second, size)
        assert received == bytes(byte ^ 1 for byte in MUCH[:size])
        for end in (first, second):
            await end.send_eof()
    assert (a if which == "source" else b).ended == 1


@spliced
async def test_goes_on_without_a_pipe_where_there_is_none_to_be_had(
    ends, monkeypatch
):
    first, second, a, b = ends

    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe2", refuse)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        await bring_much(first, second)
        await first.send_eof()
        assert await second.receive_some() == b""
        await second.send_eof()


@pytest.mark.parametrize("size", [10, len(MUCH)])
async def test_a_stream_that_is_relayed_cannot_join_a_group(ends, size):
    first, second, a, b = ends
    async with open_stream_group() as group, trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(first.send_all, MUCH[:size])
        await receive_exactly(second, size)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="receiving"):
            group.add(a)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("behind", [0, 1, 1000])
@pytest.mark.parametrize("size", [0, len(MUCH)])
@pytest.mark.parametrize("at_once", [True, False])
async def test_urgent_bytes_do_not_stop_it(ends, behind, size, at_once):
    first, second, a, b = ends
    if first.socket.family != socket.AF_INET:
        pytest.skip("Unix sockets have their own")
    # The last byte is the urgent one, which nobody has asked for.
    expected = MUCH[:size] + b"ab" + b"x" * behind

    async def send():
        await first.send_all(MUCH[:size])
        if not at_once:
            await wait_all_tasks_blocked()
        await first.socket.send(b"ab!", socket.MSG_OOB)
        if not at_once:
            await wait_all_tasks_blocked()
        await first.send_all(b"x" * behind)
        await first.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(send)
        with trio.fail_after(10):
            assert await receive_to_end(second) == expected
        await second.send_eof()
    assert a.statistics().bytes_received == len(expected)
    assert b.statistics().bytes_sent == len(expected)


@spliced
async def test_does_not_spin_where_the_kernel_takes_nothing(ends, monkeypatch):
    splice_c = pytest.importorskip("triobatch._core.splice_c")
    first, second, a, b = ends
    tries = 0

    class Refusing(relay_module.Relay):
        def move(self, *_):
            nonlocal tries
            tries += 1
            return splice_c.WAIT_TARGET

    monkeypatch.setattr(relay_module, "Relay", Refusing)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(first.send_all, MUCH)
        nursery.start_soon(receive_to_end, second)
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()
    assert 1 < tries < 100


@pytest.mark.parametrize("kind", ["shared", "reader of shared"])
async def test_a_shared_stream_that_cannot_be_half_closed_ends_it(
    ends, tls, kind
):
    first, second, a, below = ends
    client = trio.SSLStream(below, tls[0], server_hostname="localhost")
    server = trio.SSLStream(second, tls[1], server_side=True)
    async with open_shared_stream(client) as shared:
        b = shared if kind == "shared" else BufferedReceiveStream(shared)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.send_all, b"last words")
            nursery.start_soon(relay, a, b)
            assert await server.receive_some() == b"last words"
            await first.send_eof()
