"""The kernel's own moving of bytes, call by call."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys

import extensions
import pytest

if sys.platform != "linux":
    pytest.skip("the C core is for Linux", allow_module_level=True)

splice_c = extensions.load("triobatch._core.splice_c", extensions.C_CORE)

SIGPIPE = {signal.SIGPIPE}


@pytest.fixture
def sockets():
    """Return two pairs, non-blocking: what comes, and where it goes."""
    pairs = [socket.socketpair() for _ in range(2)]
    for pair in pairs:
        for sock in pair:
            sock.setblocking(False)
    yield [sock for pair in pairs for sock in pair]
    for pair in pairs:
        for sock in pair:
            sock.close()


@pytest.fixture
def default_sigpipe():
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGPIPE, before)


def test_a_relay_says_what_it_waits_for(sockets):
    source, a, b, target = sockets
    with splice_c.Relay() as relay:

        def move(size=2**20):
            return relay.move(a.fileno(), b.fileno(), size)

        assert move() == splice_c.WAIT_SOURCE
        source.send(b"abc")
        assert move() == splice_c.WAIT_SOURCE
        assert target.recv(10) == b"abc"
        source.send(b"defg")
        assert move(1) == splice_c.TURN
        assert relay.sent == 7
        assert relay.calls == (2, 2)
        while True:
            source.send(bytes(2**12))
            if move() == splice_c.WAIT_TARGET:
                break
        assert relay.received - relay.sent == 2**12
        while relay.received != relay.sent:
            target.recv(2**16)
            move()
        source.close()
        assert move() == splice_c.ENDED


def test_a_relay_closes_its_pipe(sockets):
    before = os.listdir("/proc/self/fd")
    with splice_c.Relay():
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.usefixtures("default_sigpipe")
@pytest.mark.parametrize("way", ["relay", "file"])
@pytest.mark.parametrize("pending", [False, True])
def test_sigpipe_is_held_off_and_taken(sockets, tmp_path, way, pending):
    source, a, b, target = sockets
    target.close()
    source.send(b"abc")
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGPIPE)
    if pending:
        signal.raise_signal(signal.SIGPIPE)
    else:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with (
        path.open("rb") as file,
        splice_c.Relay() as relay,
        pytest.raises(BrokenPipeError),
    ):
        if way == "relay":
            relay.move(a.fileno(), b.fileno(), 10)
        else:
            splice_c.send_file(b.fileno(), file.fileno(), 0, 3)
    # One that was pending before stays.
    assert (signal.SIGPIPE in signal.sigpending()) == pending
    if pending:
        assert signal.sigwait(SIGPIPE) == signal.SIGPIPE
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_closed_descriptor_is_told(sockets):
    with splice_c.Relay() as relay, pytest.raises(OSError, match="Bad file"):
        relay.move(-1, -1, 10)
    for call in (
        lambda: splice_c.send_file(-1, -1, 0, 1),
        lambda: splice_c.send_more(-1, b"a"),
    ):
        with pytest.raises(OSError, match="Bad file") as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_more_is_held_until_the_rest_comes(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as left,
    ):
        right, _ = server.accept()
        with right:
            assert splice_c.send_more(left.fileno(), b"ab") == 2
            right.setblocking(False)
            with pytest.raises(BlockingIOError):
                right.recv(10)
            left.send(b"cd")
            right.settimeout(60)
            assert right.recv(10) == b"abcd"


@pytest.mark.parametrize("piece", [b"abc", bytearray(b"abc")])
def test_a_piece_of_which_more_will_follow_is_sent(sockets, piece):
    left, right, *_ = sockets
    assert splice_c.send_more(left.fileno(), piece) == 3
    assert right.recv(9) == b"abc"
    right.close()
    with pytest.raises(BrokenPipeError):
        splice_c.send_more(left.fileno(), piece)


def test_a_part_of_a_file_goes_to_an_open_socket_only(sockets, tmp_path):
    left, right, *_ = sockets
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        assert splice_c.send_file(left.fileno(), file.fileno(), 1, 9) == 2
        assert right.recv(9) == b"bc"
        right.close()
        with pytest.raises(BrokenPipeError):
            splice_c.send_file(left.fileno(), file.fileno(), 0, 9)
