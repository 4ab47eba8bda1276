"""What write_to lets go of when it fails, whoever keeps the traceback."""

from __future__ import annotations

import errno
import io
import os

import pytest
import trio
from needs import needs_pipes

from triobatch import Buffers


class Failing(io.RawIOBase):
    """Takes a byte at a time, a few times."""

    def __init__(self):
        super().__init__()
        self._left = 5

    def writable(self):
        return True

    def write(self, data):
        if not self._left:
            raise OSError(errno.EIO, "broken")
        self._left -= 1
        return 1


async def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return trio.lowlevel.FdStream(writer)


async def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    stream = trio.lowlevel.FdStream(writer)
    # As if another task closed it while write_to was at its checkpoint.
    stream.fileno = lambda: -1
    return stream


async def full_disk():
    return await trio.open_file("/dev/full", "wb", 0)


async def broken_object():
    return trio.wrap_file(Failing())


@pytest.mark.parametrize(
    "open_target",
    [
        pytest.param(broken_pipe, marks=needs_pipes),
        pytest.param(closed_pipe, marks=needs_pipes),
        full_disk,
        broken_object,
    ],
)
@pytest.mark.parametrize("hop_size", [3, 12, 2**24])
async def test_a_mutable_chunk_is_free_after_a_failure(
    open_target, hop_size, monkeypatch
):
    monkeypatch.setattr("triobatch._write_to._HOP_SIZE", hop_size)
    chunks = [bytearray(b"abcdefgh"), bytearray(b"ijklmnop")]
    buffers = Buffers(chunks)
    # So that it starts within a chunk.
    buffers.consume(1)
    target = await open_target()
    async with target:
        with pytest.raises(
            (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
        ) as caught:
            await buffers.write_to(target)
    assert caught.value.__traceback__ is not None
    buffers.clear()
    for chunk in chunks:
        # BufferError, if it is still exported.
        chunk.append(0)
