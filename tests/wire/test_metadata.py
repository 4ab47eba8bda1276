"""What an IP header says, by hand and through the kernel."""

import socket
import struct
import sys
import time

import pytest
import trio
from network import needs_namespaces, two_hosts

from triobatch._core.probes import gso_segments
from triobatch._datagrams.socket import DatagramSocket
from triobatch._wire.control import (
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    pack_control,
)
from triobatch._wire.metadata import (
    IP_PKTINFO,
    IPV6_PKTINFO,
    SO_TIMESTAMPNS,
    Metadata,
    check_fields,
    decode_metadata,
    encode_metadata,
    metadata_options,
)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="metadata are known for Linux only"
)

BROADCAST = "255.255.255.255"


def test_nothing_asked_is_nothing_sent():
    assert encode_metadata(Metadata(), socket.AF_INET) == ()
    assert encode_metadata(Metadata(), socket.AF_INET6) == ()


def test_all_of_it_fits_what_the_core_takes():
    everything = Metadata(tos=1, ttl=2, local_address="::1", interface_index=3)
    packed = pack_control(encode_metadata(everything, socket.AF_INET6))
    assert len(packed) == 136


@pytest.mark.parametrize(
    "metadata",
    [
        Metadata(tos=256),
        Metadata(tos=-1),
        Metadata(ttl=0),
        Metadata(ttl=256),
        Metadata(local_address="::1"),
        Metadata(local_address="localhost"),
        Metadata(local_address="127.0.0.1\0"),
        Metadata(local_address="\ud800"),
        Metadata(interface_index=-1),
        Metadata(interface_index=2**31),
        Metadata(interface_index=2**40),
    ],
)
def test_impossible_metadata_is_a_value_error(metadata):
    with pytest.raises(ValueError, match=r"must be") as caught:
        encode_metadata(metadata, socket.AF_INET)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("tos", (0, 255)),
        ("ttl", (1, 255)),
        ("interface_index", (0, 2**31 - 1)),
    ],
)
def test_the_first_and_the_last_number_are_possible(name, numbers):
    for number in numbers:
        metadata = Metadata(**{name: number})
        assert len(encode_metadata(metadata, socket.AF_INET)) == 1


@pytest.mark.parametrize("name", ["tos", "ttl", "interface_index"])
def test_metadata_that_is_no_number_is_a_type_error(name):
    for value in (1.5, "1"):
        with pytest.raises(TypeError, match=f"{name} must be an int, not"):
            encode_metadata(Metadata(**{name: value}), socket.AF_INET)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("host", [5, b"127.0.0.1"])
def test_a_local_address_that_is_no_text_is_a_type_error(family, host):
    with pytest.raises(TypeError, match="local_address must be a str, not"):
        encode_metadata(Metadata(local_address=host), family)


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("::1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("ff::1", "ff::1"),
        ("224.0.0.1", None),
        (None, None),
    ],
)
def test_a_multicast_address_is_none_to_answer_from(asked, answers):
    reply = Metadata(local_address=asked, interface_index=1).for_reply()
    assert reply == Metadata(local_address=answers)


@pytest.mark.parametrize("index", [7, None])
def test_an_ipv6_multicast_is_answered_from_its_interface(index):
    metadata = Metadata(3, 64, "ff02::1", index)
    assert metadata.for_reply() == Metadata(interface_index=index)


@pytest.mark.parametrize(
    ("asked", "index", "answers"),
    [
        ("fe80::1", 7, Metadata(None, None, "fe80::1", 7)),
        ("fe80::1", None, Metadata()),
        ("fd00::1", 7, Metadata(local_address="fd00::1")),
        ("fd00::1", None, Metadata(local_address="fd00::1")),
        ("10.0.0.1", 7, Metadata(local_address="10.0.0.1")),
        # It may be the broadcast address of a network: nobody has said.
        ("10.0.0.255", None, Metadata()),
        ("::ffff:10.0.0.1", 7, Metadata(local_address="::ffff:10.0.0.1")),
        ("::ffff:10.0.0.255", None, Metadata()),
        ("::ffff:224.0.0.1", 7, Metadata()),
        ("127.0.0.9", None, Metadata(local_address="127.0.0.9")),
        ("127.255.255.255", None, Metadata()),
    ],
)
def test_what_may_be_no_address_of_ours_is_none_to_answer_from(
    asked, index, answers
):
    metadata = Metadata(tos=3, local_address=asked, interface_index=index)
    assert metadata.for_reply() == answers


def pktinfo(index, local, destination):
    packed = struct.pack(
        "=i4s4s",
        index,
        socket.inet_aton(local),
        socket.inet_aton(destination),
    )
    return SOL_IP, IP_PKTINFO, packed


def pktinfo6(index, destination):
    packed = socket.inet_pton(socket.AF_INET6, destination)
    return SOL_IPV6, IPV6_PKTINFO, packed + struct.pack("=i", index)


@pytest.mark.parametrize(
    ("control", "host", "index"),
    [
        # A broadcast: the address of the interface that it came in by.
        ([pktinfo(2, "10.0.0.2", "10.0.0.255")], "10.0.0.2", 2),
        # Queued before the option was on.
        ([pktinfo(0, "0.0.0.0", "10.0.0.255")], "10.0.0.255", None),
        # The same on a dual-stack socket, whichever comes first.
        (
            [
                pktinfo6(2, "::ffff:10.0.0.255"),
                pktinfo(2, "10.0.0.2", "10.0.0.255"),
            ],
            "::ffff:10.0.0.2",
            2,
        ),
        (
            [
                pktinfo(2, "10.0.0.2", "10.0.0.255"),
                pktinfo6(2, "::ffff:10.0.0.255"),
            ],
            "::ffff:10.0.0.2",
            2,
        ),
    ],
)
def test_a_broadcast_came_to_the_address_of_its_interface(
    control, host, index
):
    metadata, _ = decode_metadata(pack_control(tuple(control)))
    assert (metadata.local_address, metadata.interface_index) == (host, index)


def test_ecn_is_the_low_end_of_the_traffic_class():
    assert Metadata(tos=0xB9).ecn == 1
    assert Metadata().ecn is None


@pytest.mark.parametrize("tos", [b"\x07", b"\x07\0\0\0"])
def test_a_traffic_class_may_be_a_byte_or_a_word(tos):
    metadata, timestamp = decode_metadata(pack_control(((0, 1, tos),)))
    assert metadata == Metadata(tos=7)
    assert timestamp is None


@pytest.mark.parametrize(
    ("family", "host"), [("ipv4", "127.0.0.1"), ("ipv6", "::1")]
)
async def test_what_is_asked_of_the_header_is_what_arrives(
    make_socket, family, host
):
    receiver, sender = await make_socket(family), await make_socket(family)
    with pytest.raises(trio.WouldBlock):
        receiver.receive_messages_nowait()
    target = receiver.socket.getsockname()
    asked = Metadata(tos=0xB9, ttl=33, local_address=host)
    before = time.time_ns()
    await sender.send(b"lone", target, metadata=asked)
    await sender.send_many([b"train"] * 3, target, metadata=asked)
    await sender.send_batch([(b"batch", target)], metadata=asked)
    await sender.send_segments(b"segment", 4, target, metadata=asked)
    messages = []
    while len(messages) < 7:
        messages += await receiver.receive_messages()
    assert [message.payload for message in messages] == [
        b"lone",
        *[b"train"] * 3,
        b"batch",
        b"segm",
        b"ent",
    ]
    for message in messages:
        metadata = message.metadata
        assert (metadata.tos, metadata.ttl, metadata.ecn) == (0xB9, 33, 1)
        assert metadata.local_address == host
        assert metadata.interface_index == socket.if_nametoindex("lo")
        assert before - 10**9 < message.timestamp <= time.time_ns()
        assert message.address == sender.socket.getsockname()
        assert (message.truncated, message.size) == (
            False,
            len(message.payload),
        )


async def test_each_run_of_a_batch_has_the_metadata_that_is_asked(
    make_socket,
):
    receiver, sender = await make_socket(), await make_socket()
    with pytest.raises(trio.WouldBlock):
        receiver.receive_messages_nowait()
    target = receiver.socket.getsockname()
    for tos in (0x28, 0xB8):
        asked = Metadata(tos=tos, ttl=tos)
        # Two runs and a datagram alone, in one call.
        await sender.send_batch(
            [(bytes(size), target) for size in (8, 8, 9, 9, 10)],
            metadata=asked,
        )
        messages = []
        while len(messages) < 5:
            messages += await receiver.receive_messages()
        for message in messages:
            assert (message.metadata.tos, message.metadata.ttl) == (tos, tos)
    # Refused, they would have gone again, unsegmented and right.
    assert sender.statistics().gso_refusals == {}
    assert sender.statistics().gso_runs == (4 if gso_segments() > 1 else 0)


IPV4_INFO = (0, 8, struct.pack("=i4s4s", 3, bytes(range(4)), bytes(4)))
IPV6_INFO = (41, 50, struct.pack("=16si", bytes(15) + b"\1", 3))


def test_a_broadcast_is_answered_from_the_address_that_is_ours():
    local, broadcast = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 255])
    info = (0, 8, struct.pack("=i4s4s", 0, local, broadcast))
    metadata, _ = decode_metadata(pack_control((info,)))
    assert metadata == Metadata(local_address="10.0.0.1")


@pytest.mark.parametrize(
    "control", [(IPV4_INFO, IPV6_INFO), (IPV6_INFO, IPV4_INFO)]
)
def test_a_dual_stack_socket_has_an_ipv6_address(control):
    metadata, _ = decode_metadata(pack_control(control))
    assert metadata == Metadata(local_address="::1", interface_index=3)


async def test_an_answer_leaves_from_the_address_that_was_asked(make_socket):
    client = await make_socket()
    server = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await server.bind(("0.0.0.0", 0))
    asked = ("127.0.0.9", server.getsockname()[1])
    async with DatagramSocket(server) as answering:
        await client.send(b"question", asked)
        (message,) = await answering.receive_messages()
        assert message.metadata.local_address == "127.0.0.9"
        reply = message.metadata.for_reply()
        await answering.send(b"answer", message.address, metadata=reply)
        assert await client.receive() == (b"answer", asked)


@needs_namespaces
@pytest.mark.parametrize("prompt", [True, False], ids=["asked", "queued"])
@pytest.mark.parametrize("target", ["10.77.0.2", "10.77.0.255", BROADCAST])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_the_kernel_takes_every_answer_of_for_reply(
    family, target, prompt
):
    with two_hosts() as (near, far):
        asking = near.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asking.bind(("10.77.0.1", 0))
        near.run("ip", "route", "add", "default", "dev", "veth")
        answering = trio.socket.from_stdlib_socket(
            far.socket(family, socket.SOCK_DGRAM)
        )
        if family == socket.AF_INET6:
            answering.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, False
            )
        await answering.bind(("" if family == socket.AF_INET else "::", 9000))
        async with DatagramSocket(answering) as sock:
            if prompt:
                with pytest.raises(trio.WouldBlock):
                    sock.receive_messages_nowait()
            asking.sendto(b"question", (target, 9000))
            with trio.fail_after(60):
                await trio.lowlevel.wait_readable(answering)
                (message,) = await sock.receive_messages()
                reply = message.metadata.for_reply()
                await sock.send(b"answer", message.address, metadata=reply)
                await trio.lowlevel.wait_readable(asking)
        assert asking.recvfrom(100) == (b"answer", ("10.77.0.2", 9000))
        asking.close()


async def test_a_unix_socket_has_a_timestamp_and_no_header(datagram_pair):
    left, right = datagram_pair
    await left.send(b"x")
    (message,) = await right.receive_messages()
    assert message.payload == b"x"
    assert message.metadata == Metadata()


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        (None, Metadata(1, 2, "::1", 3)),
        ([], Metadata()),
        (["tos"], Metadata(tos=1)),
        (["ecn"], Metadata(tos=1)),
        (["ttl"], Metadata(ttl=2)),
        (["local_address"], Metadata(None, None, "::1", 3)),
        (["interface_index"], Metadata(None, None, "::1", 3)),
        (["ecn", "local_address"], Metadata(1, None, "::1", 3)),
    ],
)
def test_only_what_is_asked_is_left(fields, kept):
    asked = None if fields is None else frozenset(fields)
    assert Metadata(1, 2, "::1", 3).only(asked) == kept


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_each_field_has_its_option_for_each_version(family):
    ipv6 = family == socket.AF_INET6

    def options(*fields):
        return metadata_options(family, frozenset(fields))

    assert options() == []
    assert options("ttl") == [(0, 12), (41, 51)][: 1 + ipv6]
    assert options("tos", "ecn") == [(0, 13), (41, 66)][: 1 + ipv6]
    assert options("local_address") == [(0, 8), (41, 49)][: 1 + ipv6]
    everything = metadata_options(family)
    assert (socket.SOL_SOCKET, 35) in everything
    assert len(everything) == (7 if ipv6 else 4)


@pytest.mark.parametrize("fields", [["tos"], ("tos",), "tos", {"tos": 1}, 3])
def test_fields_that_are_no_set_are_a_type_error(fields):
    with pytest.raises(TypeError, match=f"not {type(fields).__name__}$"):
        check_fields(fields)


@pytest.mark.parametrize("name", ["timestamp", "for_reply", "", None, 1])
def test_a_field_that_is_none_is_a_value_error(name):
    with pytest.raises(ValueError, match=f"not {name!r}$"):
        check_fields({"tos", name})


@pytest.mark.parametrize("fields", [["ttl"], "ttl", 3])
def test_fields_are_a_set(fields):
    with pytest.raises(TypeError, match="fields must be a set of names"):
        check_fields(fields)


def test_a_timestamp_is_in_nanoseconds():
    stamp = struct.pack("@ll", 5, 7)
    packed = pack_control(((SOL_SOCKET, SO_TIMESTAMPNS, stamp),))
    assert decode_metadata(packed) == (Metadata(), 5 * 10**9 + 7)


def test_elsewhere_there_are_no_options(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert metadata_options(socket.AF_INET, None) == []
