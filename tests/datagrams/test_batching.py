"""What a call is given, made into a batch."""

import array

import pytest
from helpers import address_of, receive_all


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
