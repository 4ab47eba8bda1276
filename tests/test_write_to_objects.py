"""``Buffers.write_to`` for asynchronous files that are not the kernel's."""

from __future__ import annotations

import errno
import gzip
import io

import pytest
import trio
from trio.testing import assert_checkpoints

from triobatch import Buffers

CHUNKS = [b"abc", bytearray(b"d"), memoryview(b"efgh")]


async def test_a_file_in_memory_is_written(small_hops):
    memory = io.BytesIO(b"0123456789")
    file = trio.wrap_file(memory)
    await file.seek(2)
    with assert_checkpoints():
        assert await Buffers(CHUNKS).write_to(file) == 8
    assert memory.getvalue() == b"01abcdefgh"


async def test_a_gzip_file_compresses(tmp_path, small_hops):
    path = tmp_path / "file.gz"
    async with trio.wrap_file(gzip.open(path, "wb")) as file:
        assert await Buffers(CHUNKS).write_to(file) == 8
    assert gzip.decompress(path.read_bytes()) == b"abcdefgh"


class Shouting(io.FileIO):
    def write(self, data):
        return super().write(bytes(data).upper())


@pytest.mark.parametrize("wrap", [lambda raw: raw, io.BufferedWriter])
async def test_a_class_with_a_write_of_its_own_writes(tmp_path, wrap):
    path = tmp_path / "file"
    async with trio.wrap_file(wrap(Shouting(path, "wb"))) as file:
        assert await Buffers(CHUNKS).write_to(file) == 8
    assert path.read_bytes() == b"ABCDEFGH"


class Scripted(io.RawIOBase):
    """Answers ``write`` with a script of counts and exceptions."""

    def __init__(self, *script):
        self.script = list(script)
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        result = self.script.pop(0) if self.script else len(data)
        if isinstance(result, Exception):
            raise result
        if result is not None:
            result = min(result, len(data))
            self.content += bytes(data[:result])
        return result


async def test_short_writes_of_an_object_resume_inside_a_chunk():
    raw = Scripted(1, 1, 3, 2)
    assert await Buffers(CHUNKS).write_to(trio.wrap_file(raw)) == 8
    assert raw.content == b"abcdefgh"


async def test_an_error_of_an_object_leaves_exactly_the_rest():
    raw = Scripted(3, 1, 2, OSError(errno.EIO, "broken"))
    buffers = Buffers(CHUNKS)
    with pytest.raises(OSError, match="broken"):
        await buffers.write_to(trio.wrap_file(raw))
    assert raw.content == b"abcdef"
    assert bytes(buffers) == b"gh"


async def test_an_object_that_would_block_leaves_exactly_the_rest():
    raw = Scripted(2, None)
    buffers = Buffers(CHUNKS)
    with pytest.raises(BlockingIOError):
        await buffers.write_to(trio.wrap_file(raw))
    assert raw.content == b"ab"
    assert bytes(buffers) == b"cdefgh"


class Calling(Scripted):
    """Calls something in Trio's thread when it is first written to."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def write(self, data):
        function, self.function = self.function, None
        if function is not None:
            trio.from_thread.run(function)
        return super().write(data)


async def test_chunks_appended_meanwhile_are_written_too():
    buffers = Buffers(CHUNKS)

    async def append():
        buffers.append(b"ij")

    raw = Calling(append)
    assert await buffers.write_to(trio.wrap_file(raw)) == 10
    assert raw.content == b"abcdefghij"


async def test_buffers_on_their_way_into_a_file_are_busy():
    buffers = Buffers(CHUNKS)

    async def interfere():
        with pytest.raises(trio.BusyResourceError):
            await buffers.write_to(trio.wrap_file(io.BytesIO()))
        with pytest.raises(BufferError):
            buffers.clear()

    raw = Calling(interfere)
    assert await buffers.write_to(trio.wrap_file(raw)) == 8
    assert raw.content == b"abcdefgh"


class Full(io.RawIOBase):
    """A raw file that takes a few bytes, and then would block."""

    def __init__(self):
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        if len(self.taken) >= 10:
            return None
        self.taken += bytes(data[:5])
        return min(5, len(data))


async def test_what_a_file_took_before_it_would_block_is_consumed():
    # io.BlockingIOError.characters_written.
    raw = Full()
    file = trio.wrap_file(io.BufferedWriter(raw, buffer_size=3))
    content = bytes(range(64))
    buffers = Buffers([content])
    with pytest.raises(BlockingIOError):
        await buffers.write_to(file)
    taken = len(content) - buffers.nbytes
    assert 10 <= taken < 20
    assert bytes(buffers) == content[taken:]
    assert raw.taken == content[:10]
