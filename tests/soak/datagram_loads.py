"""The loads that send datagrams; each of them is received, lost or refused.

What is in a datagram follows from its number and size, which are in front. A
lost one is a number that the kernel says it had no room for.
"""

from __future__ import annotations

import socket
import struct
from functools import partial

import trio
from loads import opened, pattern

import triobatch
from triobatch import DatagramErrorGroup, Datagrams, DatagramSocket

HEAD = struct.Struct("<QI")
# Datagrams that may be under way, so that a receive buffer has room.
UNDER_WAY = 256
# For what it takes to fill a receive buffer.
FLOODED = 2**16
# More than an IP packet has room for: EMSGSIZE (udp(7)).
TOO_LARGE = bytes(70000)
UDP_GRO = 104
# Seconds until what is under way has come.
PATIENCE = 30


async def _udp_pair(receive_buffer_size=2**22):
    async def one():
        return await triobatch.open_udp_socket(
            local_address=("127.0.0.1", 0),
            receive_buffer_size=receive_buffer_size,
        )

    left = await one()
    try:
        return left, await one()
    except BaseException:
        await left.aclose()
        raise


async def _unix_pair():
    return [
        DatagramSocket(sock)
        for sock in trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ]


def payload_of(number, size):
    """Return ``size`` bytes behind what tells them from others."""
    return HEAD.pack(number, size) + pattern(number, size)


def number_of(payload):
    """Return a datagram's number, if it is as it was sent."""
    number, size = HEAD.unpack_from(payload)
    assert payload == payload_of(number, size), f"number {number} has changed"
    return number


def payloads(rng, number):
    """Return datagrams, equal in size or not."""
    count = rng.choice((1, 3, 16, 64, UNDER_WAY))
    size = rng.choice((8, 100, 1200)) if rng.random() < 0.7 else None
    return [
        payload_of(number + i, rng.randrange(1400) if size is None else size)
        for i in range(count)
    ]


def note(tally, sent, received, lost=0, refused=0):
    """Add what was done to the tally, of which none may be missing.

    Args:
      tally: What to add it to.
      sent: The payloads' count and bytes, the refused not among them.
      received: The count of those that arrived.
      lost: The count of those that the kernel had no room for.
      refused: The count of those that it did not take.
    """
    count, size = sent
    assert count == received + lost, f"{received}, {lost} lost, of {count}"
    tally["datagrams sent"] += count
    tally["datagrams sent: bytes"] += size
    tally["datagrams received"] += received
    tally["datagrams lost"] += lost
    tally["datagrams refused"] += refused


async def _send(rng, tally, left, address, batch):
    """Send them in one of the ways that there are, cancels included."""
    how = rng.randrange(4)
    if how == 0:
        await left.send_many(batch, address)
    elif how == 1 and len({len(payload) for payload in batch}) == 1:
        await left.send_segments(b"".join(batch), len(batch[0]), address)
    elif how == 2:
        for payload in batch[:8]:
            await left.send(payload, address)
        await left.send_many(batch[8:], address)
    else:
        queue = Datagrams((payload, address) for payload in batch)
        while queue:
            with trio.move_on_after(rng.random() / 1000):
                await left.send_batch(queue)
            if queue:
                tally["datagrams: cancels"] += 1


async def _send_most(left, batch, address):
    """Send all but the refused; return how many were taken."""
    try:
        return await left.send_many(batch, address)
    except DatagramErrorGroup as error:
        group = error
    assert group.sent + len(group.exceptions) == len(batch) == group.offered
    return group.sent


async def datagrams(tally, rng, over):
    """Send batches, no more than there is room for; each arrives, in order."""
    while not over():
        is_unix = rng.random() < 0.3
        left, right = await opened(tally, _unix_pair if is_unix else _udp_pair)
        address = None if is_unix else right.local_address
        sent = size = arrived = 0
        progress = trio.Condition()

        async def receive(right=right, progress=progress):
            nonlocal arrived
            while True:
                for payload, _ in await right.receive_batch(
                    rng.choice((1, 64, 1000))
                ):
                    number = number_of(payload)
                    assert number == arrived, f"{number} and not {arrived}"
                    arrived += 1
                async with progress:
                    progress.notify_all()

        async with left, right, trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for _ in range(200):
                batch = payloads(rng, sent)
                await _send(rng, tally, left, address, batch)
                sent += len(batch)
                size += sum(map(len, batch))
                with trio.fail_after(PATIENCE):
                    async with progress:
                        while arrived < sent:
                            await progress.wait()
            nursery.cancel_scope.cancel()
        note(tally, (sent, size), arrived)


async def floods(tally, rng, over):
    """Send more than there is room for, and some that are too large."""
    while not over():
        left, right = await opened(
            tally, partial(_udp_pair, receive_buffer_size=FLOODED)
        )
        # A train that was put together would be dropped as one.
        right.setsockopt(socket.SOL_UDP, UDP_GRO, 0)
        address = right.local_address
        sent = size = refused = arrived = 0
        last = -1

        def dropped(right=right):
            return right.statistics().kernel_drops

        async def receive(right=right):
            nonlocal arrived, last
            while True:
                if rng.random() < 0.05:
                    await trio.sleep(rng.random() / 200)
                for payload, _ in await right.receive_batch(
                    rng.choice((1, 16, 64))
                ):
                    number = number_of(payload)
                    assert number > last, f"{number} behind {last}"
                    last = number
                    arrived += 1

        async with left, right, trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for _ in range(200):
                batch = payloads(rng, sent)
                size += sum(map(len, batch))
                sent += len(batch)
                too_large = rng.randrange(3) if rng.random() < 0.2 else 0
                for _ in range(too_large):
                    batch.insert(rng.randrange(len(batch) + 1), TOO_LARGE)
                taken = await _send_most(left, batch, address)
                assert taken == len(batch) - too_large
                refused += too_large
            with trio.fail_after(PATIENCE):
                # Nothing tells of a drop.
                while arrived + dropped() < sent:  # noqa: ASYNC110
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        statistics = left.statistics()
        assert statistics.datagrams_sent == sent
        assert statistics.refused == refused
        assert right.statistics().datagrams_received == arrived
        note(tally, (sent, size), arrived, dropped(), refused)


async def datagram_senders(tally, rng, over):
    """Many tasks queue datagrams; each arrives once."""
    while not over():
        left, right = await opened(tally, _unix_pair)
        arrived = set()
        count = 20 * 200
        size = rng.choice((0, 10, 500))

        async def receive(right=right, arrived=arrived, count=count):
            while len(arrived) < count:
                for payload, _ in await right.receive_batch():
                    number = number_of(payload)
                    assert number not in arrived, f"{number} came twice"
                    arrived.add(number)

        async def queue(sender, first, size=size):
            for number in range(first, first + 200):
                await sender.queue(payload_of(number, size), None)

        async with left, right, trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            async with triobatch.open_batch_sender(left) as sender:
                async with trio.open_nursery() as tasks:
                    for task in range(20):
                        tasks.start_soon(queue, sender, 200 * task)
                await sender.flush()
        assert arrived == set(range(count))
        note(tally, (count, count * (HEAD.size + size)), len(arrived))


# Each load by its name.
LOADS = {
    "datagrams": datagrams,
    "floods": floods,
    "datagram senders": datagram_senders,
}
