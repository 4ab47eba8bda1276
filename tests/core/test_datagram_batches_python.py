"""Batches of one size, without the list extension."""

import errno
import os
import socket

import pytest

from triobatch._core import datagram_batches_python as python
from triobatch._core.chunks import COPY_SIZE
from triobatch._wire.addresses import encode_address

LIMIT = (64, 65507, 65507)
ADDRESS = ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("payloads", "size"),
    [
        ([], None),
        ([b""], None),
        ([b"abc"], 3),
        ([b"abc", b"def", b"g"], 3),
        ([b"abc", b"d", b"efg"], None),
        ([b"abc", b"defg"], None),
        ([b"abc", b""], None),
        ([b"abc", bytearray(b"def")], None),
        ([b"abc", 7], None),
        ([bytes(COPY_SIZE // 16)] * 16, COPY_SIZE // 16),
        ([bytes(COPY_SIZE // 16)] * 16 + [b"x"], None),
        ([bytes(65536)], None),
    ],
)
def test_payloads_of_one_size_are_packed(payloads, size):
    batch = python.pack(payloads, b"peer", LIMIT)
    if size is None:
        assert batch is None
        return
    assert (batch.data, batch.segment_size) == (b"".join(payloads), size)
    assert (batch.count, batch.peer) == (len(payloads), b"peer")


@pytest.mark.parametrize(
    ("count", "limit", "run_size", "runs"),
    [
        (4, (1, 100, 100), 10, 0),
        (4, (2, 100, 100), 20, 2),
        (5, (2, 100, 100), 20, 2),
        (6, (4, 35, 100), 30, 2),
        (4, (2, 100, 9), 10, 0),
    ],
)
def test_runs_are_counted_before_they_go(count, limit, run_size, runs):
    batch = python.pack([bytes(10)] * count, b"", limit)
    assert (batch.run_size, batch.runs) == (run_size, runs)


def test_pairs_with_one_address_are_packed():
    pairs = [(b"a", ADDRESS), (b"b", ADDRESS)]
    assert python.pack_pairs(pairs, ADDRESS, b"", LIMIT).data == b"ab"
    for other in ((b"c", None), (b"c",), [b"c", ADDRESS], b"cd"):
        batch = python.pack_pairs([*pairs, other], ADDRESS, b"", LIMIT)
        assert batch is None


def test_a_batch_is_sent_and_what_is_refused_is_not():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
    ):
        near.bind(("127.0.0.1", 0))
        near.setblocking(False)
        peer = encode_address(near.getsockname())
        batch = python.pack([b"ab"] * 3, peer, (1, 2, 2))
        assert python.send_batch(sender.fileno(), batch) == 3
        batch.give_back()
        assert [near.recv(9) for _ in "abc"] == [b"ab"] * 3
        nowhere = encode_address(("127.0.0.1", 0))
        batch = python.pack([b"ab"] * 3, nowhere, (1, 2, 2))
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            python.send_batch(sender.fileno(), batch)
        batch.give_back()
