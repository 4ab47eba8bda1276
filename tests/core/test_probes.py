"""What this kernel can do is found out by trying."""

import socket

from network import namespaces, needs_namespaces

from triobatch._core import probes


def test_this_kernel_is_probed():
    assert probes.gso_segments() in {1, 63, 64, 128}
    assert isinstance(probes.has_gro(), bool)


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
