"""The PROXY protocol, by its specification's own examples and limits."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triobatch import ProxyHeader, ProxyHeaderError
from triobatch._wire.proxy import (
    SIGNATURE,
    header_size,
    parse_header,
)
from triobatch._wire.proxy_extensions import crc32c

LIMIT = 4096


def block(command, kind, body=b"", size=None):
    return (
        SIGNATURE
        + bytes([command, kind])
        + struct.pack("!H", len(body) if size is None else size)
        + body
    )


INET = bytes([192, 168, 0, 1, 192, 168, 0, 11]) + struct.pack(
    "!HH", 56324, 443
)
V6 = bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack("!HH", 1, 65535)
UNIX = b"/run/a".ljust(108, b"\0") + b"\0name".ljust(108, b"\0")
ONE, TWO = ("192.168.0.1", 56324), ("192.168.0.11", 443)


def parsed(data, limit=LIMIT):
    size = header_size(memoryview(data), limit)
    assert size == len(data)
    return parse_header(data)


HEADERS = [
    # The example of section 2.1.
    (
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        ProxyHeader(ONE, TWO),
    ),
    # The longest lines of section 2.1: 56, 104 and 107 bytes.
    (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ProxyHeader(*[("255.255.255.255", 65535)] * 2),
    ),
    (
        b"PROXY TCP6 "
        + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2
        + b"65535 65535\r\n",
        ProxyHeader(*[(":".join(["ffff"] * 8), 65535, 0, 0)] * 2),
    ),
    (b"PROXY UNKNOWN\r\n", ProxyHeader()),
    (
        b"PROXY UNKNOWN "
        + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2
        + b"65535 65535\r\n",
        ProxyHeader(),
    ),
    (b"PROXY UNKNOWN \xff whatever\r\n", ProxyHeader()),
    (
        b"PROXY TCP6 ::1 2001:DB8::2 0 65535\r\n",
        ProxyHeader(("::1", 0, 0, 0), ("2001:db8::2", 65535, 0, 0)),
    ),
    # What HAProxy writes on a port of both families; as getpeername() has it.
    (
        b"PROXY TCP6 ::ffff:1.2.3.4 ::FFFF:102:304 1 2\r\n",
        ProxyHeader(*[("::ffff:1.2.3.4", port, 0, 0) for port in (1, 2)]),
    ),
    (
        block(0x21, 0x21, (bytes(10) + b"\xff\xff\1\2\3\4") * 2 + b"\0\1" * 2),
        ProxyHeader(*[("::ffff:1.2.3.4", 1, 0, 0)] * 2),
    ),
    # The combinations of section 2.2.
    (block(0x21, 0x11, INET), ProxyHeader(ONE, TWO)),
    (block(0x21, 0x12, INET), ProxyHeader(ONE, TWO, transport="datagram")),
    (
        block(0x21, 0x21, V6),
        ProxyHeader(("::1", 1, 0, 0), ("::2", 65535, 0, 0)),
    ),
    (
        block(0x21, 0x22, V6),
        ProxyHeader(
            ("::1", 1, 0, 0), ("::2", 65535, 0, 0), transport="datagram"
        ),
    ),
    (block(0x21, 0x31, UNIX), ProxyHeader("/run/a", b"\0name")),
    (
        block(0x21, 0x32, UNIX),
        ProxyHeader("/run/a", b"\0name", transport="datagram"),
    ),
    (block(0x21, 0x00), ProxyHeader()),
    (block(0x21, 0x00, b"ignored"), ProxyHeader()),
    (block(0x21, 0x10, INET), ProxyHeader()),
    (block(0x20, 0x00), ProxyHeader(local=True)),
    # "Receivers must not assume zero is presented for LOCAL connections",
    # whose family is ignored.
    (block(0x20, 0xFF, b"ignored"), ProxyHeader(local=True)),
    # Extensions: an authority, padding, nothing at all.
    (
        block(0x21, 0x11, INET + b"\2\0\3a.b" + b"\4\0\0"),
        ProxyHeader(ONE, TWO, extensions=((2, b"a.b"), (4, b""))),
    ),
]


@pytest.mark.parametrize(("data", "header"), HEADERS)
def test_a_header_says_what_it_says(data, header):
    assert parsed(data) == header


@pytest.mark.parametrize("data", [data for data, _ in HEADERS])
def test_a_header_is_not_told_before_it_is_whole(data):
    for size in range(len(data)):
        assert header_size(memoryview(data[:size]), LIMIT) is None
    assert header_size(memoryview(data + b"GET /"), LIMIT) == len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY\t",
        b"PROXYTCP4",
        b"proxy ",
        SIGNATURE[:-1] + b"\r",
        SIGNATURE + b"\x11",
        SIGNATURE + b"\x31",
        SIGNATURE + b"\x22",
        SIGNATURE + b"\x2f",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        b"PROXY UNKNOWN\n",
        b"PROXY " + b"x" * 101,
    ],
)
def test_what_is_no_header_is_refused_at_once(data):
    with pytest.raises(ProxyHeaderError):
        header_size(memoryview(data), LIMIT)


@pytest.mark.parametrize(
    ("byte", "message"),
    [(0x31, "version must be 2, not 3"), (0x2E, "unknown command 14")],
)
def test_it_is_told_what_is_not_known(byte, message):
    with pytest.raises(ProxyHeaderError, match=f"^{message}$"):
        header_size(memoryview(SIGNATURE + bytes([byte])), LIMIT)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "TCP4",
        "TCP5 1.1.1.1 2.2.2.2 1 2",
        "UNKNOWNS",
        "TCP4 1.1.1.1 2.2.2.2 1",
        "TCP4 1.1.1.1 2.2.2.2 1 2 3",
        "TCP4 1.1.1.1 2.2.2.2 1 2 ",
        "TCP4  1.1.1.1 2.2.2.2 1 2",
        "TCP4 1.1.1.01 2.2.2.2 1 2",
        "TCP4 1.1.1 2.2.2.2 1 2",
        "TCP4 1.1.1.256 2.2.2.2 1 2",
        "TCP4 ::1 ::2 1 2",
        "TCP6 1.1.1.1 2.2.2.2 1 2",
        "TCP6 ::ffff:1.1.1 ::2 1 2",
        "TCP6 ::ffff:1.1.1.01 ::2 1 2",
        "TCP6 fe80::1%1 ::2 1 2",
        "TCP6 ::1::2 ::2 1 2",
        "TCP4 1.1.1.1 2.2.2.2 01 2",
        "TCP4 1.1.1.1 2.2.2.2 1 65536",
        "TCP4 1.1.1.1 2.2.2.2 1 -2",
        "TCP4 1.1.1.1 2.2.2.2 1 2\r",
        "TCP4 1.1.1.1 2.2.2.2 1 ²",
        "TCP4 1.1.1.1 2.2.2.2 1 ٣",
    ],
)
def test_a_malformed_line_is_refused(line):
    with pytest.raises(ProxyHeaderError):
        parsed(b"PROXY " + line.encode() + b"\r\n")


@pytest.mark.parametrize(
    "data",
    [
        block(0x21, 0x11, INET[:-1]),
        block(0x21, 0x21, INET),
        block(0x21, 0x31, UNIX[:-1]),
        block(0x21, 0x41, UNIX),
        block(0x21, 0x13, INET),
        block(0x21, 0x11, INET + b"\2"),
        block(0x21, 0x11, INET + b"\2\0"),
        block(0x21, 0x11, INET + b"\2\0\1"),
        block(0x21, 0x11, INET + b"\3\0\4abcd"),
        block(0x21, 0x11, INET + b"\3\0\0"),
    ],
)
def test_a_malformed_block_is_refused(data):
    with pytest.raises(ProxyHeaderError):
        parsed(data)


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, 65535])
def test_a_block_larger_than_the_limit_is_refused_by_its_size(size):
    data = memoryview(block(0x21, 0x11, size=size - 16))
    if size <= LIMIT:
        assert header_size(data, LIMIT) is None
    else:
        with pytest.raises(ProxyHeaderError, match="at most 4096 bytes"):
            header_size(data, LIMIT)


def test_a_line_larger_than_the_limit_is_refused():
    line = memoryview(b"PROXY UNKNOWN\r\n")
    assert header_size(line, 15) == 15
    with pytest.raises(ProxyHeaderError, match="first 14 bytes"):
        header_size(line, 14)


def test_the_checksum_is_held_against_the_header():
    body = INET + b"\2\0\1a"
    empty = block(0x21, 0x11, body + b"\3\0\4\0\0\0\0")
    right = empty[:-4] + crc32c(empty).to_bytes(4, "big")
    assert parsed(right).extensions == ((2, b"a"), (3, right[-4:]))
    for index in (20, len(right) - 5, len(right) - 1):
        wrong = bytearray(right)
        wrong[index] ^= 8
        with pytest.raises(ProxyHeaderError):
            parsed(bytes(wrong))


hosts = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
)
hosts6 = st.tuples(
    st.one_of(
        st.ip_addresses(v=6), st.ip_addresses(network="::ffff:0:0/96")
    ).map(lambda a: socket.inet_ntop(socket.AF_INET6, a.packed)),
    st.integers(0, 65535),
    st.just(0),
    st.just(0),
)


@given(
    st.one_of(st.tuples(hosts, hosts), st.tuples(hosts6, hosts6)),
    st.sampled_from(["stream", "datagram"]),
    st.lists(
        st.tuples(st.integers(4, 255), st.binary(max_size=50)), max_size=4
    ),
)
def test_what_is_encoded_is_parsed_again(pair, transport, extensions):
    header = ProxyHeader(
        *pair, transport=transport, extensions=tuple(extensions)
    )
    assert parsed(header.encode()) == header
    plain = ProxyHeader(*pair)
    assert parsed(plain.encode(1)) == plain
    assert plain.encode(1).count(b" ") == 5


def test_a_line_has_no_dotted_tail():
    header = ProxyHeader(*[("::ffff:1.2.3.4", 1, 0, 0)] * 2)
    for word in header.encode(1).split()[2:4]:
        assert b"." not in word
        assert socket.inet_pton(socket.AF_INET6, word.decode())[12:] == (
            b"\1\2\3\4"
        )


@pytest.mark.parametrize(
    ("header", "version"),
    [(ProxyHeader(), 2), (ProxyHeader(local=True), 2), (ProxyHeader(), 1)],
)
def test_a_header_without_addresses_is_encoded(header, version):
    assert parsed(header.encode(version)) == header


def test_a_block_without_addresses_is_of_no_family_and_no_protocol():
    assert ProxyHeader().encode() == block(0x21, 0)
    assert ProxyHeader(local=True).encode() == block(0x20, 0)


def test_unix_addresses_are_encoded():
    header = ProxyHeader("/run/a", b"\0name")
    assert header.encode() == block(0x21, 0x31, UNIX)


@pytest.mark.parametrize(
    ("header", "version"),
    [
        (ProxyHeader(ONE), 2),
        (ProxyHeader(ONE), 1),
        (ProxyHeader(ONE, ("::1", 1, 0, 0)), 2),
        (ProxyHeader(ONE, ("localhost", 1)), 2),
        (ProxyHeader(ONE, ("1.1.1.1", 65536)), 2),
        (ProxyHeader(ONE, TWO, local=True), 2),
        (ProxyHeader("/a", "/" + "b" * 108), 2),
        (ProxyHeader("/a", "/b"), 1),
        (ProxyHeader(ONE, TWO, transport="datagram"), 1),
        (ProxyHeader(ONE, TWO, extensions=((2, b"a"),)), 1),
        (ProxyHeader(extensions=((2, b"a"),)), 2),
        (ProxyHeader(ONE, TWO, extensions=((256, b""),)), 2),
        (ProxyHeader(ONE, TWO, extensions=((2, bytes(65536)),)), 2),
        (ProxyHeader(ONE, TWO, extensions=((2, bytes(65530)),)), 2),
        (ProxyHeader(ONE, TWO), 3),
    ],
)
def test_what_cannot_be_said_is_refused(header, version):
    with pytest.raises(ValueError, match=r".+"):
        header.encode(version)


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise_anything_else(data, tail):
    for start in (b"", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"):
        offered = start + data + (b"\r\n" if tail else b"")
        try:
            size = header_size(memoryview(offered), LIMIT)
            if size is not None:
                parse_header(offered[:size])
        except ProxyHeaderError:
            pass


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "address",
    [
        (None, None),
        ("127.0.0.1",),
        (),
        ("127.0.0.1", None),
        ("127.0.0.1", "1"),
        ("127.0.0.1", 1.5),
        ("127.0.0.1", True),
        (b"127.0.0.1", 1),
        ["127.0.0.1", 1],
        {},
        5,
    ],
)
def test_what_is_no_address_is_a_type_error(address, version):
    good = ("127.0.0.1", 2)
    for header in (ProxyHeader(address, good), ProxyHeader(good, address)):
        with pytest.raises(TypeError, match=r"(source|destination) must be "):
            header.encode(version)


@pytest.mark.parametrize("transport", ["other", None, "STREAM"])
def test_there_are_two_transports(transport):
    header = ProxyHeader(
        ("127.0.0.1", 1), ("127.0.0.1", 2), transport=transport
    )
    with pytest.raises(ValueError, match=r"transport must be stream or|TCP"):
        header.encode(2)


@pytest.mark.parametrize("path", ["/a\0b", b"/a\0", "a\0"])
def test_a_path_that_would_end_at_a_zero_byte_is_refused(path):
    with pytest.raises(ValueError, match="without a zero byte"):
        ProxyHeader(path, "/b").encode()
    with pytest.raises(ValueError, match="without a zero byte"):
        ProxyHeader("/b", path).encode()


@pytest.mark.parametrize(
    "value", [memoryview(b"abcdefgh").cast("I"), bytearray(b"a"), "a", None]
)
def test_the_value_of_an_extension_must_be_bytes(value):
    header = ProxyHeader(
        ("10.0.0.1", 1), ("10.0.0.2", 2), extensions=((1, value),)
    )
    with pytest.raises(TypeError, match="must be bytes"):
        header.encode()


def test_a_header_is_a_value():
    header = ProxyHeader(ONE, TWO)
    assert len({header, ProxyHeader(ONE, TWO)}) == 1
    assert not hasattr(header, "__dict__")
    with pytest.raises(AttributeError):
        header.local = True


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("version", [1, 2])
def test_an_address_has_two_to_four_items(count, version):
    address = ("::1", 9, 0, 0, 0)[:count]
    with pytest.raises(TypeError, match=r"must be a .host, port. tuple"):
        ProxyHeader(address, ("::1", 9)).encode(version)
