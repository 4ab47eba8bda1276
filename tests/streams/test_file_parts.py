from __future__ import annotations

import os
import re

import pytest
import trio

from triobatch import (
    BufferedReceiveStream,
    Buffers,
    FileSlice,
    open_shared_stream,
    send_file,
)
from triobatch._streams.file_parts import READ_SIZE, Parts, read

CONTENT = os.urandom(2**20)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def file(path):
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("size", "left"),
    [
        (0, (4, 10, 3)),
        (3, (1, 10, 3)),
        (4, (0, 10, 3)),
        (5, (0, 9, 3)),
        (14, (0, 0, 3)),
        (15, (0, 0, 2)),
        (17, (0, 0, 0)),
    ],
)
def test_what_was_sent_is_dropped_from_the_front(file, size, left):
    header, trailer = Buffers([b"he", b"ad"]), Buffers([b"end"])
    with Parts(FileSlice(file, 5, 10), 0, None, header, trailer) as parts:
        parts.drop(size, parts.header.nbytes, 10)
    assert (header.nbytes, parts.file.nbytes, trailer.nbytes) == left
    assert parts.file.offset == 15 - left[1]


@pytest.mark.parametrize(
    "size", [0, 1, READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 2**20 - 7]
)
async def test_so_many_bytes_are_read(file, size):
    assert await read(FileSlice(file, 7), size) == CONTENT[7 : 7 + size]


@pytest.mark.parametrize("size", [10, READ_SIZE + 1])
async def test_a_file_that_has_become_shorter_is_told(path, file, size):
    part = FileSlice(file)
    os.truncate(path, size - 1)
    with pytest.raises(EOFError, match="shorter"):
        await read(part, size)


class Slow(trio.abc.SendStream):
    """Takes so many pieces, and then no more until it is let go on."""

    def __init__(self, count):
        self.taken = bytearray()
        self.count = count

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        if not self.count:
            await trio.sleep_forever()
        self.count -= 1
        self.taken += data

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        pass


@pytest.mark.parametrize("count", [1, 4, 5, 8, 17, 20])
async def test_no_piece_that_was_taken_is_sent_again(file, count):
    stream = Slow(count)
    ends = os.urandom(2**18 + 5), os.urandom(2**18 + 6)
    header, trailer = Buffers([ends[0][:7], ends[0][7:]]), Buffers([ends[1]])
    part = FileSlice(file, 11)
    whole = ends[0] + CONTENT[11:] + ends[1]
    with trio.move_on_after(0.1) as waiting:
        await send_file(stream, part, header=header, trailer=trailer)
    assert waiting.cancelled_caught
    left = header.nbytes + part.nbytes + trailer.nbytes
    assert len(stream.taken) == len(whole) - left
    stream.count = -1
    assert left == await send_file(
        stream, part, header=header, trailer=trailer
    )
    assert stream.taken == whole


@pytest.mark.parametrize("through", ["the stream", "a reader"])
async def test_on_a_shared_stream_it_is_one_message(pair, file, through):
    left, right = pair
    header, part = Buffers([b"(" * 10]), FileSlice(file)
    received = bytearray()

    async def receive():
        async for data in right:
            received.extend(data)

    async def disturb(shared):
        for _ in range(50):
            await shared.send_all(b"[message]")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        async with open_shared_stream(left, max_buffered=100) as shared:
            stream = shared
            if through == "a reader":
                stream = BufferedReceiveStream(shared)
            async with trio.open_nursery() as sending:
                sending.start_soon(disturb, shared)
                await trio.lowlevel.checkpoint()
                sent = await send_file(
                    stream, part, header=header, trailer=[b")"]
                )
            await shared.send_eof()
    assert sent == 10 + len(CONTENT) + 1
    assert (header.nbytes, part.nbytes) == (0, 0)
    around = bytes(received).split(b"(" * 10 + CONTENT + b")")
    assert len(around) == 2
    assert re.fullmatch(rb"(\[message\]){50}", b"".join(around))


async def test_one_that_is_cancelled_on_a_shared_stream_takes_nothing(
    clogged_pair, file
):
    left, _ = clogged_pair
    part = FileSlice(file)
    async with open_shared_stream(left, max_buffered=0, grace=0) as shared:
        await shared.send_all(b"x" * 10)
        with trio.move_on_after(0.1) as waiting:
            await send_file(shared, part, trailer=[b"end"])
        assert waiting.cancelled_caught
        assert part.nbytes == len(CONTENT)
        await shared.aclose()
    assert shared.sender.unsent == [b"x" * 10]
