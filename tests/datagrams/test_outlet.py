"""What all batches of one socket share."""

from __future__ import annotations

import errno

import pytest

from triobatch._core import calls
from triobatch._datagrams.gso import Segmentation
from triobatch._datagrams.outlet import Outlet


@pytest.mark.parametrize(
    ("number", "internet", "fatal"),
    [
        (errno.EBADF, True, True),
        (errno.EBADF, False, True),
        (errno.EPIPE, True, True),
        (errno.EPIPE, False, False),
        (errno.EMSGSIZE, True, False),
        (errno.ECONNREFUSED, False, False),
    ],
)
def test_an_error_is_of_the_socket_or_of_a_datagram(number, internet, fatal):
    outlet = Outlet(Segmentation(1, lambda: 0), internet, calls)
    assert outlet.is_fatal(OSError(number, "")) is fatal
