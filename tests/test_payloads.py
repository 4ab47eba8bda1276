"""What is sent is what was given, on every way in.

A payload's size and its memory come from one question. A ``bytes`` subclass
with a ``len()`` of its own was cut by it once, or sent with memory behind it.
"""

from __future__ import annotations

import inspect
import mmap
import os
from array import array
from functools import partial

import pytest
import trio
from helpers import receive_exactly
from machines import DATAGRAM_FAMILIES, datagram_sockets

import triobatch
from triobatch import (
    BatchSender,
    BatchSocketStream,
    Buffers,
    DatagramBatchSender,
    Datagrams,
    DatagramSocket,
    Run,
    lowlevel,
    testing,
)

# What parameters are called that take bytes.
TAKES_BYTES = {
    "buffers",
    "chunk",
    "chunks",
    "data",
    "datagram",
    "datagrams",
    "payloads",
    "runs",
}
TYPES = (
    BatchSender,
    BatchSocketStream,
    Buffers,
    DatagramBatchSender,
    Datagrams,
    DatagramSocket,
    triobatch.SharedStream,
    testing.MemoryDatagramSocket,
)
# They fill memory, and take none to be sent.
RECEIVE = {
    "BatchSocketStream.receive_into",
    "lowlevel.preadv",
    "lowlevel.readv",
    "testing.check_batch_stream",
}


def ways_in():
    """Return the names of all public functions that take bytes to be sent."""
    functions = {
        f"{kind.__name__}.{name}": member
        for kind in TYPES
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    for prefix, module in (
        ("", triobatch),
        ("lowlevel.", lowlevel),
        ("testing.", testing),
    ):
        functions |= {
            prefix + name: getattr(module, name)
            for name in module.__all__
            if inspect.isfunction(getattr(module, name))
        }
    for kind in (Buffers, Datagrams):
        functions[kind.__name__] = kind
    return {
        name
        for name, function in functions.items()
        if TAKES_BYTES & inspect.signature(function).parameters.keys()
    } - RECEIVE


async def settle(result):
    return await result if inspect.isawaitable(result) else result


# Each sends one payload on a pair of sockets or streams.


def stream_method(name, wrap):
    async def send(pair, payload):
        await settle(getattr(pair[0], name)(wrap(payload)))

    return "stream", send


def sender_method(pair_kind, name, wrap):
    async def send(pair, payload):
        async with triobatch.open_batch_sender(pair[0]) as sender:
            await settle(getattr(sender, name)(*wrap(payload)))

    return pair_kind, send


def shared_method(name, wrap):
    async def send(pair, payload):
        async with triobatch.open_shared_stream(pair[0]) as shared:
            await settle(getattr(shared, name)(wrap(payload)))

    return "stream", send


def socket_method(kind, name, wrap):
    async def send(pair, payload):
        await settle(getattr(pair[0], name)(*wrap(payload)))

    return kind, send


def queue(method):
    async def send(pair, payload):
        datagrams = Datagrams()
        method(datagrams, payload)
        await pair[0].send_batch(datagrams)

    return "datagrams", send


def buffers(method):
    async def send(pair, payload):
        chunks = Buffers()
        method(chunks, payload)
        await pair[0].send_buffers(chunks)

    return "stream", send


async def by_function(function, pair, payload):
    await settle(function(pair, payload))


def whole(payload):
    return (payload,)


def listed(payload):
    return ([payload],)


def paired(payload):
    return ([(payload, None)],)


def queued(payload):
    return (Datagrams([(payload, None)]),)


def segmented(payload):
    return (payload, 2**16 - 1)


def as_run(payload):
    return ([Run(payload, 2**16 - 1)],)


DATAGRAM_METHODS = {
    "send": whole,
    "send_nowait": whole,
    "send_batch": paired,
    "send_batch_nowait": queued,
    "send_many": listed,
    "send_many_nowait": listed,
    "send_runs": as_run,
    "send_runs_nowait": as_run,
    "send_segments": segmented,
    "send_segments_nowait": segmented,
}
WAYS = {
    "BatchSender.send": sender_method("stream", "send", whole),
    "BatchSender.send_nowait": sender_method("stream", "send_nowait", whole),
    "BatchSocketStream.send_all": stream_method("send_all", lambda x: x),
    "BatchSocketStream.send_buffers": stream_method(
        "send_buffers", lambda x: [x]
    ),
    "BatchSocketStream.send_buffers_nowait": stream_method(
        "send_buffers_nowait", lambda x: Buffers([x])
    ),
    "Buffers": buffers(lambda q, x: q.extend(Buffers([x]))),
    "Buffers.append": buffers(Buffers.append),
    "Buffers.extend": buffers(lambda q, x: q.extend([b"", x])),
    "DatagramBatchSender.queue": sender_method("datagrams", "queue", whole),
    "DatagramBatchSender.send": sender_method("datagrams", "send", whole),
    "DatagramBatchSender.send_batch": sender_method(
        "datagrams", "send_batch", paired
    ),
    "DatagramBatchSender.send_nowait": sender_method(
        "datagrams", "send_nowait", whole
    ),
    "Datagrams": queue(lambda q, x: q.extend(Datagrams([(x, None)]))),
    "Datagrams.append": queue(lambda q, x: q.append((x, None))),
    "Datagrams.extend": queue(lambda q, x: q.extend([(x, None)])),
    **{
        f"{kind}.{name}": socket_method(pair, name, wrap)
        for kind, pair in (
            ("DatagramSocket", "datagrams"),
            ("MemoryDatagramSocket", "memory"),
        )
        for name, wrap in DATAGRAM_METHODS.items()
    },
    "SharedStream.queue_nowait": shared_method("queue_nowait", lambda x: x),
    "SharedStream.send_all": shared_method("send_all", lambda x: x),
    "SharedStream.send_buffers": shared_method("send_buffers", lambda x: [x]),
    "broadcast": (
        "stream",
        partial(by_function, lambda p, x: triobatch.broadcast([p[0]], x)),
    ),
    "broadcast_nowait": (
        "stream",
        partial(
            by_function, lambda p, x: triobatch.broadcast_nowait([p[0]], x)
        ),
    ),
    "send_buffers": (
        "stream",
        partial(by_function, lambda p, x: triobatch.send_buffers(p[0], [x])),
    ),
    "lowlevel.writev": (
        "stream",
        partial(
            by_function,
            lambda p, x: lowlevel.writev(p[0].socket.fileno(), [x]),
        ),
    ),
    "lowlevel.sendmmsg": (
        "datagrams",
        partial(
            by_function,
            lambda p, x: lowlevel.sendmmsg(p[0].socket.fileno(), [(x, None)]),
        ),
    ),
    "lowlevel.pwritev": ("file", None),
}


# All but those where the standard library asks for plain memory.
QUEUED = sorted(name for name in WAYS if "writev" not in name)


def test_no_way_in_is_forgotten():
    assert ways_in() == WAYS.keys()


@pytest.fixture(params=sorted(WAYS.keys() - {"lowlevel.pwritev"}))
async def send_and_receive(request):
    """Return a function that sends a payload, and returns what arrives."""
    kind, send = WAYS[request.param]
    if kind == "memory":
        pair = testing.memory_datagram_pair()
    elif kind == "stream":
        pair = [BatchSocketStream(s) for s in trio.socket.socketpair()]
    else:
        pair = [
            DatagramSocket(trio.socket.from_stdlib_socket(made))
            for made in datagram_sockets(DATAGRAM_FAMILIES[0])
        ]

    async def run(payload, size):
        with trio.fail_after(60):
            await send(pair, payload)
            if kind != "stream":
                return (await pair[1].receive())[0]
            received = await receive_exactly(pair[1], size)
        with trio.move_on_after(0):
            # Nothing came behind it.
            received += await pair[1].receive_some()
        return received

    async with pair[0], pair[1]:
        yield run


CONTENT = os.urandom(300)


class Short(bytes):
    """In good faith: ``len()`` is a number of records."""

    def __len__(self):
        return 3


class Long(bytes):
    def __len__(self):
        return 2000


class Falsy(bytes):
    def __bool__(self):
        return False

    def __len__(self):
        return 0


class Other(bytes):
    def __bytes__(self):
        return b"other"

    def __iter__(self):
        return iter(b"other")

    def __getitem__(self, _):
        return b"other"

    def __buffer__(self, _):
        # Python 3.12 asks this first (PEP 688), as everybody else there does.
        return memoryview(CONTENT)


class Array(bytearray):
    def __len__(self):
        return 5000


class Items(array):
    def __len__(self):
        return 5000


@pytest.mark.parametrize(
    "make",
    [
        Short,
        Long,
        Falsy,
        Other,
        Array,
        lambda content: Items("H", content),
        lambda content: memoryview(Long(content)),
        lambda content: memoryview(array("I", content)),
    ],
    ids=[
        *("short", "long", "falsy", "other", "bytearray", "array"),
        *("view of long", "view of items"),
    ],
)
async def test_a_payloads_own_bytes_are_sent_whole(send_and_receive, make):
    assert await send_and_receive(make(CONTENT), len(CONTENT)) == CONTENT


async def test_the_payloads_behind_it_are_not_shifted():
    left, right = (
        DatagramSocket(trio.socket.from_stdlib_socket(sock))
        for sock in datagram_sockets(DATAGRAM_FAMILIES[0])
    )
    async with left, right:
        payloads = [b"a" * 300, Short(CONTENT), Long(CONTENT), b"z" * 300]
        await left.send_many(payloads)
        await left.send_batch([(payload, None) for payload in payloads])
        arrived = [payload for payload, _ in await right.receive_batch()]
        assert arrived == [b"a" * 300, CONTENT, CONTENT, b"z" * 300] * 2


def released():
    view = memoryview(CONTENT)
    view.release()
    return view


def closed():
    mapping = mmap.mmap(-1, 100)
    mapping.close()
    return mapping


def strided():
    return memoryview(CONTENT)[::2]


@pytest.mark.parametrize(
    "make",
    [released, closed, strided, lambda: "text", lambda: None, object],
)
async def test_what_has_no_bytes_to_give_is_refused(send_and_receive, make):
    payload = make()
    with pytest.raises((TypeError, BufferError), match=r"."):
        await send_and_receive(payload, 1)


@pytest.mark.parametrize("send_and_receive", QUEUED, indirect=True)
async def test_an_array_without_a_buffer_format_is_refused(send_and_receive):
    numpy = pytest.importorskip("numpy")
    dates = numpy.array(["2026-11-27"], dtype="datetime64[D]")
    with pytest.raises(BufferError, match="no bytes to give: ndarray"):
        await send_and_receive(dates, 8)


@pytest.mark.skipif(
    not hasattr(os, "pwrite"), reason="a file cannot be written to at a place"
)
@pytest.mark.parametrize("make", [Short, Long, Falsy, Array])
def test_a_file_gets_a_payloads_own_bytes(make, tmp_path):
    with (tmp_path / "file").open("wb+") as file:
        lowlevel.pwritev(file.fileno(), [make(CONTENT)], 0)
        assert (tmp_path / "file").read_bytes() == CONTENT
