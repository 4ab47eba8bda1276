"""What this kernel can do is found out by trying."""

import errno
import os
import socket
import sys
from functools import partial

import pytest
from network import namespaces, needs_namespaces

from triobatch._core import probes


def test_this_kernel_is_probed():
    assert probes.gso_segments() in {1, 63, 64, 128}
    assert isinstance(probes.has_gro(), bool)


@pytest.mark.skipif(sys.platform != "linux", reason="GSO is Linux's")
@needs_namespaces
def test_without_loopback_the_safe_number_is_taken(monkeypatch):
    with namespaces() as (host,):
        host.run("ip", "link", "set", "lo", "down")
        make = host.socket
        monkeypatch.setattr(
            probes,
            "_udp_socket",
            lambda: make(socket.AF_INET, socket.SOCK_DGRAM),
        )
        assert probes.gso_segments.__wrapped__() in {63, 128}


class _Limited(socket.socket):
    """A socket of a kernel that cuts a message into fewer datagrams."""

    def __init__(self, limit):
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.limit = limit

    def sendmsg(self, buffers, *args):
        if sum(map(len, buffers)) > self.limit:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().sendmsg(buffers, *args)


@pytest.mark.parametrize(("limit", "segments"), [(127, 64), (63, 63), (1, 1)])
def test_the_most_that_is_taken_counts(monkeypatch, limit, segments):
    if probes.gso_segments() == 1:
        pytest.skip("needs UDP_SEGMENT")
    monkeypatch.setattr(probes, "_udp_socket", partial(_Limited, limit))
    assert probes.gso_segments.__wrapped__() == segments


def test_a_system_without_the_options_has_neither(monkeypatch):
    # A socket that has no option of UDP's.
    monkeypatch.setattr(
        probes,
        "_udp_socket",
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    )
    assert probes.gso_segments.__wrapped__() == 1
    assert probes.has_gro.__wrapped__() is False


class _Unbound(socket.socket):
    """A socket of a host without loopback."""

    def __init__(self):
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)

    def bind(self, address):
        raise OSError(errno.EADDRNOTAVAIL, "no such address")


def test_what_cannot_be_tried_is_the_safe_number(monkeypatch):
    if probes.gso_segments() == 1:
        pytest.skip("needs UDP_SEGMENT")
    monkeypatch.setattr(probes, "_udp_socket", _Unbound)
    assert probes.gso_segments.__wrapped__() == 63
