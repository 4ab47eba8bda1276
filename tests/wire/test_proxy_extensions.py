"""Extensions of a PROXY protocol header, and their checksum."""

from __future__ import annotations

import pytest

from triobatch import ProxyHeader, ProxyHeaderError
from triobatch._wire import proxy_extensions
from triobatch._wire.proxy import parse_header
from triobatch._wire.proxy_extensions import crc32c

BOTH = (("192.0.2.1", 1), ("192.0.2.2", 2))


def header(*extensions):
    return ProxyHeader(*BOTH, extensions=extensions)


def test_the_checksum_is_the_catalogues():
    # The check value of the CRC catalogues.
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_encoded_has_a_checksum_that_is_right(place):
    extensions = [(2, b"example.org"), (4, b"")]
    extensions.insert(place, (3, b"any."))
    encoded = header(*extensions).encode()
    back = parse_header(encoded)
    assert [kind for kind, _ in back.extensions] == [k for k, _ in extensions]
    # What came is handed on as it was.
    assert back.encode() == encoded
    assert back.extensions[place][1] != b"any."


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        (((3, b""),), "extension 0 must be the only checksum, of 4 bytes"),
        (((3, b"12345"),), "not b'12345'"),
        (((3, b"1234"), (3, b"1234")), "extension 1 must be the only"),
        (((256, b""),), "the type of extension 0 must be in 0..255, not 256"),
        (((-1, b""),), "not -1"),
        (((2, b"a"), (2, bytes(65536))), "extension 1 must have at most"),
        (((2, bytes(65535)),), "extensions must fit in 65523 bytes"),
    ],
)
def test_what_cannot_be_said_is_refused(extensions, message):
    with pytest.raises(ValueError, match=message):
        header(*extensions).encode()


@pytest.mark.parametrize("kind", [0, 255])
def test_the_type_is_any_byte(kind):
    encoded = header((kind, b"x")).encode()
    assert parse_header(encoded).extensions == ((kind, b"x"),)


def test_as_much_as_fits_is_encoded():
    encoded = header((2, bytes(65520))).encode()
    assert parse_header(encoded).extensions == ((2, bytes(65520)),)
    with pytest.raises(ValueError, match="must fit in 65523 bytes, not 65524"):
        header((2, bytes(65521))).encode()


class Short(bytes):
    def __len__(self):
        return 1


def test_the_bytes_of_a_subclass_are_whole():
    value = Short(b"x\x21\0\0")
    back = parse_header(header((2, value)).encode())
    assert back.extensions == ((2, b"x!\0\0"),)
    paths = ProxyHeader(Short(b"/a" * 60), b"/b")
    with pytest.raises(ValueError, match="at most 108 bytes"):
        paths.encode()


def test_an_address_without_a_name_comes_back_as_one():
    assert parse_header(ProxyHeader("", "/b").encode()).source == ""


@pytest.mark.parametrize("sums", [(b"", b""), (b"1234",) * 2, (b"12345",)])
def test_a_peer_cannot_have_many_checksums_reckoned(monkeypatch, sums):
    def reckon(*_):
        raise AssertionError

    monkeypatch.setattr(proxy_extensions, "_sum_of", reckon)
    extensions = b"".join(
        b"\x03" + len(each).to_bytes(2, "big") + each for each in sums
    )
    encoded = bytearray(header((4, b"x" * (len(extensions) - 3))).encode())
    encoded[-len(extensions) :] = extensions
    with pytest.raises(ProxyHeaderError, match="must be one, of 4 bytes"):
        parse_header(bytes(encoded))
