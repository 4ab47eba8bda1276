"""The Python core's calls on systems that say in other words what Linux says.

Their answers are played: nothing here needs such a system.
"""

import errno
import importlib.util
import os
import socket
import sys

import pytest

from triobatch._core.arena import Arena
from triobatch._wire.addresses import encode_address

HERE = ("127.0.0.1", 7)
THERE = ("127.0.0.1", 8)


@pytest.fixture
def core(monkeypatch):
    """The module as it is on macOS."""
    spec = importlib.util.find_spec("triobatch._core.datagrams_python")
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def connected(core, monkeypatch):
    """A function after which what is borrowed is connected to THERE."""

    class Connected(socket.socket):
        def sendto(self, payload, flags, address):
            raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))

        def getpeername(self):
            return THERE

        def send(self, payload, flags):
            return len(payload)

    return lambda: monkeypatch.setattr(socket, "socket", Connected)


class _Bsd:
    """What recvmsg(2) of macOS says."""

    def recvmsg_into(self, buffers, control_size, flags):
        # It hands on the flags that it was given.
        [room] = buffers
        size = min(5, len(room))
        room[:size] = b"hello"[:size]
        if size < 5:
            flags |= socket.MSG_TRUNC
        return size, [], flags, HERE


@pytest.mark.skipif(
    not hasattr(socket, "MSG_TRUNC"), reason="there is no MSG_TRUNC"
)
@pytest.mark.parametrize(
    ("slot_size", "told"), [(4, (5, True)), (5, (5, False)), (6, (5, False))]
)
def test_only_what_was_cut_is_marked(core, slot_size, told):
    arena = Arena(1, socket.AF_INET, slot_size)
    with memoryview(arena.memory)[:slot_size] as room:
        core._receive(_Bsd(), arena, 0, room)
    assert (arena.sizes[0], arena.is_truncated(0)) == told


@pytest.mark.parametrize(
    "send",
    [
        lambda core, fd, peer: core.send_datagram(fd, b"x", peer),
        lambda core, fd, peer: core.send_segments(fd, b"x", 1, 1, peer),
        lambda core, fd, peer: core.send_runs(fd, [b"x"], [0], peer),
        lambda core, fd, peer: core.send_datagrams(fd, b"x", [1], [0], [peer]),
    ],
)
def test_each_way_out_answers_its_peer(core, connected, send):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        connected()
        send(core, own.fileno(), encode_address(THERE))
        with pytest.raises(OSError, match=os.strerror(errno.EISCONN)):
            send(core, own.fileno(), encode_address(HERE))


@pytest.mark.skipif(errno.EISCONN > 255, reason="needs errnos of one byte")
def test_what_goes_past_the_refused_answers_its_peer(core, connected):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        connected()
        peers = [encode_address(to) for to in (THERE, HERE, THERE)]
        tried = core.send_past(
            own.fileno(),
            [b"a", b"b", b"c"],
            [1, 1, 1],
            [0, 0, 0],
            peers,
            (),
            bytes(int(number == errno.EISCONN) for number in range(256)),
        )
    assert tried.errors == bytes([0, errno.EISCONN, 0])


def test_without_an_address_it_goes_to_the_peer(core, connected):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        connected()
        core.send_datagram(own.fileno(), b"x", b"")
