"""Whose methods send: what is asked of a type."""

from __future__ import annotations

import pytest
import trio

from triobatch import BatchSocketStream
from triobatch._streams.outermost import defines_first, keeps
from triobatch._streams.plain import SEND_METHODS, is_plain


class Plain(BatchSocketStream):
    """Adds something, and sends as the class that it derives from."""

    async def send_line(self, line):
        await self.send_all(line + b"\n")

    async def send_eof(self):
        await super().send_eof()


class SendsAll(BatchSocketStream):
    async def send_all(self, data):
        raise NotImplementedError


class SendsBuffers(BatchSocketStream):
    async def send_buffers(self, buffers):
        raise NotImplementedError


class SendsNow(BatchSocketStream):
    def send_buffers_nowait(self, buffers):
        raise NotImplementedError


class BuffersOverAll(SendsAll):
    async def send_buffers(self, buffers):
        raise NotImplementedError


class Mixin:
    async def send_all(self, data):
        raise NotImplementedError


class Mixed(Mixin, BatchSocketStream):
    pass


class MixedBehind(BatchSocketStream, Mixin):
    pass


class Claiming:
    """Says that it is what it is not, and hands on the rest."""

    @property
    def __class__(self):
        return BatchSocketStream

    def __getattr__(self, name):
        return getattr(BatchSocketStream, name)


@pytest.mark.parametrize(
    ("kind", "buffers_first", "plain"),
    [
        (BatchSocketStream, True, True),
        (Plain, True, True),
        (MixedBehind, True, True),
        (SendsNow, True, False),
        (SendsBuffers, True, False),
        (BuffersOverAll, True, False),
        (SendsAll, False, False),
        (Mixed, False, False),
        (Claiming, False, False),
        (trio.SSLStream, False, False),
    ],
)
def test_the_newest_way_to_send_is_found(kind, buffers_first, plain):
    assert defines_first(kind, "send_buffers", "send_all") is buffers_first
    assert keeps(kind, BatchSocketStream, SEND_METHODS) is plain
    # Without its socket: no more than the type is asked.
    assert is_plain(kind.__new__(kind)) is plain
