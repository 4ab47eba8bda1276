"""Extensions of a PROXY protocol header, and their checksum."""

from __future__ import annotations

import pytest

from triobatch import ProxyHeader
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


def test_as_much_as_fits_is_encoded():
    encoded = header((2, bytes(65520))).encode()
    assert parse_header(encoded).extensions == ((2, bytes(65520)),)
    with pytest.raises(ValueError, match="must fit in 65523 bytes, not 65524"):
        header((2, bytes(65521))).encode()
