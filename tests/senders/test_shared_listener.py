"""Listeners that give a server shared streams."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from helpers import receive_exactly, receive_to_end
from trio.testing import (
    assert_checkpoints,
    memory_stream_one_way_pair,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

import triobatch
from triobatch import open_shared_listeners


async def echo(shared):
    async with shared:
        async for data in shared:
            await shared.send_all(data)


@pytest.fixture
async def listeners():
    return await triobatch.open_tcp_listeners(0, host="127.0.0.1")


async def test_a_server_gets_shared_streams(listeners):
    port = listeners[0].socket.getsockname()[1]
    async with (
        open_shared_listeners(listeners) as shared,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.serve_listeners, echo, shared)
        for _ in range(3):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"hello")
                await stream.send_eof()
                assert await receive_to_end(stream) == b"hello"
        nursery.cancel_scope.cancel()


async def test_a_server_gets_shared_streams_through_tls(listeners, tls):
    client, server = tls
    port = listeners[0].socket.getsockname()[1]
    tls_listeners = [trio.SSLListener(one, server) for one in listeners]
    async with (
        open_shared_listeners(tls_listeners) as shared,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.serve_listeners, echo, shared)
        raw = await trio.open_tcp_stream("127.0.0.1", port)
        async with trio.SSLStream(
            raw, client, server_hostname="localhost"
        ) as stream:
            await stream.send_all(b"hello")
            assert await receive_exactly(stream, 5) == b"hello"
        nursery.cancel_scope.cancel()


async def test_servers_that_ask_take_it_for_a_socket_listener(listeners, tls):
    _, server = tls
    for kind in (
        lambda one: one,
        partial(trio.SSLListener, ssl_context=server),
    ):
        async with open_shared_listeners(map(kind, listeners)) as (shared,):
            assert isinstance(shared, trio.SocketListener)
            assert shared.socket is listeners[0].socket
    await shared.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await shared.accept()


async def test_accepting_is_a_checkpoint_and_can_be_cancelled(listeners):
    address = listeners[0].socket.getsockname()[:2]
    async with open_shared_listeners(listeners) as (shared,):
        with trio.move_on_after(0.01) as scope:
            await shared.accept()
        assert scope.cancelled_caught
        async with await trio.open_tcp_stream(*address):
            with assert_checkpoints():
                stream = await shared.accept()
            await stream.aclose()
        await shared.aclose()


@pytest.mark.parametrize("passes", range(6))
async def test_a_call_that_is_cancelled_has_taken_no_connection(
    listeners, passes
):
    address = listeners[0].socket.getsockname()[:2]
    accepted = []

    async def accept():
        accepted.append(await shared.accept())

    async with (
        open_shared_listeners(listeners) as (shared,),
        await trio.open_tcp_stream(*address),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        with trio.fail_after(60):
            if not accepted:
                await accept()
        await accepted[0].aclose()


class Connections(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what it is given."""

    def __init__(self, *streams):
        self.streams = list(streams)

    async def accept(self):
        await trio.lowlevel.checkpoint()
        return self.streams.pop()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_a_stream_that_its_server_closed_is_forgotten():
    left, right = memory_stream_pair()
    async with open_shared_listeners([Connections(left)]) as (shared,):
        stream = await shared.accept()
        await stream.send_all(b"last")
        await stream.aclose()
        await wait_all_tasks_blocked()
        assert not shared._nursery.child_tasks
    assert await receive_to_end(right) == b"last"


async def test_a_stream_that_broke_ends_no_other():
    left, right = memory_stream_pair()
    lost, peer = memory_stream_pair()
    async with open_shared_listeners([Connections(left, lost)]) as (shared,):
        broken = await shared.accept()
        fine = await shared.accept()
        await peer.aclose()
        await broken.send_all(b"x")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await broken.send_all(b"x")
        await broken.aclose()
        await wait_all_tasks_blocked()
        await fine.send_all(b"goes on")
        await fine.aclose()
    assert await receive_to_end(right) == b"goes on"
    assert broken.sender.uncertain == [b"x"]


async def test_leaving_the_block_closes_what_is_open():
    left, right = memory_stream_pair()
    async with open_shared_listeners([Connections(left)]) as (shared,):
        stream = await shared.accept()
        await stream.send_all(b"x")
        await wait_all_tasks_blocked()
    assert await receive_to_end(right) == b"x"
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"y")


async def test_a_connection_that_cannot_be_shared_is_closed():
    # One that cannot be sent on.
    sending, receiving = memory_stream_one_way_pair()
    async with open_shared_listeners([Connections(receiving)]) as (shared,):
        with pytest.raises(TypeError, match=r"stream must be a trio\.abc"):
            await shared.accept()
    with pytest.raises(trio.BrokenResourceError):
        await sending.send_all(b"x")


async def test_a_connection_that_comes_after_the_block_is_closed():
    left, right = memory_stream_pair()
    async with open_shared_listeners([Connections(left)]) as (shared,):
        pass
    with pytest.raises(RuntimeError, match="closed to new arrivals"):
        await shared.accept()
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"x")


async def test_leaving_the_block_closes_listeners_that_nobody_served(
    listeners,
):
    listeners += await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with open_shared_listeners(listeners):
        pass
    assert [one.socket.fileno() for one in listeners] == [-1, -1]


async def test_a_listener_that_cannot_be_closed_leaves_no_other_open(
    listeners,
):
    class Failing(Connections):
        async def aclose(self):
            raise LookupError

    around = [Failing(), *listeners, Failing()]
    with pytest.RaisesGroup(LookupError):
        async with open_shared_listeners(around):
            pass
    assert listeners[0].socket.fileno() == -1


async def test_what_is_no_listener_is_refused():
    with pytest.raises(TypeError, match="not str"):
        async with open_shared_listeners([Connections(), "listener"]):
            raise AssertionError


async def test_it_says_what_it_listens_on(listeners):
    async with open_shared_listeners(listeners) as (shared,):
        assert repr(shared) == f"<SharedListener: on {listeners[0]!r}>"


async def test_an_error_of_the_block_is_in_no_group(listeners):
    with pytest.raises(ValueError, match="mine"):
        async with open_shared_listeners(listeners):
            raise ValueError("mine")


class Crashing(trio.abc.Stream):
    """A stream with a fault."""

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        raise LookupError

    async def wait_send_all_might_not_block(self):
        raise NotImplementedError

    async def receive_some(self, max_bytes=None):
        raise NotImplementedError

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_an_error_of_the_block_beside_a_crash_is_not_lost():
    listener = Connections(Crashing())
    with pytest.RaisesGroup(LookupError, KeyError, flatten_subgroups=True):
        async with open_shared_listeners([listener]) as (shared,):
            stream = await shared.accept()
            await stream.send_all(b"x")
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError


async def test_a_crash_while_the_block_is_left_is_not_lost():
    listener = Connections(Crashing())
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with open_shared_listeners([listener]) as (shared,):
            stream = await shared.accept()
            await stream.send_all(b"x")


class _ClosesSlowly(trio.abc.Stream):
    """A stream that says goodbye, as TLS does."""

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes=None):
        await trio.sleep_forever()

    async def aclose(self):
        await trio.sleep(0.01)


class _ListenerOf(trio.abc.Listener):
    def __init__(self, stream):
        self.stream = stream

    async def accept(self):
        await trio.lowlevel.checkpoint()
        return self.stream

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_nothing_closes_by_force_what_is_being_closed():
    calls = []

    class Listened(_ClosesSlowly):
        async def aclose(self):
            calls.append("begun")
            await super().aclose()
            calls.append("ended")

    stream = Listened()
    async with open_shared_listeners([_ListenerOf(stream)]) as (listener,):
        shared = await listener.accept()
        await shared.aclose()
    assert calls[:2] == ["begun", "ended"]


class _Faulty(_ClosesSlowly):
    async def send_all(self, data):
        raise ZeroDivisionError


async def test_a_fault_in_a_stream_comes_out_with_the_blocks_own_error():
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (a group)
        async with open_shared_listeners([_ListenerOf(_Faulty())]) as [one]:
            stream = await one.accept()
            stream.sender.send_nowait(b"x")
            await trio.sleep_forever()
    assert caught.value.subgroup(ZeroDivisionError) is not None
