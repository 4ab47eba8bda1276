"""Batches of one size, on the C core: what the list extension packs."""

import array
import errno
import os
import socket

import extensions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triobatch._core import datagram_batches_python as python
from triobatch._core.choice import CHUNK_EXTENSION, CORE
from triobatch._core.chunks import COPY_SIZE
from triobatch._wire.addresses import encode_address

pytestmark = pytest.mark.skipif(
    CORE != "c" or not CHUNK_EXTENSION, reason="the C core's extension"
)
core = extensions.find("triobatch._core.datagram_batches_c", extensions.C_CORE)

LIMIT = (64, 65507, 65507)
ADDRESS = ("127.0.0.1", 1)


def facts_of(batch):
    """Return what a batch says, and give it back."""
    if batch is None:
        return None
    facts = (
        batch.count,
        bytes(batch.data),
        batch.segment_size,
        batch.run_size,
        batch.runs,
        batch.peer,
    )
    batch.give_back()
    return facts


def data_of(payloads):
    facts = facts_of(core.pack(payloads, b"", LIMIT))
    return None if facts is None else facts[1]


# Lists of any sizes are hardly ever of one.
OF_ONE_SIZE = st.builds(
    lambda size, count, last: [b"abc"[:size]] * count + [b"abcd"[:last]],
    st.integers(1, 3),
    st.integers(0, 8),
    st.integers(0, 4),
)


@given(
    st.lists(st.binary(max_size=3), max_size=9) | OF_ONE_SIZE,
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3)),
)
def test_both_pack_the_same(payloads, limit):
    found = facts_of(core.pack(payloads, b"peer", limit))
    assert found == facts_of(python.pack(payloads, b"peer", limit))


@pytest.mark.parametrize(
    "payload",
    [
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(bytearray(b"abcdef"))[3:],
        memoryview(array.array("H", [1, 2])),
        memoryview(bytes(6)).cast("B", (2, 3)),
    ],
)
def test_views_and_bytearrays_are_copied_too(payload):
    assert data_of([payload, payload]) == 2 * bytes(payload)
    if type(payload) is bytearray:
        payload.append(0)


def released():
    view = memoryview(b"abc")
    view.release()
    return view


class Bytes(bytes):
    def __len__(self):
        return 1 << 20


@pytest.mark.parametrize(
    "payload",
    [
        memoryview(b"abcdef")[::2],
        released(),
        array.array("B", b"abc"),
        Bytes(b"abc"),
        "abc",
        7,
        None,
        [97, 98, 99],
    ],
)
def test_what_else_there_is_goes_the_long_way(payload):
    assert data_of([b"abc", payload]) is None
    assert data_of([payload, b"abc"]) is None


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_no_more_is_copied_than_there_is_room_for(view):
    half = view(bytes(COPY_SIZE // 16))
    assert len(data_of([half] * 16)) == COPY_SIZE
    assert data_of([half] * 16 + [view(b"x")]) is None
    assert len(data_of([view(bytes(65535))])) == 65535
    assert data_of([view(bytes(65536))]) is None


@pytest.mark.parametrize(
    ("pairs", "packed"),
    [
        ([(b"a", ADDRESS), (b"b", ADDRESS)], b"ab"),
        ([(b"a", ADDRESS), (b"b", ("127.0.0." + str(1), 1))], b"ab"),
        ([(b"a", ADDRESS), (b"b", ("127.0.0.1", 2))], None),
        ([(b"a", ADDRESS), (b"b", ("127.0.0.1", True))], None),
        ([(b"a", ADDRESS), (b"b", ADDRESS[:1])], None),
        ([(b"a", ADDRESS), (b"b", (*ADDRESS, 0, 0))], None),
        ([(b"a", ADDRESS), (b"b", "/path")], None),
        ([(b"a", ADDRESS), (b"b", None)], None),
        ([(b"a", ADDRESS), (b"b",)], None),
        ([(b"a", ADDRESS), [b"b", ADDRESS]], None),
        ([(b"a", ADDRESS), b"ab"], None),
    ],
)
def test_pairs_with_one_address_are_packed(pairs, packed):
    facts = facts_of(core.pack_pairs(pairs, ADDRESS, b"peer", LIMIT))
    assert (facts and facts[1]) == packed


def test_a_list_that_has_changed_is_looked_at_anew():
    pairs = [(b"a", "/other")]
    assert core.pack_pairs(pairs, ADDRESS, b"peer", LIMIT) is None
    assert core.pack_pairs([], ADDRESS, b"peer", LIMIT) is None


@pytest.mark.parametrize("peer", [bytes(129), bytearray(16), None])
def test_a_peer_that_there_is_no_room_for_is_refused(peer):
    with pytest.raises(TypeError, match="peer must be a sockaddr"):
        core.pack([b"a"], peer, LIMIT)


@pytest.mark.parametrize("limit", [(), (1,), ("x", 1, 1), (-1, 1, 1)])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises((IndexError, TypeError, OverflowError)):
        core.pack([b"a"], b"", limit)


def test_one_that_is_out_is_nobody_elses():
    one, other = core.pack([b"a"], b"", LIMIT), core.pack([b"b"], b"", LIMIT)
    assert (bytes(one.data), bytes(other.data)) == (b"a", b"b")
    one.give_back()
    other.give_back()


def test_a_batch_is_sent_and_what_is_refused_is_not():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
    ):
        near.bind(("127.0.0.1", 0))
        peer = encode_address(near.getsockname())
        batch = core.pack([b"ab"] * 3, peer, (1, 2, 2))
        assert core.send_batch(sender.fileno(), batch) == 3
        batch.give_back()
        assert [near.recv(9, socket.MSG_DONTWAIT) for _ in "abc"] == [
            b"ab"
        ] * 3
        nowhere = encode_address(("127.0.0.1", 0))
        batch = core.pack([b"ab"] * 3, nowhere, (1, 2, 2))
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            core.send_batch(sender.fileno(), batch)
        batch.give_back()
