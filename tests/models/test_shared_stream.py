"""Twenty tasks on a shared stream: every message whole, and accounted for."""

from __future__ import annotations

import random
import socket

import trio
from helpers import drain
from hypothesis import given, settings
from hypothesis import strategies as st
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketStream, Buffers, open_shared_stream

HEADER = 12
WAYS = ["send_all", "send_buffers", "gathered", "nowait", "broadcast"]

messages = st.tuples(
    st.sampled_from(WAYS),
    st.sampled_from([0, 1, 100, 5000, 70_000]),
    # Whether it is cancelled, and after how many turns.
    st.one_of(st.none(), st.integers(0, 3)),
)
tasks = st.lists(st.lists(messages, max_size=5), min_size=20, max_size=20)
ends = st.sampled_from(["leave", "error", "aclose", "cancelled aclose", "eof"])


class EndError(Exception):
    """What ends a block."""


def message(task, number, size):
    return b"%02d:%02d:%05d;" % (task, number, size) + b"%c" % task * size


def parse(data):
    """Return the task and the number of each message, which is whole."""
    found = []
    while data:
        task, number, size = map(int, data[: HEADER - 1].split(b":"))
        end = HEADER + size
        assert data[:end] == message(task, number, size)
        found.append((task, number))
        data = data[end:]
    return found


class Play:
    """One shared stream, and what was queued on it."""

    def __init__(self, shared):
        self.shared = shared
        self.queued = set()
        self.refused = set()

    async def run(self, task, plans):
        for number, (way, size, patience) in enumerate(plans):
            data = message(task, number, size)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if patience is not None:
                        nursery.start_soon(self.cancel, scope, patience)
                    done = False
                    try:
                        done = await self.send(way, data)
                    except (trio.ClosedResourceError, trio.WouldBlock):
                        pass
                    finally:
                        place = self.queued if done else self.refused
                        place.add((task, number))
                        nursery.cancel_scope.cancel()

    async def cancel(self, scope, patience):
        for _ in range(patience):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def send(self, way, data):
        shared = self.shared
        if way == "send_all":
            await shared.send_all(data)
        elif way == "send_buffers":
            assert await shared.send_buffers([data[:5], data[5:]])
        elif way == "gathered":
            await shared.sender.send(Buffers([data[:5], data[5:]]))
        elif way == "nowait":
            shared.sender.send_nowait(data)
        else:
            (delivery,) = triobatch.broadcast_nowait([shared], data)
            assert delivery.status in ("queued", "full", "closed")
            return delivery.status == "queued"
        return True


async def play(plans, end, reads, seed, max_buffered):
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    stream = BatchSocketStream(tsocket.from_stdlib_socket(ours))
    peer = tsocket.from_stdlib_socket(theirs.dup())
    received = bytearray()
    chance = random.Random(seed)

    async def read():
        while data := await peer.recv(chance.choice([1, 1000, 100_000])):
            received.extend(data)

    with theirs, peer:
        async with trio.open_nursery() as readers:
            if reads:
                readers.start_soon(read)
            try:
                async with open_shared_stream(
                    stream, max_buffered=max_buffered, grace=0
                ) as shared:
                    played = Play(shared)
                    async with trio.open_nursery() as nursery:
                        for task, plan in enumerate(plans):
                            nursery.start_soon(played.run, task, plan)
                        await wait_all_tasks_blocked()
                        if end == "error":
                            raise EndError
                        if end == "aclose":
                            await shared.aclose()
                        elif end == "cancelled aclose":
                            await trio.aclose_forcefully(shared)
                        elif not reads:
                            readers.start_soon(read)
                        if end == "eof":
                            await shared.send_eof()
            except Exception:
                # In groups, of which Python 3.10 has none to catch by.
                if end != "error":
                    raise
            await stream.aclose()
            await wait_all_tasks_blocked()
            readers.cancel_scope.cancel()
        received.extend(drain(theirs))
    return played, bytes(received)


@settings(max_examples=60, deadline=None)
@given(
    tasks,
    ends,
    st.booleans(),
    st.integers(0, 2**16),
    st.sampled_from([0, 1000, 2**18]),
)
def test_every_message_is_whole_in_order_and_accounted_for(
    plans, end, reads, seed, max_buffered
):
    played, received = trio.run(play, plans, end, reads, seed, max_buffered)
    sender = played.shared.sender
    assert sender.uncertain == []
    left = [sender.unfinished, *sender.unsent]
    found = parse(received + b"".join(left))
    for task in range(20):
        numbers = [number for t, number in found if t == task]
        assert numbers == sorted(numbers)
    # A task that is cancelled by the end may not know that it was queued.
    assert len(set(found)) == len(found)
    assert set(found) == played.queued
    if end in ("leave", "eof"):
        assert left == [b""]
