"""A Unix peer that is full is waited for."""

import errno
import os
import socket

import pytest
import trio
from helpers import address_of, no_spin, receive_all
from trio.testing import wait_all_tasks_blocked

from triobatch._datagrams import unix_peer as _unix_peer
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._queues.datagrams import Datagrams


async def test_a_full_unix_destination_is_waited_for(make_socket):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    target = address_of(receiver)
    payloads = [b"%d" % i for i in range(200)]
    queue = Datagrams((payload, target) for payload in payloads)
    async with no_spin() as nursery:
        nursery.start_soon(sender.send_batch, queue)
    arrived = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_batch, queue)
        while len(arrived) < len(payloads):
            arrived += await receiver.receive_batch()
    assert [payload for payload, _ in arrived] == payloads
    # Woken by the kernel, not by a clock: a few calls a full queue.
    assert sender.statistics().send_calls < 100


async def test_the_full_one_of_two_unix_destinations_is_waited_for(
    make_socket,
):
    sender = await make_socket("unix")
    full, empty = await make_socket("unix"), await make_socket("unix")
    queue = Datagrams((b"%d" % i, address_of(full)) for i in range(12))
    queue.append((b"last", address_of(empty)))
    async with no_spin() as nursery:
        nursery.start_soon(sender.send_batch, queue)
    assert len(queue) == 2


async def test_closing_wakes_a_sender_that_waits_for_a_unix_peer(make_socket):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(trio.ClosedResourceError):
                await sender.send_many([b"x"] * 100, address_of(receiver))

        await wait_all_tasks_blocked()
        await sender.aclose()


class Unconnectable(socket.socket):
    def connect(self, address):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class Exhausted(socket.socket):
    def __init__(self, family=-1, kind=-1, proto=-1, fileno=None):
        if fileno is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        super().__init__(family, kind, proto, fileno)


@pytest.mark.parametrize("probe", [Unconnectable, Exhausted])
async def test_without_a_probe_socket_a_unix_peer_is_waited_for_by_time(
    make_socket, monkeypatch, probe
):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    monkeypatch.setattr(_unix_peer, "BACK_OFF", 0.001)

    queue = Datagrams((b"%d" % i, address_of(receiver)) for i in range(50))
    async with trio.open_nursery() as nursery:
        monkeypatch.setattr(_unix_peer.socket, "socket", probe)
        nursery.start_soon(sender.send_batch, queue)
        await wait_all_tasks_blocked()
        payloads = await receive_all(receiver, 50)
    assert payloads == [b"%d" % i for i in range(50)]


@pytest.fixture
async def waiting_for_a_full_peer(make_socket, nursery):
    """A peer whose queue is full, and what a sender has left for it."""
    sender, full = await make_socket("unix"), await make_socket("unix")
    queue = Datagrams((b"%d" % i, address_of(full)) for i in range(12))
    outcome = []

    async def send():
        try:
            outcome.append(await sender.send_batch(queue))
        except DatagramErrorGroup as exc:
            outcome.extend(error.errno for error in exc.exceptions)

    nursery.start_soon(send)
    await wait_all_tasks_blocked()
    assert len(queue) == 1
    return full, outcome


async def test_a_full_unix_peer_may_make_way_for_another(
    make_socket, waiting_for_a_full_peer, autojump_clock
):
    full, outcome = waiting_for_a_full_peer
    other = await make_socket("unix")
    # As a new process does while the old one is stuck.
    os.rename(address_of(other), address_of(full))
    payload, _ = await other.receive()
    assert payload == b"11"
    await wait_all_tasks_blocked()
    assert outcome == [12]


async def test_a_full_unix_peer_may_turn_away(
    make_socket, waiting_for_a_full_peer, autojump_clock
):
    full, outcome = waiting_for_a_full_peer
    await full.socket.connect(address_of(await make_socket("unix")))
    await trio.sleep(2)
    assert outcome == [errno.EPERM]


async def test_where_the_system_does_not_tell_there_is_no_room(
    make_socket, monkeypatch
):
    sender = await make_socket("unix")
    assert _unix_peer.has_room(sender.socket) == _unix_peer.TELLS_OWN_ROOM
    monkeypatch.setattr(_unix_peer, "TELLS_OWN_ROOM", False)
    assert not _unix_peer.has_room(sender.socket)
