"""Memberships of multicast groups, and what comes of them."""

from __future__ import annotations

import errno
import os
import socket
import sys

import network
import pytest
import trio

from triobatch import DatagramSocket, open_udp_socket
from triobatch._datagrams import multicast
from triobatch._datagrams.multicast import membership

GROUPS = {4: "239.1.2.3", 6: "ff12::1:2:3"}


@pytest.mark.parametrize(
    ("group", "interface", "joining", "option"),
    [
        (
            "239.1.2.3",
            None,
            True,
            (
                socket.IPPROTO_IP,
                socket.IP_ADD_MEMBERSHIP,
                bytes((239, 1, 2, 3)) + bytes(8),
            ),
        ),
        (
            "239.1.2.3",
            7,
            False,
            (
                socket.IPPROTO_IP,
                socket.IP_DROP_MEMBERSHIP,
                bytes((239, 1, 2, 3)) + bytes(4) + (7).to_bytes(4, "little"),
            ),
        ),
        (
            "ff02::fb",
            7,
            True,
            (
                socket.IPPROTO_IPV6,
                socket.IPV6_JOIN_GROUP,
                b"\xff\2" + bytes(13) + b"\xfb" + (7).to_bytes(4, "little"),
            ),
        ),
        (
            "ff02::fb",
            0,
            False,
            (
                socket.IPPROTO_IPV6,
                socket.IPV6_LEAVE_GROUP,
                b"\xff\2" + bytes(13) + b"\xfb" + bytes(4),
            ),
        ),
    ],
)
def test_a_membership_is_an_option(
    monkeypatch, group, interface, joining, option
):
    monkeypatch.setattr(multicast, "HAS_MREQN", True)
    if sys.byteorder == "big":
        pytest.skip("the table is for little-endian machines")
    assert membership(group, interface, joining=joining) == option


@pytest.mark.parametrize(
    ("interface", "packed"),
    [
        (None, "efffff0100000000"),
        (1, "efffff0100000001"),
        (2**24 - 1, "efffff0100ffffff"),
    ],
)
def test_elsewhere_an_index_is_written_as_an_address(
    monkeypatch, interface, packed
):
    monkeypatch.setattr(multicast, "HAS_MREQN", False)
    option = membership("239.255.255.1", interface, joining=True)
    assert option[2].hex() == packed


def test_elsewhere_no_address_says_a_larger_index(monkeypatch):
    monkeypatch.setattr(multicast, "HAS_MREQN", False)
    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
        membership("239.255.255.1", 2**24, joining=True)
    # An index of IPv6 is a number.
    assert membership("ff02::1", 2**24, joining=True)


@pytest.mark.parametrize(
    ("group", "interface", "error", "match"),
    [
        ("127.0.0.1", None, ValueError, "multicast"),
        ("::1", None, ValueError, "multicast"),
        ("ff02::1%lo", None, ValueError, "scope"),
        ("all-hosts", None, ValueError, "numeric"),
        (bytes((239, 1, 2, 3)), None, TypeError, "group must be a str"),
        ("239.1.2.3", -1, ValueError, "interface"),
        ("239.1.2.3", 2**31, ValueError, "interface"),
        ("239.1.2.3", 1.5, TypeError, "interface"),
        ("239.1.2.3", "nowhere", OSError, "No such device.*nowhere"),
        ("239.1.2.3", "a\0b", OSError, "No such device"),
    ],
)
async def test_what_is_impossible_is_refused(group, interface, error, match):
    async with await open_udp_socket() as sock:
        for call in (sock.join_group, sock.leave_group):
            with pytest.raises(error, match=match):
                call(group, interface=interface)


@network.needs_namespaces
@pytest.mark.skipif(
    not multicast.HAS_MREQN, reason="the kernel is to get its struct ip_mreqn"
)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("named", ["by name", "by index"])
async def test_a_group_is_heard_on_the_interface_that_was_asked_for(
    version, named
):
    group = GROUPS[version]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with network.namespaces() as [space]:
        for number in (1, 2):
            space.run(
                *("ip", "link", "add", f"veth{number}", "type", "veth"),
                *("peer", "name", f"far{number}"),
            )
            for end in ("veth", "far"):
                space.run("ip", "link", "set", f"{end}{number}", "up")
            for address in (f"10.7{number}.0.1/24", f"fd0{number}::1/64"):
                space.run(
                    *("ip", "address", "add", address),
                    *("dev", f"veth{number}", "nodad"),
                )
        sock = space.socket(family, socket.SOCK_DGRAM)
        sender = space.socket(family, socket.SOCK_DGRAM)
        indices = {name: index for index, name in space.interfaces()}
        chosen, other = indices["veth1"], indices["veth2"]
        interface = "veth1" if named == "by name" else chosen
        sock.bind(("", 0))
        port = sock.getsockname()[1]
        async with DatagramSocket(
            trio.socket.from_stdlib_socket(sock)
        ) as receiver:
            if version == 4:
                # Or it would hear what others on the host have joined.
                receiver.setsockopt(socket.IPPROTO_IP, 49, 0)

            def change(method):
                # A name is looked up in the namespace of the thread.
                space.call(lambda: method(group, interface=interface))

            def send(index, payload):
                if version == 4:
                    sender.setsockopt(
                        socket.IPPROTO_IP,
                        socket.IP_MULTICAST_IF,
                        bytes(8) + index.to_bytes(4, "little"),
                    )
                    sender.sendto(payload, (group, port))
                else:
                    sender.sendto(payload, (group, port, 0, index))

            def heard():
                try:
                    batch = receiver.receive_batch_nowait()
                except trio.WouldBlock:
                    return []
                return [payload for payload, _ in batch]

            send(chosen, b"before")
            assert heard() == []
            change(receiver.join_group)
            send(chosen, b"joined")
            send(other, b"elsewhere")
            assert heard() == [b"joined"]
            with pytest.raises(OSError, match="already in use"):
                change(receiver.join_group)
            change(receiver.leave_group)
            send(chosen, b"left")
            assert heard() == []
            with pytest.raises(OSError, match="Cannot assign"):
                change(receiver.leave_group)
        sender.close()


async def test_a_group_of_another_family_is_the_kernels_error():
    async with await open_udp_socket(family=socket.AF_INET) as sock:
        with pytest.raises(OSError, match="Protocol not available"):
            sock.join_group("ff02::1")


async def test_a_closed_socket_says_so():
    sock = await open_udp_socket()
    await sock.aclose()
    with pytest.raises(trio.ClosedResourceError):
        sock.join_group("239.1.2.3")
    with pytest.raises(trio.ClosedResourceError):
        sock.leave_group("239.1.2.3")
