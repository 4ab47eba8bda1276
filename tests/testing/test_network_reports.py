"""Reports as ip(7) has them; beside a real one in test_network_kernel."""

from __future__ import annotations

import errno

import pytest

from triobatch._wire.addresses import encode_address
from triobatch.testing._network_reports import report_of

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


@pytest.mark.parametrize(
    ("number", "offender", "code", "mtu"),
    [
        (errno.ECONNREFUSED, "10.0.0.2", 3, None),
        (errno.EHOSTUNREACH, "10.0.0.1", 1, None),
        (errno.EMSGSIZE, "10.0.0.2", 4, 1200),
    ],
)
def test_a_report_says_what_and_who(number, offender, code, mtu):
    report = report_of(
        number, encode_address(A), encode_address(B), b"abc", 1200
    )
    assert (report.address, report.errno, report.mtu) == (B, number, mtu)
    assert (report.offender, report.type, report.code) == (offender, 3, code)
    assert report.payload == b"abc"


@pytest.mark.parametrize(
    ("host", "most", "kind"), [("10.0.0.1", 520, 3), ("fd00::1", 1184, 1)]
)
def test_a_report_quotes_what_fits(host, most, kind):
    sockaddr = encode_address((host, 1))
    report = report_of(
        errno.ECONNREFUSED, sockaddr, sockaddr, bytes(2000), 1500
    )
    assert len(report.payload) == most
    assert report.type == kind
