"""Messages that leave together, and where they were cut off."""

from __future__ import annotations

import gc

import pytest
from helpers import exports_lock

from triobatch import Buffers
from triobatch._senders.stream_batch import Batch


def messages(kind):
    if kind == "bytes":
        return [b"abc", b"d", b"efgh"]
    return [Buffers([b"a", bytearray(b"bc")]), b"d", Buffers([b"ef", b"gh"])]


@pytest.mark.parametrize("kind", ["bytes", "gathered"])
@pytest.mark.parametrize(
    ("sent", "boundary", "part", "whole"),
    [
        (0, (0, 0), b"", [b"abc", b"d", b"efgh"]),
        (1, (1, 2), b"bc", [b"d", b"efgh"]),
        (2, (1, 1), b"c", [b"d", b"efgh"]),
        (3, (1, 0), b"", [b"d", b"efgh"]),
        (4, (2, 0), b"", [b"efgh"]),
        (5, (3, 3), b"fgh", []),
        (7, (3, 1), b"h", []),
        (8, (3, 0), b"", []),
    ],
)
def test_a_batch_knows_where_it_stopped(kind, sent, boundary, part, whole):
    batch = Batch(messages(kind), kind == "gathered", since=0.0)
    batch.buffers.consume(sent)
    assert batch.boundary() == boundary
    assert bytes(batch.part()) == part
    assert batch.unsent() == (part, whole)
    assert not batch.buffers


@exports_lock
def test_a_gathered_message_is_exported_until_it_is_sent():
    mutable = bytearray(b"mutable")
    batch = Batch([Buffers([b"a", mutable]), b"b"], gathered=True, since=0.0)
    with pytest.raises(BufferError):
        mutable += b"!"
    batch.buffers.consume(batch.nbytes)
    gc.collect()
    mutable += b"!"


def test_a_gathered_message_weighs_more_for_each_chunk():
    small = Batch([b"a", b"b"], gathered=False, since=0.0)
    large = Batch([b"a", Buffers([b"b"] * 3)], gathered=True, since=0.0)
    assert (small.count, small.weight, small.nbytes) == (2, 2, 2)
    assert (large.count, large.weight, large.nbytes) == (2, 2 + 8 + 12, 4)
