"""The Python core's calls, which are the C core's for those without it."""

import errno
import os
import socket

import pytest

from triobatch._core import datagrams_python as core
from triobatch._core.arena import Arena
from triobatch._wire.addresses import encode_address


@pytest.fixture
def pair():
    left = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    right = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with left, right:
        right.bind(("127.0.0.1", 0))
        right.setblocking(False)
        yield left, right


@pytest.mark.parametrize("failure", [OSError, ValueError, OverflowError])
def test_what_fails_behind_the_first_message_keeps_the_count(
    pair, monkeypatch, failure
):
    left, right = pair
    send, calls = core._send, []

    def fail_at_the_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise failure
        send(*args)

    monkeypatch.setattr(core, "_send", fail_at_the_third)
    peer = encode_address(right.getsockname())
    sent = core.send_datagrams(
        left.fileno(), b"abcd", [1] * 4, [0] * 4, [peer]
    )
    assert sent == 2
    assert [right.recv(9) for _ in "ab"] == [b"a", b"b"]


@pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets"
)
def test_a_path_that_the_standard_library_refuses_has_an_errno():
    peer = encode_address("x" * 108)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)),
    ):
        core.send_datagrams(sock.fileno(), b"x", [1], [0], [peer])


@pytest.mark.skipif(
    not hasattr(socket.socket, "sendmsg"), reason="needs sendmsg"
)
def test_a_message_of_one_segment_is_a_plain_one(pair, monkeypatch):
    left, right = pair
    send, cut = core._send, []

    def look(sock, family, payload, ancillary, peer):
        cut.append(bool(ancillary))
        send(sock, family, payload, ancillary, peer)

    monkeypatch.setattr(core, "_send", look)
    peer = encode_address(right.getsockname())
    assert core.send_segments(left.fileno(), b"abcde", 2, 4, peer) == 5
    assert core.send_segments(left.fileno(), b"fg", 2, 4, peer) == 2
    assert cut == [True, False, False]
    arrived = [right.recv(9) for _ in range(4)]
    assert arrived == [b"ab", b"cd", b"e", b"fg"]


@pytest.mark.parametrize("failure", [OSError, ValueError, BlockingIOError])
def test_what_fails_behind_the_first_slot_keeps_the_count(
    pair, monkeypatch, failure
):
    left, right = pair
    receive, calls = core._receive, []

    def fail_at_the_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise failure
        receive(*args)

    monkeypatch.setattr(core, "_receive", fail_at_the_second)
    for _ in "ab":
        left.sendto(b"x", right.getsockname())
    arena = Arena(4, socket.AF_INET)
    assert core.receive_datagrams(right.fileno(), arena, 4) == 1


def test_without_recvmsg_a_datagram_is_received(pair, monkeypatch):
    # As on Windows.
    left, right = pair
    monkeypatch.setattr(core, "_HAS_RECVMSG", False)
    left.sendto(b"xyz", right.getsockname())
    arena = Arena(1, socket.AF_INET)
    assert core.receive_datagrams(right.fileno(), arena, 1) == 1
    assert arena.memory[:3] == b"xyz"
    assert not arena.is_truncated(0)


class _Cutting:
    """What a socket of Windows says of a datagram that is too large."""

    def __init__(self, number):
        self.number = number

    def recvfrom_into(self, room):
        raise OSError(self.number, "too large")


def test_without_recvmsg_a_datagram_that_is_cut_is_told(monkeypatch):
    monkeypatch.setattr(core, "_HAS_RECVMSG", False)
    arena = Arena(1, socket.AF_INET, 8)
    with memoryview(arena.memory) as room:
        core._receive(_Cutting(core._WSAEMSGSIZE), arena, 0, room)
        assert arena.is_truncated(0)
        assert arena.sizes[0] == 9
        with pytest.raises(OSError, match="too large"):
            core._receive(_Cutting(errno.EIO), arena, 0, room)


def test_one_list_of_control_messages_is_for_all(pair):
    left, right = pair
    peer = encode_address(right.getsockname())
    tried = core.send_past(
        left.fileno(),
        [b"a", b"b"],
        [1, 1],
        [0, 0],
        [peer],
        (),
        bytes(256),
        [()],
    )
    assert (tried.errors, tried.stopped) == (bytes(2), 0)
    assert [right.recv(9) for _ in "ab"] == [b"a", b"b"]


def test_the_connected_peer_has_no_address(pair):
    left, right = pair
    left.connect(right.getsockname())
    tried = core.send_past(
        left.fileno(), [b"a"], [1], [0], [b""], (), bytes(256)
    )
    assert tried.errors == bytes(1)
    assert right.recv(9) == b"a"


def test_a_peer_of_another_family_stops_what_is_sent(pair):
    left, _ = pair
    tried = core.send_past(
        left.fileno(),
        [b"a"],
        [1],
        [0],
        [encode_address(("::1", 9))],
        (),
        bytes(256),
    )
    assert (tried.errors, tried.stopped) == (b"", errno.EAFNOSUPPORT)


def test_what_fails_for_the_first_slot_is_raised(pair, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(core, "_receive", fail)
    with pytest.raises(OSError, match="no memory"):
        core.receive_datagrams(pair[1].fileno(), Arena(1, socket.AF_INET), 1)
