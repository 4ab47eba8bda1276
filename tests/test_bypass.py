"""Nobody is sent round: the outermost object's way to send is used.

A wrapper that encrypts was once bypassed, because what it wraps can send
batches; and a subclass, because what it derives from is faster. Each way in is
tried with each kind of object, and either what arrives was sent by the object
itself, or nothing was sent and a TypeError says why.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import socket
import tempfile

import pytest
import trio
from helpers import cancelled_when_blocked
from machines import DATAGRAM_FAMILIES, datagram_sockets
from needs import needs_pipes

import triobatch
from triobatch import (
    BatchSender,
    BatchSocketStream,
    BufferedReceiveStream,
    Buffers,
    DatagramBatchSender,
    DatagramSocket,
    lowlevel,
    testing,
)

SECRET = b"secret"
SENT = b"<secret>"

# What a parameter is called, or said to be, that is sent on.
NAMES = re.compile(r"(stream|target|file|pipe|destination|peer|member)s?$")
TYPES = re.compile(r"\b\w*Stream\b|\b\w*DatagramSocket\b|\bTarget\b")


def ways_in():
    """Return the names of all public callables that are given what sends."""
    found = set()
    for prefix, module in (
        ("", triobatch),
        ("lowlevel.", lowlevel),
        ("testing.", testing),
    ):
        for name in module.__all__:
            member = getattr(module, name)
            functions = {}
            if inspect.isclass(member):
                functions = {
                    f"{name}.{method}": function
                    for method, function in inspect.getmembers(
                        member, inspect.isfunction
                    )
                    if method == "__init__" or not method.startswith("_")
                }
            elif inspect.isfunction(member):
                functions = {name: member}
            found |= {
                prefix + way
                for way, function in functions.items()
                if any(
                    map(takes, inspect.signature(function).parameters.values())
                )
            }
    return found


def takes(parameter):
    note = str(parameter.annotation)
    # A handler is given one, and a task_status.
    given = "Callable" in note or "TaskStatus" in note
    return not given and (
        NAMES.match(parameter.name) is not None
        or TYPES.search(note) is not None
    )


# They send nothing on it, and so have no way of their own.
NO_SENDING = {
    "Delivery.__init__": "a record",
    "FileSlice.__init__": "a part of a file",
    "GroupStatistics.__init__": "a record",
    "ProxyHeader.__init__": "a record",
    "receive_proxy_header": "receives",
    # Below, as they take what receives as well.
    "BufferedReceiveStream.__init__": "see test_what_receives_as_well",
    "relay": "see test_what_receives_as_well",
    "BatchSocketStream.send_file": "is a stream's own; see send_file",
    "StreamGroup.__init__": "made by open_stream_group",
    # A stream that sends in its own way is no member: test_group_members.
    **dict.fromkeys(
        (
            f"StreamGroup.{name}"
            for name in (
                *("add", "error", "flush", "queued", "remove"),
                "send_batch_nowait",
            )
        ),
        "takes no stream that sends in its own way",
    ),
    "SharedListener.__init__": "made by open_shared_listeners",
    "testing.scripted_calls": "patches the calls of one descriptor",
    "testing.check_batch_stream": "calls the methods that it checks",
    "testing.SimulatedDatagramSocket.__init__": "made by open_socket",
    "testing.SimulatedNetwork.change_conditions": "its target is a host",
    "testing.SimulatedNetwork.set_conditions": "its target is a host",
}


async def by_send_buffers(stream):
    await triobatch.send_buffers(stream, [b"sec", b"ret"])


async def by_send_buffers_of_buffers(stream):
    await triobatch.send_buffers(stream, Buffers([b"sec", b"ret"]))


async def by_write_to(stream):
    await Buffers([b"sec", b"ret"]).write_to(stream)


async def by_broadcast(stream):
    result = await triobatch.broadcast([stream], SECRET)
    assert [d.status for d in result] == ["sent"], result.missed


async def by_broadcast_nowait(stream):
    result = triobatch.broadcast_nowait([stream], SECRET)
    assert [d.status for d in result] == ["sent"], result.missed


async def by_batch_sender(stream):
    async with triobatch.open_batch_sender(stream) as sender:
        await sender.send(SECRET)


async def by_batch_sender_of_buffers(stream):
    async with triobatch.open_batch_sender(stream) as sender:
        sender.send_nowait(Buffers([b"sec", b"ret"]))


async def by_shared_stream(stream):
    async with triobatch.open_shared_stream(stream) as shared:
        await shared.send_all(SECRET)


async def by_file(stream):
    with tempfile.TemporaryFile() as file:
        file.write(SECRET)
        file.flush()
        await triobatch.send_file(stream, file)


WAYS = {
    "send_buffers": [by_send_buffers, by_send_buffers_of_buffers],
    "Buffers.write_to": [by_write_to],
    "broadcast": [by_broadcast],
    "broadcast_nowait": [by_broadcast_nowait],
    "open_batch_sender": [by_batch_sender, by_batch_sender_of_buffers],
    "BatchSender.__init__": [by_batch_sender],
    "open_shared_stream": [by_shared_stream],
    "SharedStream.__init__": [by_shared_stream],
    "send_file": [by_file],
    # A stream is not for it; see the datagram sockets below.
    "DatagramBatchSender.__init__": [],
}


def test_no_way_in_is_forgotten():
    assert ways_in() - NO_SENDING.keys() == WAYS.keys()


def test_the_senders_are_made_by_one_function():
    for kind in (BatchSender, DatagramBatchSender):
        assert "see ``open_batch_sender``" in inspect.getdoc(kind)


def mark(data):
    return b"<" + bytes(data) + b">"


class Wrapper(trio.abc.SendStream):
    """A wrapper as one writes it: it hands on what it does not know."""

    def __init__(self, socket):
        self.inner = BatchSocketStream(socket)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def send_all(self, data):
        await self.inner.send_all(mark(data))

    async def wait_send_all_might_not_block(self):
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self):
        await self.inner.aclose()


class Proxy:
    """A proxy that also claims the class of what is inside."""

    def __init__(self, socket):
        self.inner = BatchSocketStream(socket)

    @property
    def __class__(self):
        return BatchSocketStream

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def send_all(self, data):
        await self.inner.send_all(mark(data))


class WrapperWithBuffers(Wrapper):
    async def send_buffers(self, buffers):
        data = b"".join(buffers)
        await self.send_all(data)
        return len(data)


class SendsAll(BatchSocketStream):
    async def send_all(self, data):
        await super().send_all(mark(data))


class SendsBuffers(BatchSocketStream):
    async def send_buffers(self, buffers):
        data = b"".join(buffers)
        await super().send_all(mark(data))
        return len(data)


class SendsBoth(SendsBuffers):
    async def send_all(self, data):
        await BatchSocketStream.send_all(self, mark(data))

    async def send_buffers(self, buffers):
        return await super().send_buffers(buffers)


class SendsAllLater(SendsBuffers):
    async def send_all(self, data):
        await BatchSocketStream.send_all(self, mark(data))


class Mixin:
    async def send_all(self, data):
        await super().send_all(mark(data))


class Mixed(Mixin, BatchSocketStream):
    pass


class SendsNowToo(SendsBoth):
    def send_buffers_nowait(self, buffers):
        data = buffers.read()
        return super().send_buffers_nowait(Buffers([mark(data)]))


class SendsNowInDerived(SendsNowToo):
    pass


KINDS = [
    Wrapper,
    Proxy,
    WrapperWithBuffers,
    SendsAll,
    SendsBuffers,
    SendsBoth,
    SendsAllLater,
    Mixed,
    SendsNowToo,
    SendsNowInDerived,
]
HAVE_NOWAIT = {SendsNowToo, SendsNowInDerived}


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    right.setblocking(False)
    with left, right:
        yield trio.socket.from_stdlib_socket(left), right


def arrived(end):
    try:
        return end.recv(1000)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize(
    "send",
    sorted({way for ways in WAYS.values() for way in ways}, key=repr),
    ids=lambda way: way.__name__,
)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_outermost_object_sends(ends, kind, send):
    sock, end = ends
    stream = kind(sock)
    if send is by_broadcast_nowait and kind not in HAVE_NOWAIT:
        with pytest.raises(TypeError, match=kind.__name__):
            await send(stream)
        assert arrived(end) == b""
        return
    await send(stream)
    assert arrived(end) == SENT


async def test_the_reason_names_the_method_that_would_be_bypassed(ends):
    stream = SendsAll(ends[0])
    with pytest.raises(TypeError, match="SendsAll, whose send_all send_buf"):
        triobatch.broadcast_nowait([stream], SECRET)


async def test_one_of_its_own_kind_keeps_nobody_from_the_fast_way(ends):
    """A subclass among plain streams: each is sent to as it is."""
    left, right = socket.socketpair()
    right.setblocking(False)
    with right:
        plain = BatchSocketStream(trio.socket.from_stdlib_socket(left))
        own = SendsNowToo(ends[0])
        for how in (triobatch.broadcast, triobatch.broadcast_nowait):
            result = how([own, plain], SECRET)
            if inspect.isawaitable(result):
                result = await result
            assert [d.sent for d in result] == [6, 6]
            assert arrived(ends[1]) == SENT
            assert arrived(right) == SECRET
        await plain.aclose()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (trio.WouldBlock, "unsent"),
        (trio.BrokenResourceError, "broken"),
        (trio.ClosedResourceError, "closed"),
        (trio.BusyResourceError, "busy"),
        (LookupError, "broken"),
    ],
)
async def test_what_a_subclass_raises_is_in_the_result(ends, error, status):
    class Failing(SendsNowToo):
        def send_buffers_nowait(self, buffers):
            raise error("its own")

    result = triobatch.broadcast_nowait([Failing(ends[0])], SECRET)
    (delivery,) = result
    assert (delivery.status, delivery.sent) == (status, 0)


async def test_a_subclass_that_takes_a_part_is_partial(ends):
    class Partial(SendsNowToo):
        def send_buffers_nowait(self, buffers):
            buffers.consume(2)
            return 2

    (delivery,) = triobatch.broadcast_nowait([Partial(ends[0])], SECRET)
    assert (delivery.status, delivery.sent) == ("partial", 2)


async def test_a_sender_does_not_say_more_than_a_subclass_can_tell(ends):
    class Stuck(SendsAll):
        async def send_all(self, data):
            await trio.sleep_forever()

    async with (
        cancelled_when_blocked(),
        triobatch.open_batch_sender(Stuck(ends[0]), grace=0) as sender,
    ):
        await sender.send(SECRET)
        await trio.sleep_forever()
    assert (sender.uncertain, sender.unsent) == ([SECRET], [])
    assert sender.statistics().send_calls is None


# Datagrams.

DATAGRAM_METHODS = sorted(
    name for name in dir(DatagramSocket) if name.startswith("send")
)


@contextlib.contextmanager
def datagram_ends():
    left, right = datagram_sockets(DATAGRAM_FAMILIES[0])
    right.setblocking(False)
    with left, right:
        yield trio.socket.from_stdlib_socket(left), right


@pytest.mark.parametrize("name", DATAGRAM_METHODS)
async def test_a_socket_that_sends_in_its_own_way_has_no_sender(name):
    def own(self, *args, **kwargs):
        raise NotImplementedError

    kind = type("Own", (DatagramSocket,), {name: own})
    with datagram_ends() as (sock, end):
        with pytest.raises(TypeError, match="not Own, whose own sending"):
            triobatch.open_batch_sender(kind(sock))
        assert arrived(end) == b""


@pytest.mark.parametrize("name", DATAGRAM_METHODS)
async def test_a_socket_in_memory_that_does_so_has_none_either(name):
    def own(self, *args, **kwargs):
        raise NotImplementedError

    left, right = testing.memory_datagram_pair()
    # It is the pair that makes them.
    left.__class__ = type("Own", (testing.MemoryDatagramSocket,), {name: own})
    with pytest.raises(TypeError, match="not Own, whose own sending"):
        triobatch.open_batch_sender(left)
    with pytest.raises(trio.WouldBlock):
        right.receive_nowait()


async def test_a_socket_that_adds_something_else_has_a_sender():
    class Counting(DatagramSocket):
        async def receive_batch(self, max_datagrams=64):
            return await super().receive_batch(max_datagrams)

    with datagram_ends() as (sock, end):
        async with triobatch.open_batch_sender(Counting(sock)) as sender:
            await sender.send(SECRET)
        assert arrived(end) == SECRET


async def test_a_proxy_of_a_socket_has_no_sender():
    class Claiming:
        def __init__(self, inner):
            self.inner = inner

        @property
        def __class__(self):
            return DatagramSocket

        def __getattr__(self, name):
            return getattr(self.inner, name)

        async def send(self, data, address=None):
            await self.inner.send(mark(bytes(data)), address)

    with datagram_ends() as (sock, end):
        proxy = Claiming(DatagramSocket(sock))
        with pytest.raises(TypeError, match="not Claiming"):
            triobatch.open_batch_sender(proxy)
        assert arrived(end) == b""
        # This calls its method, as anybody would.
        await Buffers([b"sec", b"ret"]).write_to(proxy)
        assert arrived(end) == SENT


async def test_a_datagram_is_written_by_the_method_of_a_subclass():
    class Marking(DatagramSocket):
        async def send(self, data, address=None, *, metadata=None):
            await super().send(mark(bytes(data)), address)

    with datagram_ends() as (sock, end):
        await Buffers([b"sec", b"ret"]).write_to(Marking(sock))
        assert arrived(end) == SENT


# Files and pipes.


async def test_a_wrapper_of_an_async_file_is_not_bypassed(tmp_path):
    class Encrypting:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        async def write(self, data):
            return await self.file.write(mark(data))

    path = tmp_path / "file"
    async with await trio.open_file(path, "wb") as file:
        with pytest.raises(TypeError, match="not Encrypting"):
            await Buffers([SECRET]).write_to(Encrypting(file))
    assert path.read_bytes() == b""


async def test_a_subclass_of_an_async_file_is_not_bypassed(tmp_path):
    path = tmp_path / "file"
    async with await trio.open_file(path, "wb") as file:

        class Own(type(file)):
            async def write(self, data):
                return await super().write(mark(data))

        with pytest.raises(TypeError, match="not Own"):
            await Buffers([SECRET]).write_to(Own(file.wrapped))
    assert path.read_bytes() == b""


@needs_pipes
async def test_a_proxy_of_a_pipe_is_not_bypassed():
    class Claiming(Proxy):
        def __init__(self, pipe):
            self.inner = pipe

        @property
        def __class__(self):
            return trio.lowlevel.FdStream

    reader, writer = os.pipe()
    async with trio.lowlevel.FdStream(writer) as pipe:
        await Buffers([b"sec", b"ret"]).write_to(Claiming(pipe))
        assert os.read(reader, 100) == SENT
    os.close(reader)


class Marks(BatchSocketStream):
    """Sends and receives in its own way."""

    async def send_all(self, data):
        await super().send_all(mark(data))

    async def receive_some(self, max_bytes=None):
        data = await super().receive_some(max_bytes)
        return data and data.removeprefix(b"<").removesuffix(b">")


async def by_reader(stream):
    await BufferedReceiveStream(stream).send_all(SECRET)


async def by_reader_of_chunks(stream):
    await BufferedReceiveStream(stream).send_buffers([b"sec", b"ret"])


async def by_relay(stream):
    near, far = trio.socket.socketpair()
    with near, far:
        await far.send(SECRET)
        far.shutdown(trio.socket.SHUT_WR)
        # The other way ends with what the stream's own peer sends.
        async with cancelled_when_blocked():
            await triobatch.relay(BatchSocketStream(near), stream)


@pytest.mark.parametrize("way", [by_reader, by_reader_of_chunks, by_relay])
async def test_what_receives_as_well(way):
    left, right = trio.socket.socketpair()
    async with Marks(left) as stream:
        await way(stream)
        with right:
            assert await right.recv(100) == SENT


async def test_a_group_takes_no_stream_with_its_own_way():
    left, right = trio.socket.socketpair()
    with right:
        async with (
            Marks(left) as stream,
            triobatch.open_stream_group() as group,
        ):
            with pytest.raises(TypeError, match="must be a BatchSocketStream"):
                group.add(stream)
