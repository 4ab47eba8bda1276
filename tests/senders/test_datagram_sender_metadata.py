"""Metadata on its way through a batch sender."""

import pytest
import trio
from helpers import address_of
from needs import needs_metadata

from triobatch import Buffers, Datagrams, Metadata, open_batch_sender

FOUR, EIGHT, TWELVE = (Metadata(tos=tos) for tos in (4, 8, 12))


@pytest.fixture
async def hosts(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    receiver._receive.messages(None)
    return sender, receiver


def arrived(sock):
    """Return ``(payload, tos)`` of what has come."""
    found = []
    try:
        while True:
            found += [
                (message.payload, message.metadata.tos)
                for message in sock.receive_messages_nowait()
            ]
    except trio.WouldBlock:
        return found


async def by_send(sender, data, to, **options):
    await sender.send(data, to, **options)


async def by_send_nowait(sender, data, to, **options):
    sender.send_nowait(data, to, **options)
    await sender.flush()


async def by_queue(sender, data, to, **options):
    await sender.queue(data, to, **options)
    await sender.flush()


async def by_send_batch(sender, data, to, **options):
    await sender.send_batch([(bytes(data), to)], **options)


WAYS = [by_send, by_send_nowait, by_queue, by_send_batch]


@needs_metadata
@pytest.mark.parametrize("make", [bytes, bytearray, lambda b: Buffers([b])])
@pytest.mark.parametrize("way", WAYS)
async def test_each_way_takes_metadata_and_has_a_default(hosts, way, make):
    sock, receiver = hosts
    to = address_of(receiver)
    async with open_batch_sender(sock) as sender:
        await way(sender, make(b"a"), to, metadata=FOUR)
        await way(sender, make(b"b"), to)
        sender.metadata = EIGHT
        await way(sender, make(b"c"), to)
        await way(sender, make(b"d"), to, metadata=FOUR)
    assert arrived(receiver) == [(b"a", 4), (b"b", 0), (b"c", 8), (b"d", 4)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("metadata", "error"),
    [({"tos": 4}, TypeError), ("x", TypeError), (Metadata(ttl=0), ValueError)],
)
async def test_impossible_metadata_queue_nothing(hosts, way, metadata, error):
    sock, receiver = hosts
    async with open_batch_sender(sock) as sender:
        with pytest.raises(error):
            await way(sender, b"a", address_of(receiver), metadata=metadata)
        assert sender.statistics().messages == 0
    assert arrived(receiver) == []


async def test_a_batch_says_which_metadata_are_impossible(hosts):
    sock, receiver = hosts
    to = address_of(receiver)
    queue = Datagrams([(b"a", to), (b"b", to, Metadata(tos=-1))])
    async with open_batch_sender(sock) as sender:
        with pytest.raises(ValueError, match="datagram 1: tos must be"):
            await sender.send_batch(queue)
        with pytest.raises(TypeError, match="metadata of datagram 1 must"):
            await sender.send_batch([(b"a", to), (b"b", to, 3)])
    assert len(queue) == 2
    assert arrived(receiver) == []


@needs_metadata
async def test_metadata_of_many_tasks_go_in_one_call(hosts):
    sock, receiver = hosts
    to = address_of(receiver)
    async with open_batch_sender(sock) as sender:
        for i in range(30):
            sender.send_nowait(b"%02d" % i, to, metadata=(FOUR, EIGHT)[i > 9])
        queue = Datagrams([(b"x", to, TWELVE), (b"y", to)])
        await sender.send_batch(queue, metadata=FOUR)
        assert not queue
    assert sock.statistics().send_calls == 1
    assert sock.statistics().gso_runs == 2
    assert arrived(receiver) == [
        (b"%02d" % i, 8 if i > 9 else 4) for i in range(30)
    ] + [(b"x", 12), (b"y", 4)]


@needs_metadata
async def test_what_is_unsent_has_its_metadata(hosts, play):
    sock, receiver = hosts
    to = address_of(receiver)
    play(sock, ["EBADF"])
    sender = None
    with pytest.raises(
        (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
    ):
        async with open_batch_sender(sock) as sender:
            sender.send_nowait(b"a", to, metadata=FOUR)
            sender.send_nowait(b"b", to)
    assert sender.unsent == [(b"a", to, FOUR), (b"b", to)]


@needs_metadata
async def test_the_refused_of_a_queue_keep_their_metadata(hosts):
    sock, receiver = hosts
    to, nowhere = address_of(receiver), ("127.0.0.1", 0)
    queue = Datagrams([(b"a", nowhere, FOUR), (b"b", to, EIGHT)])
    async with open_batch_sender(sock) as sender:
        with pytest.RaisesGroup(OSError) as group:
            await sender.send_batch(queue)
    assert group.value.exceptions[0].address == nowhere
    assert list(queue) == [(b"a", nowhere, FOUR)]
    assert arrived(receiver) == [(b"b", 8)]
