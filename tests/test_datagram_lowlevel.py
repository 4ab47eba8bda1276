"""The system calls themselves."""

import errno
import mmap
import socket

import pytest

from triobatch._datagram_lowlevel import recvmmsg, sendmmsg


@pytest.fixture
def sockets():
    datagram_pair = [
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab"
    ]
    with datagram_pair[0], datagram_pair[1]:
        for sock in datagram_pair:
            sock.bind(("127.0.0.1", 0))
        yield datagram_pair


def test_datagrams_go_and_come_with_their_sizes_and_senders(sockets):
    left, right = sockets
    target = right.getsockname()
    pairs = [(payload, target) for payload in (b"one", b"", b"three")]
    assert sendmmsg(left.fileno(), pairs) == 3
    buffer = bytearray(40)
    name = left.getsockname()
    assert recvmmsg(right.fileno(), buffer, 10) == [
        (3, name, 0),
        (0, name, 0),
        (5, name, 0),
    ]
    assert buffer == b"one".ljust(20, b"\0") + b"three".ljust(20, b"\0")
    buffer.append(0)


def test_nothing_is_sent_of_nothing(sockets):
    assert sendmmsg(sockets[0].fileno(), []) == 0


def test_64_are_offered(sockets):
    left, right = sockets
    pairs = [(b"x", right.getsockname())] * 100
    assert sendmmsg(left.fileno(), pairs) == 64
    assert len(recvmmsg(right.fileno(), bytearray(100), 1)) == 64


def test_a_blocking_socket_does_not_block(sockets):
    with pytest.raises(BlockingIOError):
        recvmmsg(sockets[0].fileno(), bytearray(10), 10)


def test_a_datagram_that_was_cut_is_marked(sockets):
    left, right = sockets
    sendmmsg(left.fileno(), [(bytes(20), right.getsockname())])
    ((size, _, flags),) = recvmmsg(right.fileno(), bytearray(10), 10)
    assert (size, flags) == (20, socket.MSG_TRUNC)


def test_an_error_is_that_of_the_first_datagram(sockets):
    left, right = sockets
    pairs = [(b"x", right.getsockname()), (b"x", ("127.0.0.1", 0))]
    assert sendmmsg(left.fileno(), pairs) == 1
    with pytest.raises(OSError, match="Invalid") as info:
        sendmmsg(left.fileno(), pairs[1:])
    assert info.value.errno == errno.EINVAL


@pytest.mark.parametrize("slot_size", [0, -1, 11])
def test_a_slot_must_fit_the_buffer(sockets, slot_size):
    with pytest.raises(ValueError, match="slot_size"):
        recvmmsg(sockets[0].fileno(), bytearray(10), slot_size)


def test_receiving_into_a_buffer_maps_no_memory(sockets, monkeypatch):
    left, right = sockets
    sendmmsg(left.fileno(), [(b"x", right.getsockname())])
    monkeypatch.delattr(mmap, "mmap")
    assert recvmmsg(right.fileno(), bytearray(10), 10)[0][0] == 1
