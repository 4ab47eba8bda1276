"""Lists of datagrams: in Python, and the extension beside it."""

import gc
import socket
import sys
from functools import partial

import extensions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triobatch._core import datagram_lists
from triobatch._core.arena import MSG_TRUNC, NEXT, Arena
from triobatch._core.choice import CORE
from triobatch._wire.addresses import AddressCache, encode_address

A, B = ("127.0.0.1", 1), ("127.0.0.1", 2)
SLOT_SIZE = 100


def taker_of(kind, arena, addresses):
    if kind == "python":
        return partial(datagram_lists.take, arena, addresses)
    extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
    if CORE != "c":
        pytest.skip("the extension serves the C core")
    return datagram_lists.taker(arena, addresses)


@pytest.fixture(params=["python", "extension"])
def kind(request):
    taker_of(request.param, Arena(1, socket.AF_INET, 1), AddressCache())
    return request.param


def filled(messages):
    """Return an arena of ``(payload, segment_size, address, flags)``."""
    arena = Arena(max(1, len(messages)), socket.AF_INET, SLOT_SIZE)
    for slot, (payload, segment_size, address, flags) in enumerate(messages):
        kept = payload[:SLOT_SIZE]
        start = slot * SLOT_SIZE
        arena.memory[start : start + len(kept)] = kept
        name = encode_address(address)
        arena.describe(slot, len(payload), flags, name, b"", segment_size)
    arena.note_filled(len(messages))
    return arena


MESSAGES = st.lists(
    st.tuples(
        st.binary(max_size=SLOT_SIZE + 1),
        st.integers(0, 40),
        st.sampled_from([A, B]),
        st.sampled_from([0, 0, 0, MSG_TRUNC, socket.MSG_CTRUNC]),
    ),
    max_size=8,
)


@pytest.mark.skipif(CORE != "c", reason="the extension serves the C core")
@extensions.needs(extensions.CHUNKS)
@given(MESSAGES, st.lists(st.integers(1, 20), max_size=12))
def test_both_take_the_same(messages, limits):
    arenas = filled(messages), filled(messages)
    python = taker_of("python", arenas[0], AddressCache())
    extension = taker_of("extension", arenas[1], AddressCache())
    for limit in limits:
        assert python(limit) == extension(limit)
        assert arenas[0].filling == arenas[1].filling


def test_an_empty_arena_has_none(kind):
    assert taker_of(kind, filled([]), AddressCache())(1) == []


def test_any_limit_is_a_limit(kind):
    arena = filled([(b"one", 0, A, 0)])
    assert taker_of(kind, arena, AddressCache())(2**64) == [(b"one", A)]


def test_a_sender_is_decoded_once(kind):
    arena = filled([(b"a", 0, A, 0), (b"b", 0, B, 0), (b"c", 0, A, 0)])
    addresses = AddressCache()
    (_, first), (_, second), (_, third) = taker_of(kind, arena, addresses)(64)
    assert (first, second) == (A, B)
    assert third is first
    assert len(addresses) == 2


def test_the_python_code_that_decodes_may_do_anything(kind):
    class Addresses(AddressCache):
        def __missing__(self, sockaddr):
            gc.collect()
            self.clear()
            return super().__missing__(sockaddr)

    arena = filled([(b"x", 0, address, 0) for address in (A, B) * 4])
    taken = taker_of(kind, arena, Addresses())(64)
    assert taken == [(b"x", address) for address in (A, B) * 4]


@extensions.needs(extensions.CHUNKS)
@pytest.mark.skipif(CORE != "c", reason="the extension serves the C core")
def test_after_an_error_all_is_still_there():
    arena = filled([(b"a", 0, A, 0), (b"b", 0, B, 0)])
    addresses = AddressCache()
    take = taker_of("extension", arena, addresses)
    arena.name_sizes[1] = 1
    with pytest.raises(ValueError, match="sockaddr must be a whole one"):
        take(64)
    assert arena.filling[NEXT] == 0
    arena.name_sizes[1] = 16
    assert take(64) == [(b"a", A), (b"b", B)]


@extensions.needs(extensions.CHUNKS)
@pytest.mark.parametrize(
    ("arguments", "error"),
    [((), TypeError), (("x", {}, 1), TypeError), ((1, {}, "x"), TypeError)],
)
def test_impossible_arguments_are_refused(arguments, error):
    extension = extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
    with pytest.raises(error):
        extension.take(*arguments)


@pytest.mark.skipif(
    not hasattr(sys, "getrefcount"), reason="references are not counted"
)
def test_nothing_keeps_what_was_taken(kind):
    address = ("127.0.0.1", 9)
    arena = filled([(b"abcabc", 3, address, 0)])
    addresses = AddressCache()
    addresses[encode_address(address)] = address
    before = sys.getrefcount(address)
    taken = taker_of(kind, arena, addresses)(64)
    assert sys.getrefcount(address) == before + 2
    del taken
    assert sys.getrefcount(address) == before
