"""Sets of descriptors: what is ready, and who waits for that."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._streams.group_readiness import ready_sets


@pytest.fixture
def readers(sets, nursery):
    """A set for reading, which is closed in the end."""
    reading, writing = ready_sets(nursery)
    yield reading
    reading.close()
    writing.close()


@pytest.fixture
def peers():
    """Two sockets, of which the first is not readable yet."""
    left, right = socket.socketpair()
    left.setblocking(False)
    with left, right:
        yield left, right


async def waits(readers):
    """Whether nothing is ready, after all that is to come has come."""
    await wait_all_tasks_blocked()
    with trio.move_on_after(0.01) as scope:
        await readers.wait()
    return scope.cancelled_caught


async def test_it_waits_for_the_first_that_is_ready(readers, peers):
    left, right = peers
    readers.add(left.fileno())
    assert await waits(readers)
    assert not readers.has_ready()
    right.send(b"x")
    with trio.fail_after(60):
        await readers.wait()
    assert readers.has_ready()
    assert readers.take(5) == [left.fileno()]


async def test_waiting_for_what_is_ready_is_a_checkpoint(readers, peers):
    left, right = peers
    readers.add(left.fileno())
    right.send(b"x")
    await wait_all_tasks_blocked()
    with assert_checkpoints():
        await readers.wait()


async def test_what_is_discarded_is_not_waited_for(readers, peers):
    left, right = peers
    readers.add(left.fileno())
    readers.discard(left.fileno())
    right.send(b"x")
    assert await waits(readers)


async def test_built_anew_it_has_those_that_it_is_given(readers, peers):
    left, right = peers
    with socket.socket() as other:
        readers.add(left.fileno())
        # It is ready, with an error: it is not connected.
        readers.add(other.fileno())
        await wait_all_tasks_blocked()
        readers.rebuild([left.fileno()])
        assert await waits(readers)
        right.send(b"x")
        with trio.fail_after(60):
            await readers.wait()
        assert readers.take(5) == [left.fileno()]


async def test_who_waits_while_it_is_built_anew_gets_no_error(
    readers, peers, nursery
):
    left, right = peers
    readers.add(left.fileno())
    taken = []

    async def wait():
        while not readers.has_ready():
            await readers.wait()
        taken.extend(readers.take(5))

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    readers.rebuild([left.fileno()])
    await wait_all_tasks_blocked()
    right.send(b"x")
    await wait_all_tasks_blocked()
    assert taken == [left.fileno()]


async def test_who_waits_when_it_is_closed_is_told(readers, peers, nursery):
    left, _right = peers
    readers.add(left.fileno())
    told = []

    async def wait():
        with pytest.raises(trio.ClosedResourceError):
            await readers.wait()
        told.append(True)

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    readers.close()
    await wait_all_tasks_blocked()
    assert told == [True]
