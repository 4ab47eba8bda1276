"""receive_messages with only what is asked for."""

import socket

import pytest
import trio
from helpers import address_of
from needs import needs_metadata
from trio.testing import assert_checkpoints

from triobatch import Metadata
from triobatch.testing import memory_datagram_pair

HERE = Metadata(5, None, "127.0.0.1", 1)


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


def options(sock):
    """Return which of IP_PKTINFO, IP_RECVTTL and IP_RECVTOS are on."""
    return [
        sock.socket.getsockopt(socket.IPPROTO_IP, option)
        for option in (8, 12, 13)
    ]


async def ask(sender, receiver, **options):
    """Send one datagram and return the message that it is."""
    metadata = Metadata(tos=5, ttl=9)
    await sender.send(b"x", address_of(receiver), metadata=metadata)
    with assert_checkpoints():
        [message] = await receiver.receive_messages(**options)
    return message


@needs_metadata
@pytest.mark.parametrize(
    ("fields", "on"),
    [
        (set(), [0, 0, 0]),
        ({"tos"}, [0, 0, 1]),
        ({"ecn"}, [0, 0, 1]),
        (frozenset({"ttl"}), [0, 1, 0]),
        ({"local_address"}, [1, 0, 0]),
        ({"interface_index"}, [1, 0, 0]),
        ({"local_address", "ecn"}, [1, 0, 1]),
    ],
)
async def test_only_what_is_asked_is_turned_on(hosts, fields, on):
    sender, receiver = hosts
    with pytest.raises(trio.WouldBlock):
        receiver.receive_messages_nowait(fields=fields)
    assert options(receiver) == on
    message = await ask(sender, receiver, fields=fields)
    everything = Metadata(5, 9, "127.0.0.1", 1)
    assert message.metadata == everything.only(frozenset(fields))
    assert message.timestamp is None


@needs_metadata
async def test_what_is_on_is_not_seen_by_who_does_not_ask(hosts):
    sender, receiver = hosts
    everything = await ask(sender, receiver)
    assert everything.timestamp is not None
    message = await ask(sender, receiver, fields={"local_address", "ecn"})
    assert message.metadata == HERE
    assert message.timestamp is None
    assert (await ask(sender, receiver)).timestamp is not None


@needs_metadata
async def test_an_option_is_set_once(hosts, monkeypatch):
    sender, receiver = hosts
    made = []
    half = receiver._receive

    class Counting:
        family = receiver.socket.family
        fileno = receiver.socket.fileno

        def setsockopt(self, level, option, value):
            made.append((level, option))
            receiver.socket.setsockopt(level, option, value)

    monkeypatch.setattr(half, "_socket", Counting())
    for fields in ({"tos"}, {"ecn"}, {"tos", "ttl"}, {"tos"}, None, None):
        await ask(sender, receiver, fields=fields)
    assert len(made) == len(set(made)) == 4


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (["tos"], TypeError),
        ("tos", TypeError),
        ({"tos": 1}, TypeError),
        ({"TOS"}, ValueError),
        ({"timestamp"}, ValueError),
        ({1}, ValueError),
    ],
)
async def test_wrong_fields_receive_and_change_nothing(hosts, fields, error):
    sender, receiver = hosts
    await sender.send(b"x", address_of(receiver))
    with pytest.raises(error):
        await receiver.receive_messages(fields=fields)
    with pytest.raises(error):
        receiver.receive_messages_nowait(fields=fields)
    assert options(receiver) == [0, 0, 0]
    assert (await receiver.receive())[0] == b"x"


@needs_metadata
async def test_the_pair_in_memory_knows_them_too():
    left, right = memory_datagram_pair()
    four = Metadata(tos=4, ttl=9)
    await left.send_batch([(b"a", None, four), (b"b", None)])
    [first, second] = await right.receive_messages(fields={"tos"})
    assert first.metadata == Metadata(tos=4)
    assert second.metadata == Metadata()
    with pytest.raises(TypeError, match="fields must be a set"):
        right.receive_messages_nowait(fields=["tos"])
    with pytest.raises(TypeError, match="the metadata of datagram 0"):
        await left.send_batch([(b"a", None, 4)])
