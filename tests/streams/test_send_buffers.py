"""``send_buffers``: batches for streams that know nothing of them."""

from __future__ import annotations

import ssl
from array import array

import pytest
import trio
from helpers import exports_lock, is_exported, receive_to_end
from trio.testing import (
    assert_checkpoints,
    lockstep_stream_pair,
    memory_stream_one_way_pair,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

import triobatch
from triobatch import Buffers

PIECE = 65536
RECORD = 16384


class RecordingStream(trio.abc.SendStream):
    """A stream that keeps what each ``send_all`` was given."""

    def __init__(self, results=()):
        self.sent = []
        # Exceptions to raise instead, one a call; None for success.
        self.results = list(results)

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        error = self.results.pop(0) if self.results else None
        if error is not None:
            raise error
        self.sent.append(bytes(data))

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (1, [1]),
        (PIECE - 1, [PIECE - 1]),
        (PIECE, [PIECE]),
        (PIECE + 1, [PIECE, 1]),
        (3 * PIECE, [PIECE, PIECE, PIECE]),
    ],
)
@pytest.mark.parametrize("chunk_size", [100, 3 * PIECE])
async def test_chunks_are_gathered_into_pieces(size, pieces, chunk_size):
    content = bytes(range(256)) * (size // 256 + 1)
    chunks = [
        content[start : min(start + chunk_size, size)]
        for start in range(0, size, chunk_size)
    ]
    stream = RecordingStream()
    with assert_checkpoints():
        assert await triobatch.send_buffers(stream, chunks) == size
    assert list(map(len, stream.sent)) == pieces
    assert b"".join(stream.sent) == content[:size]


@pytest.mark.parametrize("empty", [[], [b""], [b"", bytearray()]])
async def test_nothing_to_send_is_a_checkpoint_and_an_empty_send_all(empty):
    stream = RecordingStream()
    with assert_checkpoints():
        assert await triobatch.send_buffers(stream, empty) == 0
    with assert_checkpoints():
        assert await triobatch.send_buffers(stream, Buffers(empty)) == 0
    assert stream.sent == [b"", b""]


async def test_nothing_to_send_finds_a_closed_stream():
    stream, _ = memory_stream_one_way_pair()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await triobatch.send_buffers(stream, [])


async def test_a_buffers_is_consumed_and_an_iterable_is_not():
    stream = RecordingStream()
    buffers = Buffers([b"ab", b"cd"])
    chunks = [b"ef", bytearray(b"gh")]
    assert await triobatch.send_buffers(stream, buffers) == 4
    assert await triobatch.send_buffers(stream, chunks) == 4
    assert not buffers
    assert chunks == [b"ef", b"gh"]
    assert stream.sent == [b"abcd", b"efgh"]


async def test_a_generator_is_sent():
    stream = RecordingStream()
    chunks = (b"%d," % i for i in range(5))
    assert await triobatch.send_buffers(stream, chunks) == 10
    assert stream.sent == [b"0,1,2,3,4,"]


async def test_items_larger_than_a_byte_are_counted_in_bytes():
    stream = RecordingStream()
    items = array("I", range(PIECE // 4 + 1))
    assert await triobatch.send_buffers(stream, [items]) == PIECE + 4
    assert b"".join(stream.sent) == items.tobytes()


@exports_lock
async def test_a_large_chunk_is_not_copied():
    chunk = bytearray(2 * PIECE + 1)

    class Identifying(RecordingStream):
        async def send_all(self, data):
            assert type(data) is memoryview
            assert data.obj is chunk
            await super().send_all(data)

    stream = Identifying()
    await triobatch.send_buffers(stream, [chunk])
    assert list(map(len, stream.sent)) == [PIECE, PIECE, 1]


async def test_a_mutable_chunk_is_free_again_once_it_is_sent():
    chunk = bytearray(PIECE + 1)
    buffers = Buffers([chunk, b"more"])
    await triobatch.send_buffers(RecordingStream(), buffers)
    assert not is_exported(chunk)


async def test_a_mutable_chunk_is_free_again_after_an_error():
    chunk = bytearray(PIECE + 1)
    stream = RecordingStream([None, trio.BrokenResourceError])
    with pytest.raises(trio.BrokenResourceError) as caught:
        await triobatch.send_buffers(stream, [chunk])
    # Although the traceback keeps all that the frames knew.
    assert caught.tb is not None
    chunk += b"grows"


async def test_after_an_error_the_buffers_hold_the_piece_on_its_way():
    stream = RecordingStream([None, trio.BrokenResourceError])
    buffers = Buffers([b"a" * PIECE, b"b" * PIECE, b"c"])
    with pytest.raises(trio.BrokenResourceError):
        await triobatch.send_buffers(stream, buffers)
    assert bytes(buffers) == b"b" * PIECE + b"c"
    # And they can be sent again.
    assert await triobatch.send_buffers(stream, buffers) == PIECE + 1
    assert b"".join(stream.sent) == b"a" * PIECE + b"b" * PIECE + b"c"


async def test_after_cancellation_the_buffers_hold_the_piece_on_its_way():
    left, right = lockstep_stream_pair()
    buffers = Buffers([b"a" * PIECE, b"b" * PIECE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(triobatch.send_buffers, left, buffers)
        received = 0
        while received < PIECE:
            received += len(await right.receive_some())
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert bytes(buffers) == b"b" * PIECE


async def test_cancelled_before_the_start_nothing_is_sent():
    stream = RecordingStream()
    buffers = Buffers([b"whole"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await triobatch.send_buffers(stream, buffers)
    assert scope.cancelled_caught
    assert stream.sent == []
    assert bytes(buffers) == b"whole"


async def test_closing_the_stream_meanwhile_keeps_what_was_not_sent():
    left, _right = lockstep_stream_pair()
    buffers = Buffers([b"a" * 10])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(trio.ClosedResourceError):
                await triobatch.send_buffers(left, buffers)

        await wait_all_tasks_blocked()
        await left.aclose()
    assert bytes(buffers) == b"a" * 10


async def test_buffers_that_are_being_sent_are_busy():
    left, right = lockstep_stream_pair()
    buffers = Buffers([b"data"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(triobatch.send_buffers, left, buffers)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await triobatch.send_buffers(RecordingStream(), buffers)
        assert await right.receive_some() == b"data"
    assert not buffers


async def test_chunks_appended_meanwhile_are_sent_too():
    left, right = lockstep_stream_pair()
    buffers = Buffers([b"first"])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            assert await triobatch.send_buffers(left, buffers) == 11
            await left.aclose()

        await wait_all_tasks_blocked()
        buffers.append(b"second")
        assert await receive_to_end(right) == b"firstsecond"


@pytest.mark.parametrize("stream", [None, object(), b"", 1])
async def test_what_cannot_send_is_refused(stream):
    with pytest.raises(TypeError, match=r"must be a trio\.abc\.SendStream"):
        await triobatch.send_buffers(stream, [b"data"])


async def test_a_receiving_stream_is_refused():
    _, receiver = memory_stream_one_way_pair()
    with pytest.raises(TypeError, match=r"must be a trio\.abc\.SendStream"):
        await triobatch.send_buffers(receiver, [b"data"])


@pytest.mark.parametrize("chunks", [["text"], [b"ok", 1], b"bytes", [None], 1])
async def test_what_is_not_chunks_is_refused_and_nothing_sent(chunks):
    stream = RecordingStream()
    with pytest.raises(TypeError):
        await triobatch.send_buffers(stream, chunks)
    assert stream.sent == []


async def test_a_chunk_that_is_not_contiguous_is_refused():
    stream = RecordingStream()
    with pytest.raises(BufferError):
        await triobatch.send_buffers(stream, [b"ok", memoryview(b"abcd")[::2]])
    assert stream.sent == []


async def test_a_generator_that_raises_is_refused_and_nothing_sent():
    def chunks():
        yield b"first"
        raise KeyError

    stream = RecordingStream()
    with pytest.raises(KeyError):
        await triobatch.send_buffers(stream, chunks())
    assert stream.sent == []


async def test_a_batch_stream_sends_for_itself(pair):
    left, right = pair
    with assert_checkpoints():
        assert await triobatch.send_buffers(left, [b"ab"] * 100) == 200
    assert left.statistics().send_calls == 1
    assert await right.receive_some() == b"ab" * 100


async def test_any_stream_with_the_method_sends_for_itself():
    class Knows(RecordingStream):
        async def send_buffers(self, buffers):
            self.given = buffers
            await trio.lowlevel.checkpoint()
            return 42

    stream = Knows()
    chunks = [b"data"]
    assert await triobatch.send_buffers(stream, chunks) == 42
    assert stream.given is chunks
    assert stream.sent == []


async def test_only_the_outermost_object_is_asked(pair):
    left, right = pair

    class Shouting(RecordingStream):
        transport_stream = left

        async def send_all(self, data):
            await left.send_all(bytes(data).upper())

    # Around it, the wrapped stream would get what was not shouted.
    assert await triobatch.send_buffers(Shouting(), [b"loud", b"er"]) == 6
    assert await right.receive_some() == b"LOUDER"


async def test_a_stapled_stream_is_sent_pieces(pair):
    left, right = pair
    stapled = trio.StapledStream(left, left)
    chunks = [b"%4d" % i for i in range(1000)]
    with assert_checkpoints():
        assert await triobatch.send_buffers(stapled, chunks) == 4000
    assert left.statistics().send_calls == 1
    assert await right.receive_some() == b"".join(chunks)


async def test_a_memory_stream_gets_it_all():
    left, right = memory_stream_pair()
    chunks = [bytes([i]) * 1000 for i in range(200)]
    with assert_checkpoints():
        assert await triobatch.send_buffers(left, Buffers(chunks)) == 200_000
    await left.send_eof()
    assert await receive_to_end(right) == b"".join(chunks)


class RecordSizes(trio.abc.HalfCloseableStream):
    """Passes everything on, and notes the TLS records of what is sent."""

    def __init__(self, stream):
        self.stream = stream
        self.sends = 0
        self.wire = bytearray()

    async def send_all(self, data):
        self.sends += 1
        self.wire += data
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self):
        await self.stream.send_eof()

    async def receive_some(self, max_bytes=None):
        return await self.stream.receive_some(max_bytes)

    async def aclose(self):
        await self.stream.aclose()

    def take(self):
        """Return the sizes of the records since the last time."""
        sizes = []
        while self.wire:
            # RFC 8446, section 5.1: type, version, and the length in two.
            length = int.from_bytes(self.wire[3:5], "big")
            sizes.append(length)
            del self.wire[: 5 + length]
        self.sends, sends = 0, self.sends
        return sizes, sends


@pytest.fixture(scope="module")
def tls_contexts():
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("test.invalid").configure_cert(server)
    client = ssl.create_default_context()
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.configure_trust(client)
    return client, server


@pytest.fixture
async def tls(pair, tls_contexts):
    """An SSLStream, the records that it sends, and the stream at its end."""
    client, server = tls_contexts
    records = RecordSizes(pair[0])
    left = trio.SSLStream(records, client, server_hostname="test.invalid")
    right = trio.SSLStream(pair[1], server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.do_handshake)
        nursery.start_soon(right.do_handshake)
    records.take()
    return left, records, right


# What encryption adds to a record of TLS 1.3: the content type and the tag
# (RFC 8446, section 5.2).
OVERHEAD = 17


@pytest.mark.parametrize(
    ("count", "chunk_size", "records", "sends"),
    [
        (1, 10, [10], 1),
        (100, 10, [1000], 1),
        (1024, 64, [RECORD] * 4, 1),
        (1025, 64, [RECORD] * 4 + [64], 2),
        (100, 10_000, [RECORD] * 61 + [576], 16),
        (1, 10 * PIECE, [RECORD] * 40, 10),
    ],
)
async def test_tls_records_are_filled(tls, count, chunk_size, records, sends):
    left, wire, right = tls
    chunks = [bytes([i % 256]) * chunk_size for i in range(count)]
    size = count * chunk_size
    received = bytearray()

    async def receive():
        while len(received) < size:
            received.extend(await right.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with assert_checkpoints():
            assert await triobatch.send_buffers(left, chunks) == size
    assert received == b"".join(chunks)
    expected = [length + OVERHEAD for length in records]
    assert wire.take() == (expected, sends)


async def test_a_closed_tls_stream_is_found(tls):
    left, _, _ = tls
    await trio.aclose_forcefully(left)
    buffers = Buffers([b"data"])
    with pytest.raises(trio.ClosedResourceError):
        await triobatch.send_buffers(left, buffers)
    assert bytes(buffers) == b"data"


@pytest.mark.parametrize("what", ["text", b"one chunk", 5])
async def test_what_is_no_list_of_chunks_is_refused(what):
    left, _right = memory_stream_pair()
    with pytest.raises(TypeError, match="buffers must be an iterable"):
        await triobatch.send_buffers(left, what)
