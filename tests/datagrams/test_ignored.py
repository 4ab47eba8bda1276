"""Refused datagrams that are counted and dropped: ``errors="ignore"``."""

import socket

import pytest
import trio
from helpers import address_of, cancelled_when_blocked, receive_all, received
from trio.testing import assert_checkpoints

from triobatch import open_batch_sender
from triobatch._datagrams.errors import DatagramError, DatagramErrorGroup
from triobatch._datagrams.run import Run
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import Datagrams

NOWHERE = ("127.0.0.1", 0)

RUNS = [Run(bytes(40), 10), Run(bytes(10), 10)]

# Every way to send: how many datagrams it makes, and the call.
WAYS = {
    "send": (1, lambda s, to, **kw: s.send(b"x", to, **kw)),
    "send_nowait": (1, lambda s, to, **kw: s.send_nowait(b"x", to, **kw)),
    "send_batch": (
        5,
        lambda s, to, **kw: s.send_batch([(b"x", to)] * 5, **kw),
    ),
    "send_batch_nowait": (
        5,
        lambda s, to, **kw: s.send_batch_nowait(
            Datagrams([(b"x", to)] * 5), **kw
        ),
    ),
    "send_many": (5, lambda s, to, **kw: s.send_many([b"x"] * 5, to, **kw)),
    "send_many_nowait": (
        5,
        lambda s, to, **kw: s.send_many_nowait([b"x"] * 5, to, **kw),
    ),
    "send_runs": (5, lambda s, to, **kw: s.send_runs(RUNS, to, **kw)),
    "send_runs_nowait": (
        5,
        lambda s, to, **kw: s.send_runs_nowait(RUNS, to, **kw),
    ),
    "send_segments": (
        5,
        lambda s, to, **kw: s.send_segments(bytes(50), 10, to, **kw),
    ),
    "send_segments_nowait": (
        5,
        lambda s, to, **kw: s.send_segments_nowait(bytes(50), 10, to, **kw),
    ),
}


async def call(way, sock, to, **options):
    result = WAYS[way][1](sock, to, **options)
    return result if way.endswith("nowait") else await result


def test_no_way_to_send_is_forgotten():
    assert set(WAYS) == {
        name for name in dir(DatagramSocket) if name.startswith("send")
    }


@pytest.mark.parametrize("way", WAYS)
async def test_refused_datagrams_are_counted_and_no_errors(make_socket, way):
    sock = await make_socket()
    count = WAYS[way][0]
    assert await call(way, sock, NOWHERE, errors="ignore") in {0, None}
    assert sock.statistics().refused == count
    with pytest.raises((DatagramError, DatagramErrorGroup)):
        await call(way, sock, NOWHERE)
    assert sock.statistics().refused == 2 * count
    assert sock.statistics().datagrams_sent == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("errors", ["strict", None, True])
async def test_what_is_no_choice_is_refused(make_socket, way, errors):
    sock = await make_socket()
    with pytest.raises(ValueError, match="errors must be 'raise' or"):
        await call(way, sock, address_of(sock), errors=errors)
    assert await received(sock) == []


@pytest.mark.parametrize("at", ["first", "last", "every other", "all"])
@pytest.mark.parametrize("equal", [True, False])
async def test_the_others_are_sent_and_a_queue_is_empty(
    make_socket, at, equal
):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    bad = {
        "first": lambda i: i < 100,
        "last": lambda i: i >= 100,
        "every other": lambda i: i % 2,
        "all": lambda i: True,
    }[at]
    payloads = [b"%03d" % i + bytes(0 if equal else i % 7) for i in range(200)]
    queue = Datagrams(
        (payload, NOWHERE if bad(i) else target)
        for i, payload in enumerate(payloads)
    )
    good = [p for i, p in enumerate(payloads) if not bad(i)]
    with assert_checkpoints():
        assert await sender.send_batch(queue, errors="ignore") == len(good)
    assert len(queue) == 0
    assert await received(receiver) == good
    assert sender.statistics().refused == 200 - len(good)


async def test_a_gathered_datagram_that_is_dropped_is_consumed(make_socket):
    sock = await make_socket()
    for send in (sock.send, sock.send_nowait):
        data = Buffers([b"a", b"b"])
        result = send(data, NOWHERE, errors="ignore")
        if result is not None:
            await result
        assert not data
    data = Buffers([b"a", b"b"])
    with pytest.raises(DatagramError):
        await sock.send(data, NOWHERE)
    assert data.nbytes == 2


async def test_what_waits_is_not_dropped(datagram_pair):
    left, right = datagram_pair
    queue = Datagrams([(b"x", "/nowhere")] + [(bytes(4000), None)] * 500)
    sent = left.send_batch_nowait(queue, errors="ignore")
    assert 0 < sent == 500 - len(queue)
    with pytest.raises(trio.WouldBlock):
        left.send_batch_nowait(queue, errors="ignore")
    assert len(await receive_all(right, sent)) == sent


async def test_a_dropped_datagram_is_progress_though_nothing_goes(
    make_socket, play
):
    sock = await make_socket()
    play(sock, ["EPERM", "EAGAIN"])
    queue = Datagrams([(b"a", address_of(sock)), (b"bb", address_of(sock))])
    assert sock.send_batch_nowait(queue, errors="ignore") == 0
    assert [payload for payload, _ in queue] == [b"bb"]


async def test_a_cancelled_queue_has_lost_the_dropped_ones_only(
    datagram_pair,
):
    left, _ = datagram_pair
    queue = Datagrams([(b"x", "/nowhere")] + [(bytes(4000), None)] * 500)
    async with cancelled_when_blocked() as scope:
        await left.send_batch(queue, errors="ignore")
    assert scope.cancelled_caught
    assert len(queue) == 500 - left.statistics().datagrams_sent
    assert left.statistics().refused == 1


async def test_an_unnamed_peer_does_not_end_an_echo_server(make_socket):
    server = await make_socket("unix")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"who am I", address_of(server))
    batch = await server.receive_batch()
    assert batch == [(b"who am I", None)]
    assert await server.send_batch(batch, errors="ignore") == 0
    with pytest.raises(DatagramErrorGroup) as info:
        await server.send_batch(batch)
    (error,) = info.value.exceptions
    assert str(error).endswith(
        "datagram 0 without an address, on a socket that is not connected"
    )


# What a batch sender has that sends and tells.
SENDER_WAYS = {
    "send": lambda s, to, **kw: s.send(b"x", to, **kw),
    "send_buffers": lambda s, to, **kw: s.send(Buffers([b"x"]), to, **kw),
    "send_batch": lambda s, to, **kw: s.send_batch([(b"x", to)], **kw),
}


@pytest.mark.parametrize("way", SENDER_WAYS)
async def test_a_batch_sender_ignores_where_it_is_told(make_socket, way):
    sock = await make_socket()
    send = SENDER_WAYS[way]
    async with open_batch_sender(sock) as sender:
        with pytest.raises((DatagramError, DatagramErrorGroup)):
            await send(sender, NOWHERE)
        with assert_checkpoints():
            assert await send(sender, NOWHERE, errors="ignore") in {0, None}
        sender.errors = "ignore"
        assert await send(sender, NOWHERE) in {0, None}
        with pytest.raises((DatagramError, DatagramErrorGroup)):
            await send(sender, NOWHERE, errors="raise")
        with pytest.raises(ValueError, match="errors must be"):
            await send(sender, NOWHERE, errors="strict")
    assert sender.statistics().refused == 4
    assert sock.statistics().refused == 4


async def test_a_batch_sender_drops_the_refused_of_a_queue(make_socket):
    sender_socket, receiver = await make_socket(), await make_socket()
    queue = Datagrams(
        (b"%d" % i, NOWHERE if i % 2 else address_of(receiver))
        for i in range(10)
    )
    async with open_batch_sender(sender_socket) as sender:
        assert await sender.send_batch(queue, errors="ignore") == 5
    assert len(queue) == 0
    assert await received(receiver) == [b"%d" % i for i in range(0, 10, 2)]


async def test_an_error_of_a_lone_datagram_has_no_number(make_socket):
    sock = await make_socket()
    for way in ("send", "send_nowait"):
        with pytest.raises(DatagramError) as info:
            await call(way, sock, NOWHERE)
        assert str(info.value).endswith(
            "Invalid argument: to ('127.0.0.1', 0)"
        )
        assert info.value.index == 0
    async with open_batch_sender(sock) as sender:
        with pytest.raises(DatagramError, match=r"argument: to \("):
            await sender.send(b"x", NOWHERE)
        with pytest.raises(DatagramErrorGroup) as group:
            await sender.send_batch([(b"x", NOWHERE)])
    assert "datagram 0 to" in str(group.value.exceptions[0])
