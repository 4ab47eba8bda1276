"""A run of Trio's in each of several threads, all at work at once.

An object is for one run. What the runs share is the process's: memory to
receive into and to send from, and what is remembered of addresses. A byte of
another thread's would be seen, as each has bytes of its own.
"""

import contextlib
import sys
import threading

import pytest
import trio
from helpers import receive_datagrams, receive_exactly

import triobatch
from triobatch import lowlevel

THREADS = 4
ROUNDS = 200
# Seconds.
PATIENCE = 40


@pytest.fixture(autouse=True)
def switching():
    """Let threads take turns at every chance; without the GIL they do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


async def in_time(load, thread, rounds):
    # What went to another thread's memory is waited for in vain.
    with trio.fail_after(PATIENCE):
        await load(thread, rounds)


def in_runs(load, rounds=ROUNDS):
    """Run ``load(thread, rounds)`` in a Trio run in each of some threads."""
    finished = []
    begin = threading.Barrier(THREADS)

    def run(thread):
        begin.wait()
        trio.run(in_time, load, thread, rounds)
        finished.append(thread)

    threads = [
        threading.Thread(target=run, args=(thread,))
        for thread in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What a thread has raised, pytest tells.
    assert sorted(finished) == list(range(THREADS))


def message(thread, number, size):
    """Return bytes that no other thread, and no other round, has."""
    head = b"%d.%d " % (thread, number)
    return (head * (size // len(head) + 1))[:size]


async def stream_pair():
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0] as listener:
        port = listener.socket.getsockname()[1]
        left = await triobatch.open_tcp_stream("127.0.0.1", port)
        return left, await listener.accept()


async def datagram_pair():
    async def opened():
        return await triobatch.open_udp_socket(
            local_address=("127.0.0.1", 0), receive_buffer_size=2**20
        )

    return await opened(), await opened()


async def copied(thread, rounds):
    """Send lists of small chunks, which are copied, and lone ones."""
    left, right = await stream_pair()
    async with left, right:
        for number in range(rounds):
            chunks = [message(thread, number, size) for size in (9, 90, 900)]
            await left.send_buffers(chunks)
            await left.send_buffers([b"", bytearray(chunks[0])])
            await left.send_all(chunks[1])
            sent = b"".join(chunks) + chunks[0] + chunks[1]
            assert await receive_exactly(right, len(sent)) == sent


async def pointed(thread, rounds):
    """Send what is pointed at, and receive it into several buffers."""
    left, right = await stream_pair()
    async with left, right:
        for number in range(rounds):
            chunks = [message(thread, number, 2**15) for _ in range(6)]
            chunks[1] = bytearray(chunks[1])
            sent = b"".join(chunks)
            received = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.send_buffers, chunks)
                while len(received) < len(sent):
                    rooms = [bytearray(10_000), bytearray(50_000)]
                    size = await right.receive_into(rooms)
                    received += b"".join(rooms)[:size]
            assert received == sent


async def datagrams(thread, rounds):
    """Send batches of every kind; receive pairs, messages and runs."""
    left, right = await datagram_pair()
    async with left, right:
        address = right.local_address
        for number in range(rounds):
            equal = [message(thread, number + i, 600) for i in range(8)]
            mixed = [message(thread, number, size) for size in range(20, 26)]
            await left.send_many(equal, address)
            await left.send_batch((each, address) for each in mixed)
            await left.send_segments(b"".join(equal), 600, address)
            await left.send(mixed[0], address)
            wanted = [*equal, *mixed, *equal, mixed[0]]
            found = await receive_datagrams(right, len(wanted))
            assert [payload for payload, _ in found] == wanted
            assert {sender for _, sender in found} == {left.local_address}
            await left.send_many(equal, address)
            async with right.receive_runs() as runs:
                seen = b"".join(run.data for run in runs)
                assert b"".join(equal).startswith(seen)
                rest = b"".join(equal)[len(seen) :]
            while rest:
                for got in await right.receive_messages():
                    assert rest.startswith(got.data)
                    assert got.address == left.local_address
                    rest = rest[len(got.data) :]


async def raw(thread, rounds):
    """Send and receive with the system calls themselves."""
    left, right = await datagram_pair()
    async with left, right:
        address = right.local_address
        buffer = bytearray(8 * 100)
        for number in range(rounds):
            batch = [(message(thread, number, 90), address)] * 4
            assert lowlevel.sendmmsg(left.socket.fileno(), batch) == 4
            await trio.lowlevel.wait_readable(right.socket)
            while batch:
                found = lowlevel.recvmmsg(right.socket.fileno(), buffer, 100)
                for slot, (size, sender, _) in enumerate(found):
                    start = 100 * slot
                    payload, _ = batch.pop()
                    assert buffer[start : start + size] == payload
                    assert sender == left.local_address


async def senders(thread, rounds):
    """Let tasks share a stream, and a socket."""
    left, right = await stream_pair()
    sock, other = await datagram_pair()
    sent = [message(thread, number, 200) for number in range(rounds)]
    async with left, right, sock, other:
        async with triobatch.open_batch_sender(left) as sender:
            for each in sent:
                await sender.send(each)
        whole = b"".join(sent)
        assert await receive_exactly(right, len(whole)) == whole
        async with triobatch.open_batch_sender(sock) as sender:
            for each in sent:
                await sender.send(each, other.local_address)
        found = await receive_datagrams(other, len(sent))
        assert [payload for payload, _ in found] == sent


async def many_streams(thread, rounds):
    """Broadcast to streams, and let a group answer them."""
    async with contextlib.AsyncExitStack() as stack:
        lefts, rights = [], []
        for _ in range(3):
            left, right = await stream_pair()
            lefts.append(await stack.enter_async_context(left))
            rights.append(await stack.enter_async_context(right))
        group = await stack.enter_async_context(triobatch.open_stream_group())
        for left in lefts:
            group.add(left)
        for number in range(rounds):
            news = message(thread, number, 300)
            await triobatch.broadcast(rights, news)
            missing = dict.fromkeys(lefts, news)
            while any(missing.values()):
                for left, data in await group.receive_batch():
                    assert missing[left].startswith(data)
                    missing[left] = missing[left][len(data) :]
            answers = [message(thread, number, 50 + i) for i in range(3)]
            group.send_batch_nowait(
                (left, [answer, b"\n"])
                for left, answer in zip(lefts, answers, strict=True)
            )
            await group.flush()
            for right, answer in zip(rights, answers, strict=True):
                size = len(answer) + 1
                assert await receive_exactly(right, size) == answer + b"\n"


LOADS = [copied, pointed, datagrams, raw, senders, many_streams]


async def everything(thread, rounds):
    """Do all of that at once."""
    async with trio.open_nursery() as nursery:
        for load in LOADS:
            nursery.start_soon(load, thread, rounds // 5)


@pytest.mark.parametrize("load", [*LOADS, everything])
def test_runs_in_several_threads_do_not_meet(load):
    in_runs(load)
