"""sendto(2) of a BSD: its answers are played, as Linux gives others."""

import errno
import socket

import pytest

from triobatch._core.bsd_sendto import sendto
from triobatch._wire.addresses import AF_UNIX

HERE = ("127.0.0.1", 7)
THERE = ("127.0.0.1", 8)


class _Bsd:
    """A socket as macOS has it: connected, or a full peer's."""

    def __init__(self, family, peer=None, full=False):
        self.family = family
        self.peer = peer
        self.full = full
        self.log = []

    def send(self, payload, flags):
        assert flags == 9
        self.log.append((payload, None))
        if self.full:
            raise OSError(errno.ENOBUFS, "No buffer space available")

    def sendto(self, payload, flags, address):
        assert flags == 9
        if self.peer:
            raise OSError(errno.EISCONN, "Socket is already connected")
        self.log.append((payload, address))
        if self.full:
            raise OSError(errno.ENOBUFS, "No buffer space available")

    def getpeername(self):
        return self.peer


@pytest.mark.parametrize("to", [HERE, None])
def test_a_datagram_is_sent_with_one_call(to):
    sock = _Bsd(socket.AF_INET)
    sendto(sock, b"x", 9, to)
    assert sock.log == [(b"x", to)]


@pytest.mark.parametrize(
    ("peer", "to"),
    [
        (HERE, HERE),
        (("::1", 7, 0, 0), ("::1", 7, 0, 0)),
        (("::1", 7, 0, 3), ("::1", 7)),
        ("/here", "/here"),
    ],
)
def test_a_connected_socket_answers_its_peer(peer, to):
    sock = _Bsd(socket.AF_INET, peer)
    sendto(sock, b"x", 9, to)
    assert sock.log == [(b"x", None)]


@pytest.mark.parametrize(
    ("peer", "to"),
    [
        (HERE, THERE),
        (HERE, ("127.0.0.2", 7)),
        ("/here", "/there"),
        (("fe80::1", 7, 0, 3), ("fe80::1", 7, 0, 4)),
    ],
)
def test_a_connected_socket_sends_to_nobody_else(peer, to):
    sock = _Bsd(socket.AF_INET, peer)
    with pytest.raises(OSError, match="already connected"):
        sendto(sock, b"x", 9, to)
    assert sock.log == []


@pytest.mark.parametrize("to", ["/there", None])
def test_a_unix_peer_without_room_is_full(to):
    sock = _Bsd(AF_UNIX, full=True)
    with pytest.raises(BlockingIOError):
        sendto(sock, b"x", 9, to)
    assert sock.log == [(b"x", to)]


def test_a_connected_unix_peer_without_room_is_full_by_its_name_too():
    sock = _Bsd(AF_UNIX, peer="/there", full=True)
    with pytest.raises(BlockingIOError):
        sendto(sock, b"x", 9, "/there")
    assert sock.log == [(b"x", None)]


@pytest.mark.parametrize("to", [THERE, None])
def test_an_interface_without_room_is_congested(to):
    sock = _Bsd(socket.AF_INET, full=True)
    with pytest.raises(OSError, match="No buffer space") as caught:
        sendto(sock, b"x", 9, to)
    assert caught.value.errno == errno.ENOBUFS
