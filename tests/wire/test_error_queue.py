"""What the kernel says in the error queue."""

import errno
import socket
import struct

import pytest

from triobatch._wire.addresses import encode_address
from triobatch._wire.described import errno_text
from triobatch._wire.error_queue import (
    PAYLOAD_SIZE,
    PeerError,
    decode_error,
)

PEER = ("10.0.0.1", 9)


def entry(origin, *, number=errno.EHOSTUNREACH, info=0, offender=b""):
    return struct.pack("=IBBBxII", number, origin, 3, 1, info, 0) + offender


@pytest.mark.parametrize(
    ("level", "kind", "host"), [(0, 11, "10.0.0.9"), (41, 25, "fe80::1")]
)
def test_a_report_names_who_sent_it(level, kind, host):
    offender = encode_address((host, 0))
    control = [(1, 35, bytes(16)), (level, kind, entry(2, offender=offender))]
    assert decode_error(b"head", control, PEER) == PeerError(
        PEER, errno.EHOSTUNREACH, None, b"head", host, 3, 1
    )


def test_a_report_of_this_host_has_no_offender_and_may_have_an_mtu():
    data = entry(1, number=errno.EMSGSIZE, info=1280, offender=bytes(16))
    error = decode_error(b"", [(0, 11, data)], PEER)
    assert error == PeerError(PEER, errno.EMSGSIZE, 1280, b"", None)
    assert (error.type, error.code) == (None, None)
    assert error.is_local_refusal


@pytest.mark.parametrize(
    ("origin", "number"),
    [(1, errno.EHOSTUNREACH), (2, errno.EMSGSIZE), (3, errno.EMSGSIZE)],
)
def test_only_a_size_that_this_host_refuses_is_a_refusal_of_its_own(
    origin, number
):
    data = entry(origin, number=number, info=1280)
    error = decode_error(b"", [(0, 11, data)], PEER)
    assert not error.is_local_refusal


@pytest.mark.parametrize("origin", [4, 5, 6])
def test_a_timestamp_or_a_notice_of_completion_is_no_report(origin):
    assert decode_error(b"", [(0, 11, entry(origin))], PEER) is None


def test_an_entry_without_the_control_message_is_no_report():
    assert (
        decode_error(b"", [(socket.SOL_SOCKET, 35, bytes(16))], PEER) is None
    )


@pytest.mark.parametrize("level_of_the_other", [(0, 25), (41, 11), (1, 11)])
def test_the_level_and_the_type_belong_together(level_of_the_other):
    data = entry(2, offender=bytes(16))
    assert decode_error(b"", [(*level_of_the_other, data)], PEER) is None


def test_only_a_packet_that_was_too_large_has_an_mtu():
    data = entry(2, number=errno.EHOSTUNREACH, info=1280)
    assert decode_error(b"", [(0, 11, data)], PEER).mtu is None


@pytest.mark.parametrize(
    ("origin", "kind"), [(0, None), (1, None), (2, 3), (3, 3)]
)
def test_only_icmp_has_a_type_and_a_code(origin, kind):
    error = decode_error(b"", [(0, 11, entry(origin))], PEER)
    assert error.type == kind
    assert (error.code is None) == (kind is None)


def test_an_offender_without_a_host_is_none():
    offender = encode_address("/path")
    data = entry(2, offender=offender)
    assert decode_error(b"", [(0, 11, data)], PEER).offender is None


def test_a_report_says_what_there_is_to_say():
    local = PeerError(PEER, errno.EMSGSIZE, 1280, b"", None)
    remote = PeerError(PEER, errno.EHOSTUNREACH, None, b"", "10.0.0.1", 3, 1)
    assert repr(local) == (
        f"<PeerError: {errno_text(errno.EMSGSIZE)}, MTU 1280, "
        f"a datagram to {PEER!r}, reported by this host>"
    )
    assert repr(remote) == (
        f"<PeerError: {errno_text(errno.EHOSTUNREACH)}, "
        f"a datagram to {PEER!r}, reported by 10.0.0.1>"
    )


def test_a_report_quotes_as_much_as_icmp_for_ipv6_may():
    # RFC 4443, 2.4.
    assert PAYLOAD_SIZE == 1280


def test_a_report_is_a_value():
    error = PeerError(PEER, errno.EHOSTUNREACH, None, b"", None)
    assert not hasattr(error, "__dict__")
    assert (
        len({error, PeerError(PEER, errno.EHOSTUNREACH, None, b"", None)}) == 1
    )
    with pytest.raises(AttributeError):
        error.errno = 0
