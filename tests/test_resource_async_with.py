"""What who writes `with` for `async with` is told."""

import contextlib
import socket

import pytest
import trio

import triobatch
from triobatch._resource import async_scope
from triobatch.testing import memory_datagram_pair, open_simulated_network


@pytest.fixture
async def stream():
    ours, theirs = trio.socket.socketpair()
    with theirs:
        async with triobatch.BatchSocketStream(ours) as stream:
            yield stream


@pytest.fixture
async def listener():
    (listener,) = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener


def entered_in_the_wrong_way(one):
    with pytest.raises(TypeError, match=r"^use 'async with', not 'with'$"):
        contextlib.ExitStack().enter_context(one)
    with (
        pytest.raises(TypeError, match=r"^use 'async with', not 'with'$"),
        one,
    ):
        raise AssertionError


async def test_every_object_that_is_closed_by_async_with(stream, listener):
    ours, theirs = memory_datagram_pair()
    async with ours, theirs:
        for one in (ours, ours.receive_runs(), listener, stream):
            entered_in_the_wrong_way(one)
        entered_in_the_wrong_way(triobatch.BufferedReceiveStream(stream))


async def test_every_scope_of_tasks(stream, listener):
    for scope in (
        triobatch.open_batch_sender(stream),
        triobatch.open_shared_stream(stream),
        triobatch.open_shared_listeners([listener]),
        triobatch.open_stream_group(),
        open_simulated_network(seed=1),
    ):
        entered_in_the_wrong_way(scope)
        # And is still whole.
        async with scope:
            pass


async def test_what_is_shared(stream, listener):
    async with (
        triobatch.open_shared_stream(stream) as shared,
        triobatch.open_shared_listeners([listener]) as (shared_listener,),
    ):
        entered_in_the_wrong_way(shared)
        entered_in_the_wrong_way(shared_listener)


async def test_a_scope_is_left_with_what_ends_it():
    seen = []

    @async_scope
    async def scope(value):
        """Say it."""
        try:
            yield value
        except ValueError as error:
            seen.append(error)

    assert (scope.__name__, scope.__doc__) == ("scope", "Say it.")
    async with scope(socket) as value:
        assert value is socket
        raise ValueError
    assert len(seen) == 1
    with pytest.raises(KeyError):
        async with scope(1):
            raise KeyError
