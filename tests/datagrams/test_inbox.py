"""Cutting up what was received; the columns are filled by hand."""

import socket
from contextlib import suppress
from functools import partial

import extensions
import pytest
from helpers import exports_lock
from hypothesis import given
from hypothesis import strategies as st

from triobatch._core import datagram_lists, receive_memory
from triobatch._core.arena import MSG_TRUNC, Arena
from triobatch._core.choice import CORE
from triobatch._core.receive_memory import MAX_WARM, Spares
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.message_inbox import MessageInbox, MetadataCache
from triobatch._datagrams.run import release
from triobatch._queues.views import EXPORTS_LOCK
from triobatch._wire.addresses import AF_UNIX, encode_address
from triobatch._wire.metadata import Metadata

MSG_CTRUNC = socket.MSG_CTRUNC

A = ("127.0.0.1", 1)
B = ("127.0.0.1", 2)


@pytest.fixture(params=["python", "extension"], autouse=True, scope="module")
def taken_by(request):
    """Both ways: that of the core that runs, and that without extension."""
    if request.param == "extension":
        extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
        if CORE != "c":
            pytest.skip("the extension serves the C core")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            receive_memory,
            "taker",
            lambda arena, addresses: partial(
                datagram_lists.take, arena, addresses
            ),
        )
        yield


def filled(*messages, slot_size=100, family=socket.AF_INET):
    """Return an inbox of ``(payload, segment_size, address, flags)``."""
    spares = Spares(16, family, slot_size)
    memory = spares.make()
    arena = memory.arena
    for slot, (payload, segment_size, address, flags) in enumerate(messages):
        name = encode_address(address)
        start = slot * slot_size
        kept = payload[:slot_size]
        arena.memory[start : start + len(kept)] = kept
        at = slot * arena.name_size
        arena.names[at : at + len(name)] = name
        arena.sizes[slot] = len(payload)
        arena.name_sizes[slot] = len(name)
        arena.segment_sizes[slot] = segment_size
        arena.flags[slot] = flags
    arena.note_filled(len(messages))
    inbox = MessageInbox(spares)
    inbox.memory = memory if messages else None
    return inbox


def messages_of(inbox):
    return inbox.take_messages(10**6, MetadataCache(lambda it: it))


def test_plain_messages_are_one_datagram_each():
    inbox = filled((b"one", 0, A, 0), (b"", 0, B, 0), (b"three", 0, A, 0))
    assert inbox.take(2) == [(b"one", A), (b"", B)]
    assert inbox.memory.arena.left == 1
    assert inbox.take(64) == [(b"three", A)]
    assert inbox.memory is None


def test_equal_messages_share_the_address_that_they_share():
    inbox = filled(*[(b"same", 0, A, 0)] * 5)
    taken = inbox.take(64)
    assert taken == [(b"same", A)] * 5
    assert len({id(address) for _, address in taken}) == 1


def test_a_train_is_cut_at_its_segment_size():
    inbox = filled((b"aaabbbccd", 3, A, 0), (b"alone", 0, B, 0))
    assert inbox.take(64) == [
        (b"aaa", A),
        (b"bbb", A),
        (b"ccd", A),
        (b"alone", B),
    ]


def test_the_last_of_a_train_may_be_shorter():
    inbox = filled((b"aaabbbc", 3, A, 0))
    assert inbox.take(64) == [(b"aaa", A), (b"bbb", A), (b"c", A)]
    assert inbox.memory is None


def test_a_train_waits_for_the_next_call_where_the_limit_cuts_it():
    inbox = filled((b"aaabbbc", 3, A, 0), (b"", 0, B, 0))
    taken = [inbox.take(1) for _ in range(4)]
    assert taken == [[(b"aaa", A)], [(b"bbb", A)], [(b"c", A)], [(b"", B)]]
    assert inbox.memory is None


@pytest.mark.parametrize(
    ("size", "flags"),
    [(150, 0), (150, MSG_TRUNC), (100, MSG_TRUNC)],
)
def test_a_cut_datagram_is_no_datagram(size, flags):
    inbox = filled(
        (b"before", 0, A, 0), (bytes(size), 0, B, flags), (b"after", 0, A, 0)
    )
    assert inbox.take(64) == [(b"before", A)]
    with pytest.raises(TruncatedDatagramError) as info:
        inbox.take(64)
    assert info.value.payload == bytes(min(size, 100))
    assert (info.value.size, info.value.address) == (size, B)
    assert inbox.take(64) == [(b"after", A)]
    assert inbox.truncated == 1


@pytest.mark.parametrize(("size", "flags"), [(150, 0), (100, MSG_TRUNC)])
def test_a_cut_datagram_alone_is_no_datagram(size, flags):
    inbox = filled((bytes(size), 0, B, flags))
    with pytest.raises(TruncatedDatagramError):
        inbox.take(64)
    assert inbox.memory is None
    assert inbox.truncated == 1


def test_a_train_alone_is_cut():
    inbox = filled((b"aaab", 3, A, 0))
    assert inbox.take(1) == [(b"aaa", A)]
    assert inbox.take(1) == [(b"b", A)]
    assert inbox.memory is None


def test_a_cut_datagram_is_a_message_that_says_so():
    inbox = filled((bytes(150), 0, B, MSG_TRUNC), (b"after", 0, A, 0))
    cut, whole = messages_of(inbox)
    assert (cut.truncated, cut.size, len(cut.payload)) == (True, 150, 100)
    assert (whole.truncated, whole.size, whole.payload) == (False, 5, b"after")


def test_control_messages_that_did_not_fit_cut_no_datagram():
    train = b"aaab", 3, A, MSG_CTRUNC
    whole = b"x", 0, B, MSG_CTRUNC
    for messages in ([train], [whole], [train, whole]):
        expected = [(b"aaa", A), (b"b", A)] if train in messages else []
        expected += [(b"x", B)] if whole in messages else []
        inbox = filled(*messages)
        assert inbox.take(64) == expected
        assert inbox.truncated == 0
        again = messages_of(filled(*messages))
        assert [(m.payload, m.truncated) for m in again] == [
            (payload, False) for payload, _ in expected
        ]


def test_a_unix_arena_has_no_room_for_passed_descriptors():
    inbox = filled((b"x", 0, "/a", MSG_CTRUNC), family=AF_UNIX)
    assert inbox.memory.arena.control_size == 0
    assert inbox.take(64) == [(b"x", "/a")]


def test_unix_peers_may_have_names_of_any_length_or_none():
    inbox = filled(
        (b"a", 0, "/long/path", 0),
        (b"b", 0, None, 0),
        (b"c", 0, b"\0abstract", 0),
        family=AF_UNIX,
    )
    assert inbox.take(64) == [
        (b"a", "/long/path"),
        (b"b", None),
        (b"c", b"\0abstract"),
    ]


MESSAGE = st.tuples(
    st.binary(max_size=100),
    st.integers(0, 40),
    st.sampled_from([A, B]),
    st.just(0),
)


@given(st.lists(MESSAGE, min_size=1, max_size=16), st.integers(1, 20))
def test_nothing_is_lost_whatever_the_limit(messages, limit):
    expected = []
    for payload, segment_size, address, _ in messages:
        step = segment_size or max(1, len(payload))
        pieces = [
            payload[at : at + step] for at in range(0, len(payload), step)
        ]
        expected += [(piece, address) for piece in pieces or [b""]]
    inbox = filled(*messages)
    taken = []
    while inbox.memory is not None:
        some = inbox.take(limit)
        assert 1 <= len(some) <= limit
        taken += some
    assert taken == expected
    again = messages_of(filled(*messages))
    assert [(m.payload, m.address) for m in again] == expected


def test_runs_are_of_whoever_sent_them():
    names = ["/a", None, "/b", "/a", "/ab", "/ab"]
    messages = [(b"x", 0, name, 0) for name in names]
    inbox = filled(*messages, family=AF_UNIX)
    # What a call before has left there.
    size = inbox.memory.arena.name_size
    inbox.memory.arena.names[size : 2 * size] = inbox.memory.arena.names[:size]
    assert [run.address for run in inbox.take_runs(99, [])] == names


def test_runs_end_before_one_that_was_cut():
    inbox = filled((b"aab", 2, A, 0), (bytes(101), 0, B, 0), (b"c", 0, A, 0))
    [run] = inbox.take_runs(999, [])
    assert (run.data, run.segment_size, run.address) == (b"aab", 2, A)
    with pytest.raises(TruncatedDatagramError):
        inbox.take_runs(999, [])
    [run] = inbox.take_runs(999, [])
    assert (run.data, run.segment_size) == (b"c", 1)
    assert inbox.memory is None


@pytest.mark.parametrize(
    ("limit", "taken"), [(0, 1), (79, 1), (80, 2), (119, 2), (120, 3)]
)
def test_runs_are_so_many_bytes_but_for_the_first(limit, taken):
    inbox = filled(*[(bytes(40), 10, A, 0)] * 3)
    runs = inbox.take_runs(limit, [])
    assert [len(run.data) for run in runs] == [40] * taken
    left = 0 if inbox.memory is None else inbox.memory.arena.left
    assert left == 3 - taken
    assert (inbox.run_size, inbox.run_count) == (40, 4)


def test_a_run_is_the_rest_of_a_train_that_was_begun():
    inbox = filled((b"plain", 0, B, 0), (b"aabbcc", 2, A, 0))
    assert inbox.take(2) == [(b"plain", B), (b"aa", A)]
    [run] = inbox.take_runs(999, [])
    assert (run.data, run.segment_size, run.address) == (b"bbcc", 2, A)
    assert inbox.memory is None


def test_memory_of_which_there_are_views_is_not_used_again():
    inbox = filled((b"aabb", 2, A, 0))
    lent = []
    [run] = inbox.take_runs(999, lent)
    kept = memoryview(run.data)
    assert (inbox.memory, list(inbox.spares)) == (None, [])
    inbox.reclaim()
    assert (inbox.loan, list(inbox.spares)) == (None, [])
    assert kept == b"aabb"


RECEIVED = [(b"aab", 2, A, 0), (bytes(101), 0, B, 0), (b"c", 0, A, 0)]
TAKES = {
    "take": lambda inbox: inbox.take(1),
    "take_runs": lambda inbox: release(*runs_of(inbox)),
    "take_messages": lambda inbox: inbox.take_messages(1, KNOWN),
    "take_asked": lambda inbox: inbox.take_asked(
        1, MetadataCache(Metadata.for_reply)
    ),
}
KNOWN = MetadataCache(lambda it: it)


def runs_of(inbox):
    lent = []
    return inbox.take_runs(1, lent), lent


@pytest.mark.parametrize("way", TAKES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_memory_is_given_back_when_all_is_handed_out(way, count):
    if way == "take_runs" and not EXPORTS_LOCK:
        pytest.skip("what was lent is not given back where nothing is locked")
    inbox = filled(*RECEIVED[:count])
    memory = inbox.memory
    calls = 0
    while inbox.memory is not None:
        assert inbox.memory is memory
        assert list(inbox.spares) == []
        with suppress(TruncatedDatagramError):
            TAKES[way](inbox)
        calls += 1
    assert calls >= count
    if inbox.loan is not None:
        assert list(inbox.spares) == []
        inbox.reclaim()
    assert list(inbox.spares) == [memory]


@exports_lock
@pytest.mark.parametrize("way", sorted(set(TAKES) - {"take_runs"}))
def test_what_was_lent_is_not_given_back_by_who_takes_the_rest(way):
    inbox = filled((b"aabb", 2, A, 0), (b"c", 0, A, 0))
    memory = inbox.memory
    runs, lent = runs_of(inbox)
    kept = memoryview(runs[0].data)
    release(runs, lent)
    TAKES[way](inbox)
    assert (inbox.memory, list(inbox.spares)) == (None, [])
    kept.release()
    inbox.reclaim()
    assert list(inbox.spares) == [memory]


@exports_lock
@pytest.mark.parametrize("way", [*sorted(set(TAKES) - {"take_runs"}), "close"])
def test_a_loan_ends_with_who_takes_the_rest_if_nobody_looks(way):
    inbox = filled((b"aabb", 2, A, 0), (b"c", 0, A, 0))
    memory = inbox.memory
    release(*runs_of(inbox))
    inbox.end_loan()
    assert list(inbox.spares) == []
    if way == "close":
        inbox.close()
    else:
        TAKES[way](inbox)
    assert (inbox.loan, list(inbox.spares)) == (None, [memory])


@exports_lock
@pytest.mark.parametrize("way", [*TAKES, "close"])
def test_a_loan_ends_with_a_cut_datagram_at_the_end(way):
    inbox = filled((b"aabb", 2, A, 0), (bytes(101), 0, B, 0))
    memory = inbox.memory
    release(*runs_of(inbox))
    if way == "close":
        inbox.close()
    else:
        with suppress(TruncatedDatagramError):
            TAKES[way](inbox)
    assert (inbox.loan, list(inbox.spares)) == (None, [memory])


@exports_lock
def test_what_is_lent_to_a_block_stays_when_the_socket_is_closed():
    inbox = filled((b"aabb", 2, A, 0), (b"c", 0, A, 0))
    memory = inbox.memory
    runs, lent = runs_of(inbox)
    inbox.close()
    assert (bytes(runs[0].data), list(inbox.spares)) == (b"aabb", [])
    release(runs, lent)
    inbox.end_loan()
    assert list(inbox.spares) == [memory]


@exports_lock
def test_memory_that_an_exception_left_here_is_not_also_given_back():
    inbox = filled((b"aabb", 2, A, 0), (b"c", 0, A, 0))
    memory = inbox.memory
    release(*runs_of(inbox))
    # A signal handler's comes when all is taken, and before that is noted.
    memory.take(1)
    inbox.reclaim()
    assert list(inbox.spares) == [memory]
    assert inbox.memory is None


def test_runs_are_reckoned_to_be_one_datagram_at_first():
    inbox = filled()
    assert (inbox.run_size, inbox.run_count) == (1200, 1)


def test_where_enough_memory_is_warm_the_pages_of_more_are_given_back(
    monkeypatch,
):
    given = []

    def give_pages_back(arena):
        given.append(arena)

    monkeypatch.setattr(Arena, "give_pages_back", give_pages_back)
    for warm in (MAX_WARM - 1, MAX_WARM):
        inbox = filled((b"a", 0, A, 0))
        memory = inbox.memory
        inbox.spares.extend(inbox.spares.make() for _ in range(warm))
        inbox.take(1)
        assert (inbox.memory, inbox.spares[-1]) == (None, memory)
    assert given == [memory.arena]
