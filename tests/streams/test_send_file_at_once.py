"""A part of a file that leaves with one system call, and one that does not."""

from __future__ import annotations

import os

import pytest
import trio
from helpers import receive_exactly
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import FileSlice
from triobatch._core import calls

CONTENT = os.urandom(2**20) + b"the end"
TURN_SIZE = 2**20


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        yield file


async def exchange(pair, file, size):
    """Send the front of a file; return what came."""
    left, right = pair
    received = b""

    async def receive():
        nonlocal received
        received = await receive_exactly(right, size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with assert_checkpoints():
            assert await left.send_file(file, 0, size) == size
    assert left.statistics().bytes_sent == size
    return received


async def test_a_small_part_is_one_system_call(pair, file):
    assert await exchange(pair, file, 20_000) == CONTENT[:20_000]
    done = pair[0].statistics()
    assert (done.send_calls, done.partial_writes, done.send_waits) == (1, 0, 0)


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_at_most_a_turn_is_tried_at_once(pair, file, more, monkeypatch):
    asked = []
    original = calls.send_file

    def send_file(fd, source, offset, size):
        asked.append((offset, size))
        return original(fd, source, offset, min(size, 1000))

    monkeypatch.setattr(calls, "send_file", send_file)
    size = TURN_SIZE + more
    assert await exchange(pair, file, size) == CONTENT[:size]
    # The rest goes on where that stopped.
    assert asked[0] == (0, min(size, TURN_SIZE))
    offsets = [offset for offset, _ in asked]
    assert offsets == sorted(offsets)


async def test_what_does_not_fit_waits(small_pair, file):
    assert await exchange(small_pair, file, 2**19) == CONTENT[: 2**19]
    assert small_pair[0].statistics().send_waits


@pytest.mark.parametrize("found", [0, 4096])
async def test_what_is_not_all_in_memory_is_read_before(
    pair, file, monkeypatch, found
):
    hops = []
    original = trio.to_thread.run_sync

    async def run_sync(function, *arguments, **options):
        hops.append(arguments)
        return await original(function, *arguments, **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(
        calls, "cached", lambda fd, offset, size: 0 if offset else found
    )
    assert await exchange(pair, file, 20_000) == CONTENT[:20_000]
    assert [arguments[1:] for arguments in hops] == [(found, 20_000 - found)]


async def test_a_file_that_shrinks_is_an_error(pair, file, monkeypatch):
    monkeypatch.setattr(calls, "cached", lambda *_: 2**20)
    monkeypatch.setattr(calls, "send_file", lambda *_: 0)
    with pytest.raises(EOFError, match="20000 bytes from 0"):
        await pair[0].send_file(file, 0, 20_000)
    # And so it is not busy.
    await pair[0].send_all(b"x")


async def test_a_cancelled_call_sends_nothing(pair, file):
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair[0].send_file(file, 0, 20_000)
    assert scope.cancelled_caught
    assert pair[0].statistics().send_calls == 0
    await pair[0].send_all(b"not busy")


async def test_another_task_is_refused_meanwhile(pair, file, monkeypatch):
    left, _ = pair

    async def run_sync(*_):
        await trio.sleep_forever()

    monkeypatch.setattr(calls, "cached", lambda *_: 0)
    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_file, file, name="the first")
        await wait_all_tasks_blocked()
        for part in (file, FileSlice(file)):
            with pytest.raises(trio.BusyResourceError, match="the first"):
                await left.send_file(part)
        nursery.cancel_scope.cancel()
    await left.send_all(b"not busy")
