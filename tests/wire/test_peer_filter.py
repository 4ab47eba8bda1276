"""What a filter lets in, by a machine of a few lines."""

import struct

import pytest

from triobatch._wire.peer_filter import peer_filter


def lets_in(program, datagram):
    """Run it, as linux/filter.h says; ``datagram`` has words by offset."""
    instructions = list(struct.iter_unpack("HBBI", program))
    place, accumulator = 0, 0
    while True:
        code, if_so, if_not, operand = instructions[place]
        place += 1
        if code == 0x06:
            return operand != 0
        if code in {0x20, 0x28}:
            offset = operand - 2**32 if operand >= 2**31 else operand
            accumulator = datagram[code, offset]
        else:
            assert code == 0x15
            place += if_so if accumulator == operand else if_not


def datagram(protocol, port, source, *words):
    return {
        (0x20, -0x1000): protocol,
        (0x28, 0): port,
        **{(0x20, -0x100000 + source + 4 * i): w for i, w in enumerate(words)},
    }


IPV4 = (0x0800, 53, 12, 0xC0000202)
IPV6 = (0x86DD, 53, 8, 0x20010DB8, 0, 0, 1)


@pytest.mark.parametrize(
    ("address", "right"),
    [
        (("192.0.2.2", 53), IPV4),
        (("::ffff:192.0.2.2", 53, 0, 0), IPV4),
        (("2001:db8::1", 53, 0, 0), IPV6),
        (("2001:db8::1%lo", 53, 0, 1), IPV6),
    ],
)
def test_it_lets_in_the_peer_whose_each_part_is_right(address, right):
    program = peer_filter(address)
    assert lets_in(program, datagram(*right))
    for i in range(len(right)):
        if i != 2:
            wrong = [*right[:i], right[i] + 1, *right[i + 1 :]]
            assert not lets_in(program, datagram(*wrong))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_a_peer_that_the_kernel_will_choose_is_not_let_in_yet(host):
    assert not lets_in(peer_filter((host, 53)), {})


def test_only_a_comparison_has_where_to_jump():
    for code, *jumps, _ in struct.iter_unpack("HBBI", peer_filter(("::1", 1))):
        assert code == 0x15 or jumps == [0, 0]
