from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints

from triobatch import (
    BufferedReceiveStream,
    ProxyHeader,
    ProxyHeaderError,
    receive_proxy_header,
)


class Pieces(trio.abc.ReceiveStream):
    """Gives the pieces that it was given, and then the end."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)

    async def receive_some(self, max_bytes=None):
        await trio.lowlevel.checkpoint()
        return next(self.pieces, b"")

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.fixture
async def reader_pair(pair):
    left, right = pair
    return left, BufferedReceiveStream(right)


async def test_a_proxy_header_comes_in_any_pieces():
    header = ProxyHeader(("192.0.2.1", 9), ("192.0.2.2", 443))
    for version in (1, 2):
        data = header.encode(version)
        for cut in range(1, len(data)):
            pieces = [data[:cut], data[cut:] + b"GET"]
            reader = BufferedReceiveStream(Pieces(pieces))
            assert await receive_proxy_header(reader) == header
            assert await reader.receive_some() == b"GET"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\nGET",
        ProxyHeader().encode()[:-1] + b"\xff",
    ],
)
async def test_a_malformed_proxy_header_is_refused(reader_pair, data):
    left, reader = reader_pair
    await left.send_all(data)
    with assert_checkpoints(), pytest.raises(ProxyHeaderError):
        await receive_proxy_header(reader, limit=100)
    assert await reader.receive_some() == data


async def test_what_comes_behind_a_header_is_kept(reader_pair):
    left, reader = reader_pair
    await left.send_all(ProxyHeader(local=True).encode() + b"rest")
    with assert_checkpoints():
        header = await receive_proxy_header(reader)
    assert header.local
    assert reader.nbytes == 4


async def test_a_stream_that_ends_before_its_header_says_so():
    data = ProxyHeader(local=True).encode()
    for cut in (0, 1, len(data) - 1):
        reader = BufferedReceiveStream(Pieces([data[:cut]]))
        with pytest.raises(EOFError, match="a PROXY protocol header"):
            await receive_proxy_header(reader)


async def test_a_limit_is_a_byte_at_least():
    reader = BufferedReceiveStream(Pieces([]))
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        await receive_proxy_header(reader, limit=0)


async def test_only_a_buffered_stream_has_a_header_read():
    with pytest.raises(TypeError, match=r"must be a Buffered.*, not Pieces"):
        await receive_proxy_header(Pieces([]))
