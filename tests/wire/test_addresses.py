"""Socket addresses, against the kernel's own sockaddrs."""

import errno
import os
import re
import socket
import struct
import sys
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triobatch._wire import addresses
from triobatch._wire.addresses import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    AddressCache,
    SockaddrCache,
    check_port,
    check_scope,
    decode_address,
    encode_address,
    endpoint,
    family_of,
    own_address,
    pack_host,
    takes_v6_datagrams,
)

PORT = st.integers(0, 65535)
WORD = st.integers(0, 2**32 - 1)
LABEL = st.integers(0, 2**20 - 1)


@given(st.ip_addresses(v=4).map(str), PORT)
def test_an_ipv4_address_survives_a_round_trip(host, port):
    assert decode_address(encode_address((host, port))) == (host, port)


@given(st.binary(min_size=16, max_size=16), PORT, LABEL, WORD)
def test_an_ipv6_address_survives_a_round_trip(packed, port, flow, scope):
    host = socket.inet_ntop(socket.AF_INET6, packed)
    address = (host, port, flow, scope)
    assert decode_address(encode_address(address)) == address


@given(st.binary(min_size=0, max_size=107))
@example(b"")
@example(b"ends in zeros\0\0")
def test_an_abstract_name_survives_a_round_trip(name):
    assert decode_address(encode_address(b"\0" + name)) == b"\0" + name


@given(st.binary(min_size=1, max_size=108).filter(lambda p: 0 not in p))
def test_a_path_survives_a_round_trip(path):
    decoded = decode_address(encode_address(path))
    assert isinstance(decoded, str)
    assert os.fsencode(decoded) == path


def test_ipv4_is_laid_out_as_in_ip_7():
    assert encode_address(("127.0.0.1", 258)) == (
        struct.pack("=H", socket.AF_INET)
        + b"\x01\x02\x7f\x00\x00\x01"
        + bytes(8)
    )


def test_ipv6_is_laid_out_as_in_ipv6_7():
    assert encode_address(("::1", 258, 3, 4)) == (
        struct.pack("=H", socket.AF_INET6)
        + b"\x01\x02"
        + b"\0\0\0\x03"
        + bytes(15)
        + b"\x01"
        + struct.pack("=I", 4)
    )


@pytest.mark.parametrize("short", [("::1", 9), ("::1", 9, 0)])
def test_a_short_ipv6_tuple_is_the_same_destination(short):
    assert encode_address(short) == encode_address(("::1", 9, 0, 0))


def test_no_address_is_no_sockaddr():
    assert encode_address(None) == b""
    assert decode_address(b"") is None


def test_a_unix_socket_without_a_name_has_no_address():
    assert decode_address(struct.pack("=H", AF_UNIX)) is None


def test_bytes_after_the_sockaddr_are_ignored():
    sockaddr = encode_address(("127.0.0.1", 9))
    assert decode_address(sockaddr + b"rest") == ("127.0.0.1", 9)


@pytest.mark.parametrize(
    "address",
    [
        7,
        ("127.0.0.1",),
        ["127.0.0.1", 9],
        (b"127.0.0.1", 9),
        ("127.0.0.1", "9"),
        ("127.0.0.1", 9.0),
        ("127.0.0.1", True),
        ("127.0.0.1", None),
        ("::1", 9, None, 0),
        ("::1", 9, 0, True),
        (),
    ],
)
def test_what_is_no_address_is_a_type_error(address):
    with pytest.raises(
        TypeError, match=f"must be .*{re.escape(repr(address))}"
    ):
        encode_address(address)


@pytest.mark.parametrize(
    "address",
    [
        ("localhost", 9),
        ("127.0.0.1", -1),
        ("127.0.0.1", 65536),
        ("127.0.0.1", 9, 0, 0),
        ("::1", 9, 2**20, 0),
        ("::1", 9, -1, 0),
        ("::1", 9, 0, -1),
        ("::1", 9, 0, 2**32),
        ("127.0.0.1", 70000),
        ("127.0.0.1\0", 9),
        ("fe80::1%eth0", 9),
        ("", 9),
        "",
        "x" * 109,
        b"\0" + b"x" * 108,
        "a\0b",
        "\ud800",
    ],
)
def test_an_impossible_address_is_a_value_error(address):
    with pytest.raises(ValueError, match=r".") as caught:
        encode_address(address)
    # Others raise it again with another text, which not all kinds take.
    assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    "sockaddr",
    [b"\x02", struct.pack("=H", socket.AF_INET) + bytes(4), b"\xff\xff" * 8],
)
def test_a_strange_sockaddr_is_a_value_error(sockaddr):
    with pytest.raises(ValueError, match="sockaddr must be a whole one"):
        decode_address(sockaddr)


@given(
    st.sampled_from([AF_INET, AF_INET6, AF_UNIX]).map(
        struct.Struct("=H").pack
    ),
    st.binary(max_size=108),
)
@example(struct.pack("=H", AF_UNIX), b"x" * 108)
@example(struct.pack("=H", socket.AF_INET6), b"\xff" * 26)
def test_what_is_decoded_can_be_encoded(family, rest):
    try:
        address = decode_address(family + rest)
    except ValueError:
        return
    assert decode_address(encode_address(address)) == address


def test_the_caches_remember_each_peer_once():
    encoded, decoded = SockaddrCache(), AddressCache()
    sockaddr = encoded["127.0.0.1", 9]
    assert encoded["127.0.0.1", 9] is sockaddr
    assert decoded[sockaddr] is decoded[bytes(bytearray(sockaddr))]


def test_the_caches_are_bounded():
    encoded, decoded = SockaddrCache(limit=8), AddressCache(limit=8)
    for port in range(100):
        assert decoded[encoded["127.0.0.1", port]] == ("127.0.0.1", port)
        assert len(encoded) <= 8
        assert len(decoded) <= 8


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_a_path_is_no_address_of_the_internet(family):
    encoded = SockaddrCache(family)
    for address in ("/run/a.sock", b"\0abstract"):
        with pytest.raises(TypeError, match=r"must be \(host, port\) on this"):
            encoded[address]
    # The kernel refuses one family on the other's socket, or takes it.
    for address in (("10.0.0.1", 9), ("::1", 9), None):
        assert encoded[address] == encode_address(address)


def test_a_host_is_no_address_of_a_unix_socket():
    encoded = SockaddrCache(AF_UNIX)
    with pytest.raises(TypeError, match="address must be a path on this"):
        encoded["127.0.0.1", 9]
    for address in ("/run/a.sock", b"\0abstract", None):
        assert encoded[address] == encode_address(address)


def test_a_mapped_peer_gets_ipv4_datagrams():
    assert takes_v6_datagrams(encode_address(("::1", 9)))
    assert not takes_v6_datagrams(encode_address(("::ffff:10.0.0.1", 9)))
    assert not takes_v6_datagrams(encode_address(("10.0.0.1", 9)))
    assert not takes_v6_datagrams(encode_address("path"))
    assert not takes_v6_datagrams(encode_address(None))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's abstract names")
def test_the_kernel_understands_an_abstract_name(tmp_path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with server, client:
        name = b"\0triobatch-%d" % os.getpid()
        server.bind(name)
        client.bind(str(tmp_path / "client"))
        client.sendto(b"x", decode_address(encode_address(name)))
        _, peer = server.recvfrom(1)
        assert decode_address(encode_address(peer)) == peer


class Index:
    def __index__(self):
        return 53


@pytest.mark.parametrize(
    ("port", "number"), [(0, 0), (1, 1), (65535, 65535), (Index(), 53)]
)
def test_a_port_is_an_integer_of_16_bits(port, number):
    assert check_port(port) == number


@pytest.mark.parametrize("port", [-1, 65536, 2**32 + 53, 2**70])
def test_a_port_out_of_range_is_a_value_error(port):
    with pytest.raises(
        ValueError, match=f"^port must be between 0 and 65535, not {port}$"
    ):
        check_port(port)


@pytest.mark.parametrize("port", [None, "domain", "53", True, 1.5, 53.0, b"1"])
def test_what_is_no_integer_is_a_type_error(port):
    with pytest.raises(TypeError, match=r"^the port must be an int, not "):
        check_port(port, "the port")


def test_what_is_behind_a_port_is_checked():
    check_scope(("::1", None, 0xFFFFF, 0xFFFFFFFF), "a name")
    check_scope(("::1", None), "a name")
    for numbers, message in [
        ((2**20, 0), "the flowinfo of a name must be between 0 and 1048575,"),
        ((0, 2**32), "the scope_id of a name must be between 0 and 429496"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_scope(("::1", None, *numbers), "a name")


def test_a_host_is_read_to_its_end():
    assert pack_host(socket.AF_INET, "127.0.0.1") == b"\x7f\0\0\x01"
    with pytest.raises(ValueError, match="host must have no zero byte, not"):
        pack_host(socket.AF_INET, "127.0.0.1\0")


def test_the_family_is_read_from_the_sockaddr():
    assert family_of(encode_address(("127.0.0.1", 9))) == AF_INET
    assert family_of(encode_address(("::1", 9))) == AF_INET6
    assert family_of(encode_address("path")) == AF_UNIX
    assert family_of(b"") == 0


def test_one_host_and_port_are_one_endpoint_in_both_families():
    mapped = endpoint(encode_address(("::ffff:10.1.2.3", 9)))
    assert endpoint(encode_address(("10.1.2.3", 9))) == mapped
    for other in [("10.1.2.3", 10), ("10.1.2.4", 9), ("::10.1.2.3", 9)]:
        assert endpoint(encode_address(other)) != mapped


@pytest.mark.parametrize("other", [("::1", 9, 7, 0), ("::1", 9, 0, 7)])
def test_flow_and_scope_are_no_part_of_an_endpoint(other):
    assert endpoint(encode_address(other)) == endpoint(
        encode_address(("::1", 9))
    )
    assert endpoint(encode_address(("::2", 9))) != endpoint(
        encode_address(other)
    )


def test_a_unix_name_is_its_own_endpoint():
    sockaddr = encode_address("path")
    assert endpoint(sockaddr) == sockaddr


def test_the_traffic_class_is_no_part_of_an_address():
    sockaddr = bytearray(encode_address(("::1", 9, 0xFFFFF, 0)))
    sockaddr[4] = 0x2F
    assert decode_address(bytes(sockaddr)) == ("::1", 9, 0xFFFFF, 0)


@pytest.mark.parametrize(
    ("address", "size"), [(("127.0.0.1", 9), 16), (("::1", 9), 28)]
)
def test_a_sockaddr_is_whole_or_not_at_all(address, size):
    sockaddr = encode_address(address)
    assert len(sockaddr) == size
    assert decode_address(sockaddr)[:2] == address
    with pytest.raises(ValueError, match="sockaddr must be a whole one"):
        decode_address(sockaddr[:-1])


@pytest.mark.parametrize("flowinfo", [0xFFFFF, 0])
def test_a_flow_label_has_20_bits(flowinfo):
    address = ("::1", 9, flowinfo, 2**32 - 1)
    assert decode_address(encode_address(address)) == address


@pytest.mark.parametrize("cache", [SockaddrCache, AddressCache])
def test_a_cache_begins_anew_when_it_is_full_and_not_before(cache):
    keys = [("127.0.0.1", port) for port in range(4)]
    if cache is AddressCache:
        keys = list(map(encode_address, keys))
    found = cache(limit=3)
    for key in keys[:3]:
        found[key]
    assert len(found) == 3
    found[keys[3]]
    assert list(found) == keys[3:]


@pytest.mark.parametrize("cache", [SockaddrCache, AddressCache])
def test_a_cache_remembers_4096_peers(cache):
    assert cache()._limit == 4096


class _Nameless:
    """A socket of Windows, before it is bound."""

    def __init__(self, family, number=errno.EINVAL):
        self.family = family
        self.number = number

    def getsockname(self):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("family", "name"),
    [(AF_INET, ("0.0.0.0", 0)), (AF_INET6, ("::", 0, 0, 0))],
)
def test_a_socket_of_windows_is_everywhere_before_it_is_bound(
    monkeypatch, family, name
):
    monkeypatch.setattr(addresses, "sys", SimpleNamespace(platform="win32"))
    assert own_address(_Nameless(family)) == name
    with pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)):
        own_address(_Nameless(family, errno.ENOTSOCK))


def test_a_socket_that_is_bound_says_where():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert own_address(sock) == ("0.0.0.0", 0)
        sock.bind(("127.0.0.1", 0))
        assert own_address(sock) == sock.getsockname()
