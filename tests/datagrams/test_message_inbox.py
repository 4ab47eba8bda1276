"""Metadata of what was received; the columns are filled by hand."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triobatch._core.arena import MSG_TRUNC
from triobatch._core.receive_memory import Spares
from triobatch._datagrams import message_inbox
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.message_inbox import MessageInbox, MetadataCache
from triobatch._wire.addresses import encode_address
from triobatch._wire.control import SOL_IP, SOL_SOCKET, pack_control
from triobatch._wire.metadata import (
    IP_PKTINFO,
    IP_TOS,
    SO_TIMESTAMPNS,
    Metadata,
)

A = ("127.0.0.1", 1)
HOSTS = ["127.0.0.1", "127.0.0.2"]


def stamp(nanoseconds):
    data = struct.pack("ll", *divmod(nanoseconds, 10**9))
    return SOL_SOCKET, SO_TIMESTAMPNS, data


def asked(host, tos=0):
    packed = socket.inet_aton(host)
    info = SOL_IP, IP_PKTINFO, struct.pack("=i4s4s", 1, packed, packed)
    return info, (SOL_IP, IP_TOS, bytes([tos]))


def filled(*messages):
    """Return an inbox of ``(payload, control, segment_size)``."""
    spares = Spares(16, socket.AF_INET, 100)
    memory = spares.make()
    arena = memory.arena
    for slot, (payload, control, segment_size) in enumerate(messages):
        kept = payload[:100]
        start = slot * 100
        arena.memory[start : start + len(kept)] = kept
        arena.describe(
            slot,
            len(payload),
            MSG_TRUNC if len(payload) > 100 else 0,
            encode_address(A),
            pack_control(tuple(control)),
            segment_size,
        )
    arena.note_filled(len(messages))
    inbox = MessageInbox(spares)
    inbox.memory = memory if messages else None
    return inbox


def left_in(inbox):
    return inbox.memory and inbox.memory.filling


@pytest.fixture
def decoded(monkeypatch):
    """Count what is decoded."""
    found = []
    decode = message_inbox.decode_metadata

    def note(control):
        found.append(control)
        return decode(control)

    monkeypatch.setattr(message_inbox, "decode_metadata", note)
    return found


@pytest.mark.parametrize("timestamps", [True, False])
def test_equal_control_messages_are_decoded_once(decoded, timestamps):
    known = MetadataCache(lambda it: it)
    controls = [(stamp(10**18 + i), *asked(HOSTS[i % 2])) for i in range(16)]
    messages = [(b"x", control, 0) for control in controls]
    for _ in range(2):
        taken = filled(*messages).take_messages(
            64, known, timestamps=timestamps
        )
        assert [m.metadata.local_address for m in taken] == HOSTS * 8
        assert [m.timestamp for m in taken] == [
            10**18 + i if timestamps else None for i in range(16)
        ]
    assert len(decoded) == 2


def test_a_timestamp_that_is_missing_is_none():
    taken = filled(
        (b"a", asked(HOSTS[0]), 0), (b"b", [stamp(7)], 0), (b"c", [], 0)
    ).take_messages(64, MetadataCache(lambda it: it))
    assert [m.timestamp for m in taken] == [None, 7, None]
    assert [m.metadata for m in taken[1:]] == [Metadata()] * 2


def test_a_timestamp_behind_the_others_is_one():
    control = [*asked(HOSTS[0]), stamp(7)]
    [message] = filled((b"a", control, 0)).take_messages(
        64, MetadataCache(lambda it: it)
    )
    assert (message.timestamp, message.metadata.ecn) == (7, 0)


def test_what_peers_decide_is_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(message_inbox, "MAX_CONTROLS", 4)
    known = MetadataCache(lambda it: it)
    for tos in range(64):
        [message] = filled((b"x", asked(HOSTS[0], tos), 0)).take_messages(
            1, known
        )
        assert message.metadata.tos == tos
        assert len(known) <= 4


ROWS = st.lists(
    st.tuples(
        st.binary(max_size=100),
        st.sampled_from(
            [asked(host, tos) for host in HOSTS for tos in (0, 1)]
        ),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=16,
)


def pieces(payload, segment_size):
    step = segment_size or max(1, len(payload))
    return [payload[i : i + step] for i in range(0, len(payload), step)] or [
        b""
    ]


def host_of(control):
    return socket.inet_ntoa(control[0][2][4:8])


@given(ROWS, st.integers(1, 20))
def test_each_datagram_has_what_its_message_had(rows, limit):
    expected = [
        (piece, host_of(control), control[1][2][0])
        for payload, control, segment_size in rows
        for piece in pieces(payload, segment_size)
    ]
    inbox = filled(*rows)
    known = MetadataCache(lambda it: it)
    taken = []
    while inbox.memory is not None:
        some = inbox.take_messages(limit, known)
        assert 1 <= len(some) <= limit
        taken += some
    assert [
        (m.payload, m.metadata.local_address, m.metadata.tos) for m in taken
    ] == expected
    assert {(m.address, m.truncated, m.size == len(m.payload)) for m in taken}
    assert {type(m) for m in taken} == {message_inbox.Message}


ANY_ROWS = st.lists(
    st.tuples(
        # One more than fits: it is truncated.
        st.binary(max_size=101),
        st.sampled_from(
            [
                [],
                [stamp(7)],
                [stamp(2 * 10**18), *asked(HOSTS[0])],
                [*asked(HOSTS[1], 3), stamp(8)],
                asked(HOSTS[0]),
            ]
        ),
        st.integers(0, 40),
    ),
    max_size=16,
)


@given(
    ANY_ROWS,
    st.lists(st.integers(1, 20), min_size=1, max_size=12),
    st.booleans(),
)
def test_the_extension_makes_the_messages_that_python_makes(
    rows, limits, timestamps
):
    extension, python = filled(*rows), filled(*rows)
    if rows:
        python.memory.take_messages = None
    known = MetadataCache(lambda it: it), MetadataCache(lambda it: it)
    for limit in limits:
        if python.memory is None:
            break
        ours = extension.take_messages(limit, known[0], timestamps=timestamps)
        theirs = python.take_messages(limit, known[1], timestamps=timestamps)
        assert ours == theirs
        assert list(map(hash, ours)) == list(map(hash, theirs))
        assert {type(m) for m in ours} <= {message_inbox.Message}
        assert left_in(extension) == left_in(python)


@given(ROWS, st.integers(1, 20))
def test_what_asked_one_address_comes_together_and_in_order(rows, limit):
    inbox = filled(*rows)
    replies = MetadataCache(Metadata.for_reply)
    taken = {host: [] for host in HOSTS}
    while inbox.memory is not None:
        some = inbox.take_asked(limit, replies)
        assert 1 <= sum(len(pairs) for _, pairs in some) <= limit
        assert len({reply for reply, _ in some}) == len(some)
        for reply, pairs in some:
            assert pairs
            assert reply == Metadata(local_address=reply.local_address)
            taken[reply.local_address] += pairs
    for host in HOSTS:
        assert taken[host] == [
            (piece, A)
            for payload, control, segment_size in rows
            if host_of(control) == host
            for piece in pieces(payload, segment_size)
        ]


@pytest.mark.parametrize("others", [HOSTS[:1], HOSTS[1:]])
def test_a_cut_datagram_is_told_and_keeps_none_behind_it(others):
    rows = [
        (b"a", asked(HOSTS[0]), 0),
        (bytes(150), asked(HOSTS[0]), 0),
        (b"b", asked(others[0]), 0),
    ]
    inbox = filled(*rows)
    replies = MetadataCache(Metadata.for_reply)
    reply = Metadata(local_address=HOSTS[0])
    assert inbox.take_asked(64, replies) == [(reply, [(b"a", A)])]
    with pytest.raises(TruncatedDatagramError):
        inbox.take_asked(64, replies)
    [(_, rest)] = inbox.take_asked(64, replies)
    assert rest == [(b"b", A)]
    assert inbox.memory is None
