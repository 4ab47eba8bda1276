from __future__ import annotations

import ssl
import time

import pytest
import trio
from helpers import counted_steps
from trio.testing import (
    assert_checkpoints,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

import triobatch
from triobatch import (
    BufferedReceiveStream,
    Buffers,
    FrameTooLargeError,
    ProxyHeader,
    receive_proxy_header,
)


def by_size(data):
    """Split into frames of a byte that tells the size, and so many bytes."""
    frames, end = [], 0
    while end < len(data) and end + data[end] < len(data):
        start, end = end + 1, end + 1 + data[end]
        frames.append(bytes(data[start:end]))
    return frames, end


class Pieces(trio.abc.ReceiveStream):
    """Gives the pieces that it was given, and then the end."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)
        self.calls = 0

    async def receive_some(self, max_bytes=None):
        await trio.lowlevel.checkpoint()
        self.calls += 1
        return next(self.pieces, b"")

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.fixture
async def reader_pair(pair):
    left, right = pair
    return left, BufferedReceiveStream(right)


async def test_receive_exactly_takes_so_many_bytes(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"abcdef")
    with assert_checkpoints():
        assert await reader.receive_exactly(2) == b"ab"
    assert reader.nbytes == 4
    with assert_checkpoints():
        assert await reader.receive_exactly(0) == b""
    with assert_checkpoints():
        assert await reader.receive_exactly(4) == b"cdef"


async def test_receive_exactly_waits_for_the_rest(reader_pair):
    left, reader = reader_pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            assert await reader.receive_exactly(6) == b"abcdef"

        await left.send_all(b"abc")
        await wait_all_tasks_blocked()
        await left.send_all(b"defg")
    assert await reader.receive_some() == b"g"


async def test_receive_until_takes_the_delimiter_too(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"one\r\ntwo\r\n")
    with assert_checkpoints():
        assert await reader.receive_until(b"\r\n", 100) == b"one\r\n"
    with assert_checkpoints():
        assert await reader.receive_until(bytearray(b"\r\n"), 5) == b"two\r\n"


async def test_receive_until_finds_a_delimiter_that_comes_in_two(reader_pair):
    left, reader = reader_pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            assert await reader.receive_until(b"\r\n", 9) == b"a\rb\r\n"

        await left.send_all(b"a\rb\r")
        await wait_all_tasks_blocked()
        await left.send_all(b"\nc")


@pytest.mark.parametrize("size", [4, 5, 6])
async def test_receive_until_has_a_limit(reader_pair, size):
    left, reader = reader_pair
    await left.send_all(b"x" * (size - 1) + b"\n\n")
    if size <= 5:
        assert len(await reader.receive_until(b"\n", 5)) == size
    else:
        with pytest.raises(FrameTooLargeError, match="5 bytes have come"):
            await reader.receive_until(b"\n", 5)
        assert await reader.receive_some() == b"xxxxx\n\n"


TOO_LARGE = {
    "until": lambda reader: reader.receive_until(b"\n", 5),
    "frames": lambda reader: reader.receive_frames(lambda _: ([], 0), limit=5),
}


REFUSED = {
    **TOO_LARGE,
    "what split raises": lambda reader: reader.receive_frames(
        lambda _: ([], int("x"))
    ),
    "split uses more than there is": lambda reader: reader.receive_frames(
        lambda data: ([], len(data) + 1)
    ),
    "split uses nothing": lambda reader: reader.receive_frames(
        lambda _: (["a"], 0)
    ),
    "no proxy header": receive_proxy_header,
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
async def test_what_refuses_the_bytes_is_a_checkpoint_too(reader_pair, call):
    left, reader = reader_pair
    await left.send_all(b"xxxxx")
    for _ in "first", "already there":
        with assert_checkpoints(), pytest.raises(ValueError, match=r"."):
            await call(reader)
    assert await reader.receive_some() == b"xxxxx"


async def test_receive_until_waits_no_longer_than_the_limit(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"xxxxx")
    with trio.fail_after(60), pytest.raises(FrameTooLargeError):
        await reader.receive_until(b"\n", 5)


async def test_receive_frames_takes_all_whole_ones(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"\1a\0\2bc\3de")
    with assert_checkpoints():
        assert await reader.receive_frames(by_size) == [b"a", b"", b"bc"]
    assert reader.nbytes == 3
    assert reader.stream.statistics().receive_calls == 1
    await left.send_all(b"f\1g")
    with assert_checkpoints():
        assert await reader.receive_frames(by_size) == [b"def", b"g"]
    await left.send_eof()
    with assert_checkpoints():
        assert await reader.receive_frames(by_size) == []


async def test_receive_frames_goes_on_over_what_is_no_frame(reader_pair):
    left, reader = reader_pair

    def skip_dots(data):
        text = bytes(data)
        return [text.strip(b".")] if text.strip(b".") else [], len(text)

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            assert await reader.receive_frames(skip_dots) == [b"a"]

        await left.send_all(b"...")
        await wait_all_tasks_blocked()
        assert not reader.nbytes
        await left.send_all(b".a")


async def test_a_frame_may_be_a_slice_of_the_view(reader_pair):
    left, reader = reader_pair

    def thirds(data):
        whole = len(data) // 3 * 3
        return [data[i : i + 3] for i in range(0, whole, 3)], whole

    kept = []
    for text in (b"abcd", b"ef", b"ghij", b"klmno"):
        await left.send_all(text)
        kept += await reader.receive_frames(thirds)
    assert kept == [b"abc", b"def", b"ghi", b"jkl", b"mno"]
    assert kept[0].readonly


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (([], -1), "between 0 and 3 bytes, not -1"),
        (([], 4), "between 0 and 3 bytes, not 4"),
        ((["a"], 0), "must use bytes"),
    ],
)
async def test_a_split_that_cannot_be_is_refused(reader_pair, answer, message):
    left, reader = reader_pair
    await left.send_all(b"abc")
    with pytest.raises(ValueError, match=message):
        await reader.receive_frames(lambda data: answer)
    assert await reader.receive_some() == b"abc"


async def test_what_a_split_raises_comes_out(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"abc")
    with pytest.raises(ZeroDivisionError):
        await reader.receive_frames(lambda data: ([], 1 // 0))
    assert await reader.receive_some() == b"abc"


async def test_receive_frames_has_a_limit(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"\4abc")
    with pytest.raises(FrameTooLargeError, match="4 bytes have come"):
        await reader.receive_frames(by_size, limit=4)
    await left.send_all(b"d")
    assert await reader.receive_frames(by_size, limit=6) == [b"abcd"]


async def test_receive_into_fills_to_the_full(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"abcdefgh")
    await reader.receive_exactly(1)
    views = [bytearray(2), bytearray(0), bytearray(3)]
    with assert_checkpoints():
        assert await reader.receive_into(views) == 5
    assert views == [b"bc", b"", b"def"]
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            assert await reader.receive_into(views) == 5

        await wait_all_tasks_blocked()
        await left.send_all(b"ijk")
    assert views == [b"gh", b"", b"ijk"]


async def test_what_it_does_not_hold_is_had_from_the_stream_below():
    near, far = trio.socket.socketpair()
    async with triobatch.BatchSocketStream(near) as stream:
        reader = BufferedReceiveStream(stream)
        memory = bytearray(6)
        with far:
            await far.send(b"head;ab")
            assert await reader.receive_until(b";", 9) == b"head;"
            memory[:2] = await reader.receive_some()
            assert reader.nbytes == 0
            await far.send(b"cdef;")
            with memoryview(memory) as view:
                assert await stream.receive_into(view[2:]) == 4
            assert memory == b"abcdef"
            assert await reader.receive_until(b";", 9) == b";"
        assert await reader.receive_some() == b""


async def test_receive_into_much_needs_no_memory_of_its_own(reader_pair):
    left, reader = reader_pair
    data = bytes(range(256)) * 4096
    views = [bytearray(2**19 + 7), bytearray(2**19 - 7)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, data)
        assert await reader.receive_exactly(256 * 3) == data[: 256 * 3]
        views[0] = views[0][256 * 3 :]
        assert await reader.receive_into(views) == len(data) - 256 * 3
    assert b"".join(views) == data[256 * 3 :]


@pytest.mark.parametrize("size", [10, 2**17])
async def test_receive_into_gives_back_what_it_cannot_use(reader_pair, size):
    left, reader = reader_pair
    memory = [bytearray(4), bytearray(size)]
    await left.send_all(b"abcde")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.receive_into, memory)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert reader.nbytes == 5
    await left.send_all(b"f")
    await left.send_eof()
    with pytest.raises(EOFError, match="6 bytes are left"):
        await reader.receive_into(memory)
    assert await reader.receive_into(bytearray(6)) == 6
    assert await reader.receive_into(bytearray(6)) == 0


async def receive_into(reader):
    memory = bytearray(5)
    size = await reader.receive_into(memory)
    return bytes(memory[:size])


WAYS = [
    lambda reader: reader.receive_exactly(5),
    lambda reader: reader.receive_until(b"\n", 100),
    lambda reader: reader.receive_frames(
        lambda data: ([bytes(data[:5])], 5) if len(data) > 4 else ([], 0)
    ),
    receive_into,
    receive_proxy_header,
]
ways = pytest.mark.parametrize(
    "receive", WAYS, ids=["exactly", "until", "frames", "into", "proxy"]
)


@ways
@pytest.mark.parametrize("data", [b"P", b"PROX"])
async def test_an_end_in_the_middle_is_an_error(reader_pair, receive, data):
    left, reader = reader_pair
    await left.send_all(data)
    await left.send_eof()
    for _ in range(2):
        with assert_checkpoints(), pytest.raises(EOFError):
            await receive(reader)
    assert reader.nbytes == len(data)
    assert await reader.receive_some() == data
    assert await reader.receive_some() == b""


@pytest.mark.parametrize(
    ("receive", "answer"), list(zip(WAYS[1:4], [b"", [], b""], strict=True))
)
async def test_an_end_between_is_empty(reader_pair, receive, answer):
    left, reader = reader_pair
    await left.send_eof()
    with assert_checkpoints():
        assert await receive(reader) == answer


async def test_an_end_in_the_middle_says_how_many_bytes_are_left():
    reader = BufferedReceiveStream(Pieces([b"abc"]))
    with pytest.raises(EOFError, match="before 5 bytes: 3 bytes are left"):
        await reader.receive_exactly(5)


@pytest.mark.parametrize(
    "receive",
    [
        lambda r: r.receive_exactly(2),
        lambda r: r.receive_until(b"b", 5),
        lambda r: r.receive_frames(lambda data: ([bytes(data)], len(data))),
        lambda r: r.receive_into(bytearray(2)),
    ],
)
async def test_one_pass_through_the_scheduler_is_enough(receive):
    reader = BufferedReceiveStream(Pieces([b"ab", b"abab"]))
    counts = []
    # It waits; it gets more than it needs; it has the rest, or is at the end.
    for _ in range(3):
        with counted_steps() as steps:
            await receive(reader)
        counts.append(steps.count)
    assert set(counts) == {1}


async def test_frames_that_are_there_are_not_waited_for():
    reader = BufferedReceiveStream(Pieces([b"x\x01a"]))
    assert await reader.receive_exactly(1) == b"x"
    with assert_checkpoints():
        assert await reader.receive_frames(by_size) == [b"a"]


@pytest.mark.parametrize("receive", [WAYS[0], WAYS[4]])
async def test_an_end_where_there_must_be_something(reader_pair, receive):
    left, reader = reader_pair
    await left.send_eof()
    with assert_checkpoints(), pytest.raises(EOFError):
        await receive(reader)
    assert not reader.nbytes


@ways
async def test_cancelled_it_keeps_what_came(reader_pair, receive):
    left, reader = reader_pair
    text = b""
    for letter in b"PROX":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, reader)
            await wait_all_tasks_blocked()
            text += bytes([letter])
            await left.send_all(bytes([letter]))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert reader.nbytes == len(text)
    with trio.CancelScope() as scope:
        scope.cancel()
        await receive(reader)
    assert scope.cancelled_caught
    assert await reader.receive_some() == b"PROX"


@ways
async def test_a_second_receiver_is_busy(reader_pair, receive):
    _, reader = reader_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, reader)
        await wait_all_tasks_blocked()
        for other in (*WAYS, lambda reader: reader.receive_some()):
            with pytest.raises(trio.BusyResourceError):
                await other(reader)
        nursery.cancel_scope.cancel()


@ways
async def test_a_closed_reader_says_so(reader_pair, receive):
    left, reader = reader_pair
    await left.send_all(b"left over\n")
    await reader.receive_exactly(1)
    await reader.aclose()
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await receive(reader)


@ways
async def test_a_reset_is_told(reader_pair, receive, reset, family):
    if family == "unix":
        pytest.skip("a Unix stream has no reset")
    left, reader = reader_pair
    await left.send_all(b"PR")
    assert await reader.receive_some() == b"PR"
    await reset(left)
    with assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
        await receive(reader)


async def test_receive_some_gives_back_what_is_left(reader_pair):
    left, reader = reader_pair
    await left.send_all(b"line\nrest")
    await reader.receive_until(b"\n", 10)
    with assert_checkpoints():
        assert await reader.receive_some(1) == b"r"
    with assert_checkpoints():
        assert await reader.receive_some() == b"est"
    await left.send_all(b"more")
    with assert_checkpoints():
        assert await reader.receive_some() == b"more"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: r.receive_some(0), ValueError, "at least 1, not 0"),
        (lambda r: r.receive_some(1.5), TypeError, "float"),
        (lambda r: r.receive_exactly(-1), ValueError, "at least 0, not -1"),
        (lambda r: r.receive_exactly("5"), TypeError, "str"),
        (lambda r: r.receive_until(b"", 5), ValueError, "empty"),
        (lambda r: r.receive_until("\n", 5), TypeError, "delimiter must be"),
        (lambda r: r.receive_until(b"\r\n", 1), ValueError, "2 bytes, not 1"),
        (
            lambda r: r.receive_frames(by_size, limit=0),
            ValueError,
            "at least 1, not 0",
        ),
        (
            lambda r: r.receive_frames(by_size, limit=1.5),
            TypeError,
            "limit must be an int",
        ),
        (
            lambda r: r.receive_until(b"\n", 1.5),
            TypeError,
            "limit must be an int",
        ),
        (lambda r: r.receive_into(b"abc"), TypeError, "writable"),
        (lambda r: r.receive_into([]), ValueError, "room"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    reader_pair, call, error, message
):
    _, reader = reader_pair
    with pytest.raises(error, match=message):
        await call(reader)


def test_it_wants_a_stream_to_receive_from():
    with pytest.raises(TypeError, match="ReceiveStream, not int"):
        BufferedReceiveStream(3)


async def test_a_stream_that_only_receives_cannot_send():
    reader = BufferedReceiveStream(Pieces([b"ab"]))
    assert await reader.receive_exactly(1) == b"a"
    for call in (
        reader.send_all(b""),
        reader.send_buffers([]),
        reader.wait_send_all_might_not_block(),
        reader.send_eof(),
    ):
        with pytest.raises(TypeError, match="not Pieces"):
            await call


async def test_sending_is_the_streams_own(reader_pair):
    left, reader = reader_pair
    await reader.send_all(b"ab")
    buffers = Buffers([b"cd", b"ef"])
    assert await reader.send_buffers(buffers) == 4
    assert await triobatch.send_buffers(reader, [b"gh"]) == 2
    await reader.wait_send_all_might_not_block()
    await reader.send_eof()
    assert not buffers
    assert await BufferedReceiveStream(left).receive_exactly(8) == b"abcdefgh"
    assert await left.receive_some() == b""
    assert reader.stream.statistics().send_calls == 3


async def test_memory_streams_are_read_too():
    left, right = memory_stream_pair()
    reader = BufferedReceiveStream(right)
    await left.send_all(b"abc\ndef")
    line = await reader.receive_until(b"\n", 10)
    assert line == b"abc\n"
    assert type(line) is bytes
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            some = await reader.receive_exactly(6)
            assert some == b"defghi"
            assert type(some) is bytes

        await wait_all_tasks_blocked()
        await left.send_all(b"ghi")


async def test_tls_goes_on_top(reader_pair, tls):
    left, reader = reader_pair
    client_context, server_context = tls
    client = trio.SSLStream(left, client_context, server_hostname="localhost")
    server = trio.SSLStream(reader, server_context, server_side=True)
    answer = b""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve():
            header = await receive_proxy_header(reader)
            assert header.source == ("192.0.2.1", 9)
            await server.do_handshake()
            await server.send_all(await server.receive_some())

        header = ProxyHeader(("192.0.2.1", 9), ("192.0.2.2", 443)).encode()
        await left.send_all(header)
        await client.send_all(b"hello")
        answer = await client.receive_some()
    assert answer == b"hello"


async def test_tls_is_given_what_came_with_the_header(reader_pair, tls):
    left, reader = reader_pair
    client_context, server_context = tls
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = client_context.wrap_bio(
        incoming, outgoing, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    await left.send_all(ProxyHeader().encode(1) + outgoing.read())
    assert await receive_proxy_header(reader) == ProxyHeader()
    assert reader.nbytes > 100
    server = trio.SSLStream(reader, server_context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        incoming.write(await left.receive_some())
        handshake.do_handshake()
        await left.send_all(outgoing.read())


async def seconds_for(count, receive):
    pieces = [b"x"] * (count - 1) + [b"\n"]

    class Bare(Pieces):
        # Without a checkpoint, which would be most of the time.
        async def receive_some(self, max_bytes=None):
            return next(self.pieces)

    reader = BufferedReceiveStream(Bare(pieces))
    start = time.process_time()
    await receive(reader, count)
    assert not reader.nbytes
    return time.process_time() - start


@pytest.mark.parametrize(
    "receive",
    [
        lambda reader, count: reader.receive_exactly(count),
        # Whose first byte is everywhere.
        lambda reader, count: reader.receive_until(b"x\n", count),
        lambda reader, count: reader.receive_frames(
            lambda data: ([b""], count) if len(data) == count else ([], 0),
            limit=count + 1,
        ),
        lambda reader, count: reader.receive_into(bytearray(count)),
        lambda reader, count: reader.receive_into(
            [bytearray(1) for _ in range(count)]
        ),
    ],
    ids=["exactly", "until", "frames", "into", "into_many"],
)
async def test_small_pieces_take_linear_time(receive):
    await seconds_for(1000, receive)
    little = min([await seconds_for(3_000, receive) for _ in range(3)])
    much = await seconds_for(90_000, receive)
    # Thirty times as many. Quadratic would be 900 times the time.
    assert much < 150 * little


async def test_a_small_rest_does_not_keep_a_large_piece():
    reader = BufferedReceiveStream(Pieces([bytes(10**6) + b"ab"]))
    await reader.receive_exactly(10**6)
    assert len(reader._received._data) == 2


async def test_tls_cannot_be_closed_in_one_direction(pair, tls):
    client, _ = tls
    stream = trio.SSLStream(pair[0], client, server_hostname="localhost")
    with pytest.raises(TypeError, match="SSLStream cannot be closed in one"):
        await BufferedReceiveStream(stream).send_eof()
