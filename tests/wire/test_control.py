"""Control messages, by hand."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from triobatch._wire.control import (
    UDP_GRO,
    UDP_SEGMENT,
    pack_control,
    unpack_control,
)

MESSAGES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.binary(max_size=30))
).map(tuple)


@given(MESSAGES)
def test_control_messages_survive_a_round_trip(messages):
    assert tuple(unpack_control(pack_control(messages))) == messages


@given(st.binary(max_size=100))
def test_any_bytes_end_somewhere(control):
    size = sum(len(data) for _, _, data in unpack_control(control))
    assert size <= len(control)


def test_the_layout_is_that_of_cmsg_3():
    packed = pack_control(((0, 1, b"\x02\0\0\0"),))
    assert packed == struct.pack("Nii4s4x", 20, 0, 1, b"\x02\0\0\0")
    assert len(packed) == socket.CMSG_SPACE(4)


def test_a_message_that_is_cut_behind_another_is_no_message():
    messages = ((0, 1, b"abcd"), (0, 2, b"efgh"))
    packed = pack_control(messages)
    second = len(pack_control(messages[:1]))
    whole = second + len(struct.pack("Nii4s", 0, 0, 0, b""))
    assert tuple(unpack_control(packed[:whole])) == messages
    for end in range(second, whole):
        assert tuple(unpack_control(packed[:end])) == messages[:1]


def test_the_numbers_are_those_of_linux_udp_h():
    assert (UDP_SEGMENT, UDP_GRO) == (103, 104)
