"""Lists of datagrams: in Python, and the extension beside it."""

import gc
import socket
import struct
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
from triobatch._wire.control import pack_control
from triobatch._wire.metadata import STAMP_HEADER, Message, Metadata

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


# Of any size, while binary() makes short ones mostly.
PAYLOADS = st.integers(0, SLOT_SIZE + 1).map(lambda size: bytes(range(size)))
MESSAGES = st.lists(
    st.tuples(
        st.binary(max_size=SLOT_SIZE + 1) | PAYLOADS,
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


@pytest.mark.skipif(CORE != "c", reason="the extension serves the C core")
@extensions.needs(extensions.CHUNKS)
@given(MESSAGES)
def test_both_tell_the_same(messages):
    arena = filled(messages)
    addresses = AddressCache()
    told = datagram_lists.facts(arena, AddressCache())
    assert datagram_lists.teller(arena, addresses)() == told
    assert [size for size, *_ in told] == [len(item[0]) for item in messages]
    assert [item[1] for item in told] == [item[2] for item in messages]
    assert {item[2] for item in told} <= {0, MSG_TRUNC}


def test_an_empty_arena_has_none(kind):
    assert taker_of(kind, filled([]), AddressCache())(1) == []


def test_any_limit_is_a_limit(kind):
    arena = filled([(b"one", 0, A, 0)])
    assert taker_of(kind, arena, AddressCache())(2**64) == [(b"one", A)]


def test_a_train_is_taken_as_far_as_the_limit_and_then_on(kind):
    arena = filled([(b"abcde", 2, A, 0), (b"x", 0, A, 0)])
    take = taker_of(kind, arena, AddressCache())
    assert take(1) == [(b"ab", A)]
    assert take(2) == [(b"cd", A), (b"e", A)]
    assert take(2) == [(b"x", A)]


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


@pytest.mark.parametrize(
    ("size", "flags"), [(SLOT_SIZE + 1, 0), (1, MSG_TRUNC)]
)
def test_what_was_cut_is_not_taken_and_nothing_behind_it(kind, size, flags):
    whole = bytes(SLOT_SIZE)
    arena = filled(
        [(whole, 0, A, 0), (bytes(size), 0, A, flags), (b"a", 0, A, 0)]
    )
    take = taker_of(kind, arena, AddressCache())
    assert take(64) == [(whole, A)]
    assert take(64) == []


def test_of_a_name_that_was_cut_no_more_is_read_than_there_is(kind):
    arena = filled([(b"a", 0, A, 0), (b"b", 0, B, 0)])
    # The kernel reports the size before it was cut.
    arena.name_sizes[0] = arena.name_sizes[1] = arena.name_size + 9
    addresses = AddressCache()
    taken = taker_of(kind, arena, addresses)(64)
    assert taken == [(b"a", A), (b"b", B)]
    assert list(addresses) == [encode_address(A), encode_address(B)]


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
    with pytest.raises(error):
        extension.facts(*arguments[:1])
    with pytest.raises(TypeError):
        extension.facts("x", {})


@extensions.needs(extensions.CHUNKS)
@pytest.mark.skipif(CORE != "c", reason="the extension serves the C core")
def test_a_sender_that_is_none_is_an_error_and_no_list():
    arena = filled([(b"a", 0, A, 0), (b"b", 0, B, 0)])
    tell = datagram_lists.teller(arena, AddressCache())
    arena.name_sizes[1] = 1
    with pytest.raises(ValueError, match="sockaddr must be a whole one"):
        tell()
    arena.name_sizes[1] = 16
    assert tell() == [(1, A, 0), (1, B, 0)]


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


def message_taker_of(arena, addresses):
    extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
    if CORE != "c":
        pytest.skip("the extension serves the C core")
    return datagram_lists.message_taker(arena, addresses)


class Said(dict):
    """Metadata of control messages, and how often each is asked for."""

    def __missing__(self, control):
        gc.collect()
        metadata = self[control] = Metadata(tos=len(self))
        return metadata


def said_of(*controls):
    arena = filled([(b"x", 0, A, 0)] * len(controls))
    for slot, control in enumerate(controls):
        packed = pack_control(control)
        arena.describe(slot, 1, 0, encode_address(A), packed)
    return arena


def test_equal_control_messages_in_a_row_are_looked_up_once():
    class Counting(Said):
        asked = 0

        def __getitem__(self, control):
            self.asked += 1
            return super().__getitem__(control)

    one, two = ((0, 1, b"a"),), ((0, 1, b"b"),)
    arena = said_of(one, one, two, two, one)
    said = Counting()
    taken = message_taker_of(arena, AddressCache())(64, said, False)
    assert [message.metadata.tos for message in taken] == [0, 0, 1, 1, 0]
    assert said.asked == 3


def test_of_control_messages_no_more_is_read_than_there_is():
    arena = said_of((), ())
    arena.control_sizes[0] = arena.control_size + 8
    said = Said()
    message_taker_of(arena, AddressCache())(64, said, False)
    assert list(said) == [bytes(arena.control_size), b""]


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_timestamp_that_was_cut_is_none(size):
    arena = said_of(())
    control = STAMP_HEADER + bytes(size)
    arena.describe(0, 1, 0, encode_address(A), control)
    take, said = message_taker_of(arena, AddressCache()), Said()
    assert take(64, said, True) == []
    [message] = take(64, said, False)
    assert message.timestamp is None
    assert list(said) == [control]


def test_a_timestamp_is_in_nanoseconds_and_no_part_of_the_metadata():
    arena = said_of(())
    control = STAMP_HEADER + struct.pack("ll", 2, 3) + b"more"
    arena.describe(0, 1, 0, encode_address(A), control)
    said = Said()
    [message] = message_taker_of(arena, AddressCache())(64, said, True)
    assert message.timestamp == 2_000_000_003
    assert list(said) == [b"more"]


def test_pairs_and_messages_may_be_taken_in_turns():
    arena = filled([(b"x", 0, A, 0)] * 64)
    addresses = AddressCache()
    messages = message_taker_of(arena, addresses)
    pairs = taker_of("extension", arena, addresses)
    # Something else where a struct that nobody kept would have been.
    empty = [filled([]) for _ in range(64)]
    others = [message_taker_of(each, addresses) for each in empty]
    for _ in range(32):
        [message] = messages(1, Said(), False)
        assert (message.payload, message.address) == (b"x", A)
        assert pairs(1) == [(b"x", A)]
    assert all(other(1, Said(), False) == [] for other in others)


def test_after_an_error_all_messages_are_still_there():
    class Failing(dict):
        def __missing__(self, control):
            if len(self) == 1:
                raise ZeroDivisionError
            self[control] = Metadata()
            return self[control]

    arena = said_of(((0, 1, b"a"),), ((0, 1, b"b"),))
    take = message_taker_of(arena, AddressCache())
    with pytest.raises(ZeroDivisionError):
        take(64, Failing(), False)
    assert arena.filling[NEXT] == 0
    assert len(take(64, Said(), False)) == 2


def test_what_is_wanted_of_time_and_is_not_there_stops_it():
    arena = said_of((), ((0, 1, b"a"),), ())
    take = message_taker_of(arena, AddressCache())
    assert len(take(64, Said(), True)) == 1
    assert take(64, Said(), True) == []
    assert len(take(64, Said(), False)) == 2


@pytest.mark.skipif(
    not hasattr(sys, "getrefcount"), reason="references are not counted"
)
def test_nothing_keeps_what_messages_have():
    address, metadata = ("127.0.0.1", 9), Metadata()
    arena = filled([(b"abcabc", 3, address, 0)] * 2)
    addresses = AddressCache()
    addresses[encode_address(address)] = address
    said = {b"": metadata}
    before = sys.getrefcount(address), sys.getrefcount(metadata)
    taken = message_taker_of(arena, addresses)(64, said, False)
    assert [message.payload for message in taken] == [b"abc"] * 4
    assert sys.getrefcount(metadata) == before[1] + 4
    del taken
    assert (sys.getrefcount(address), sys.getrefcount(metadata)) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x", {}, 1, {}, Message, b"", False),
        (1, {}, "x", {}, Message, b"", False),
        (1, {}, 1, {}, list, b"", False),
        (1, {}, 1, {}, 1, b"", False),
        (1, {}, 1, {}, Message, "", False),
    ],
)
def test_impossible_arguments_of_messages_are_refused(arguments):
    extension = extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
    with pytest.raises(TypeError):
        extension.take_messages(*arguments)


def test_a_truth_value_may_fail():
    class Fuzzy:
        def __bool__(self):
            raise ZeroDivisionError

    extension = extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
    with pytest.raises(ZeroDivisionError):
        extension.take_messages(1, {}, 1, {}, Message, STAMP_HEADER, Fuzzy())
