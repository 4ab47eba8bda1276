"""What a call is given, made into a batch."""

import array

import pytest
from helpers import address_of, receive_all
from needs import needs_metadata

from triobatch import Datagrams, Metadata
from triobatch._datagrams import batching


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "unix"])
@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, lambda p: array.array("B", p)]
)
async def test_payloads_of_all_kinds_are_sent(make_socket, family, make):
    sender, receiver = await make_socket(family), await make_socket(family)
    target = address_of(receiver)
    for payloads in ([b"a"], [b"ab", b"cd", b"e"], [b"a", b"bc"], [b"", b""]):
        given = [make(payload) for payload in payloads]
        assert await sender.send_many(given, target) == len(payloads)
        assert await receive_all(receiver, len(payloads)) == payloads
        pairs = [(payload, target) for payload in given]
        assert await sender.send_batch(pairs) == len(payloads)
        assert await receive_all(receiver, len(payloads)) == payloads


async def test_an_address_whose_look_up_changes_the_list(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)

    class Port(int):
        def __hash__(self):
            pairs.clear()
            return int.__hash__(self)

    pairs = [(b"a", (target[0], Port(target[1]))), (b"b", target)]
    # What is sent is what was there at the time; nothing of it is freed.
    await sender.send_batch(pairs)
    assert pairs == []


@needs_metadata
@pytest.mark.parametrize("own", [True, False])
async def test_a_list_of_one_size_takes_its_metadata_along(make_socket, own):
    sender, receiver = await make_socket(), await make_socket()
    target, asked = address_of(receiver), Metadata(ttl=7)
    await sender.send(b"x", target)
    await receiver.receive_messages(fields={"ttl"})
    pairs = [(b"a", target), (b"b", target, asked if own else None)]
    await sender.send_batch(pairs, metadata=None if own else asked)
    if not own:
        await sender.send_batch([(b"c", target)] * 2, metadata=asked)
    count = 2 if own else 4
    messages = []
    while len(messages) < count:
        messages += await receiver.receive_messages(fields={"ttl"})
    assert [m.metadata.ttl == 7 for m in messages] == [not own] + [True] * (
        count - 1
    )


WAYS = {
    "send": lambda sock, to: sock.send(b"x", to),
    "send_many": lambda sock, to: sock.send_many([b"x"], to),
    "send_batch": lambda sock, to: sock.send_batch([(b"x", to)]),
    "send_segments": lambda sock, to: sock.send_segments(b"x", 1, to),
    "a queue": lambda sock, to: sock.send_batch(Datagrams([(b"x", to)])),
    "mixed": lambda sock, to: sock.send_batch([(b"x", to, Metadata())]),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_what_equals_a_known_address_stands_for_it(make_socket, way):
    sender, receiver = await make_socket(), await make_socket()
    host, port = address_of(receiver)
    with pytest.raises(TypeError, match="must be an int, not float"):
        await way(sender, (host, float(port)))
    await way(sender, (host, port))
    await way(sender, (host, float(port)))
    assert await receive_all(receiver, 2) == [b"x", b"x"]


@needs_metadata
async def test_of_many_metadata_the_last_are_remembered(
    make_socket, monkeypatch
):
    monkeypatch.setattr(batching, "MAX_CONTROLS", 2)
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    await sender.send(b"x", target)
    await receiver.receive_messages(fields={"ttl"})
    for ttl in range(1, 6):
        await sender.send(b"x", target, metadata=Metadata(ttl=ttl))
        [message] = await receiver.receive_messages(fields={"ttl"})
        assert message.metadata.ttl == ttl
        assert 1 <= len(sender._send._controls) <= 2
