"""Opening a UDP socket: names, addresses and options."""

import errno
import gc
import os
import socket
import sys
from types import SimpleNamespace

import pytest
import trio
from needs import needs_reuse_port
from trio.testing import assert_checkpoints

from triobatch import DatagramError
from triobatch._datagrams import open as opening
from triobatch._datagrams.open import _look_up, open_udp_socket
from triobatch._wire.addresses import AF_UNIX


async def test_opening_binds_and_connects():
    async with (
        await open_udp_socket(local_address=("localhost", 0)) as server,
        await open_udp_socket(
            local_address=("127.0.0.1", 0),
            remote_address=server.socket.getsockname()[:2],
            family=socket.AF_INET,
            receive_buffer_size=100_000,
        ) as client,
    ):
        room = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert room == 200_000
        await client.send(b"hello")
        assert (await server.receive())[0] == b"hello"


async def test_opening_without_addresses_is_for_sending():
    with assert_checkpoints():
        sock = await open_udp_socket()
    async with sock:
        assert sock.socket.family == socket.AF_INET


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_on_windows_it_is_bound_to_receive_before_it_sends(
    monkeypatch, family
):
    monkeypatch.setattr(opening, "sys", SimpleNamespace(platform="win32"))
    async with await open_udp_socket(family=family) as sock:
        host, port, *_ = sock.local_address
        assert (host, bool(port)) == (
            {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}[family],
            True,
        )
        to = ("127.0.0.1" if family == socket.AF_INET else "::1", port)
        await sock.send(b"to itself", to)
        assert (await sock.receive())[0] == b"to itself"


async def test_a_wildcard_is_bound_for_no_host():
    async with await open_udp_socket(
        local_address=(None, 0), family=socket.AF_INET
    ) as sock:
        assert sock.socket.getsockname()[0] == "0.0.0.0"


@needs_reuse_port
async def test_ports_are_shared_on_request():
    async with await open_udp_socket(
        local_address=("127.0.0.1", 0), reuse_port=True
    ) as first:
        name = first.socket.getsockname()
        async with await open_udp_socket(
            local_address=name, reuse_port=True
        ) as second:
            assert second.socket.getsockname() == name
        with pytest.raises(OSError, match="in use"):
            await open_udp_socket(local_address=name)


@pytest.mark.parametrize("allowed", [False, True])
async def test_broadcasts_go_on_request(allowed):
    async with await open_udp_socket(allow_broadcast=allowed) as sock:
        option = socket.SOL_SOCKET, socket.SO_BROADCAST
        assert bool(sock.getsockopt(*option)) is allowed
        # Of the loopback, whose broadcast address the kernel knows.
        if allowed:
            await sock.send(b"x", ("127.255.255.255", 9))
        else:
            with pytest.raises(DatagramError) as caught:
                await sock.send(b"x", ("127.255.255.255", 9))
            assert caught.value.errno == errno.EACCES


async def test_opening_fails_where_there_is_nothing_to_open():
    with pytest.raises(OSError, match="no family in common"):
        await open_udp_socket(
            local_address=("127.0.0.1", 0), remote_address=("::1", 9)
        )
    with pytest.raises(ValueError, match="family"):
        await open_udp_socket(family=AF_UNIX)
    with pytest.raises(socket.gaierror):
        await open_udp_socket(remote_address=("::1", 9), family=socket.AF_INET)


async def test_an_address_as_received_can_be_connected_to():
    async with await open_udp_socket(local_address=("::1", 0, 0, 0)) as server:
        name = server.socket.getsockname()
        assert len(name) == 4
        async with await open_udp_socket(remote_address=name) as client:
            assert client.socket.getpeername() == name
            await client.send(b"hello")
            _, address = await server.receive()
        async with await open_udp_socket(remote_address=address):
            pass


async def test_the_scope_of_an_address_is_kept():
    # Looked up only: a link-local address needs an interface of its own.
    for address in (("fe80::1", 9, 0, 7), ("fe80::1", 9, 5, 7)):
        found = await _look_up(address, socket.AF_INET6, 0)
        assert found == [(socket.AF_INET6, address)]


@pytest.mark.parametrize("address", ["/path", b"\0name", ("::1",), 7])
async def test_what_is_no_host_and_port_cannot_be_opened(address):
    with pytest.raises(TypeError, match=r"remote_address must be a \("):
        await open_udp_socket(remote_address=address)


async def test_a_failed_opening_leaves_no_socket_open(recwarn):
    with pytest.raises(TypeError):
        await open_udp_socket(receive_buffer_size="much")
    with trio.CancelScope() as scope:
        look_up = trio.socket.getaddrinfo

        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, *arguments):
                found = await look_up("127.0.0.1", *arguments[1:])
                scope.cancel()
                return found

            async def getnameinfo(self, *arguments):
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())
        try:
            await open_udp_socket(local_address=("a-name", 0))
        finally:
            trio.socket.set_custom_hostname_resolver(None)
    assert scope.cancelled_caught
    gc.collect()
    # A ResourceWarning for each.
    assert not recwarn.list


@pytest.mark.parametrize("which", ["local_address", "remote_address"])
@pytest.mark.parametrize(
    "behind", [(2**20, 0), (-1, 0), (0, 2**32 + 1), (0, -1)]
)
async def test_a_scope_is_not_taken_modulo_2_32(which, behind):
    with pytest.raises(ValueError, match=f"of {which} must be between"):
        await open_udp_socket(**{which: ("::1", 9, *behind)})


async def test_port_0_is_nobody_to_be_connected_to():
    with pytest.raises(ValueError, match=r"in 1\.\.65535, not 0"):
        await open_udp_socket(remote_address=("127.0.0.1", 0))


async def test_a_buffer_may_be_as_large_as_the_system_allows():
    async with await open_udp_socket(receive_buffer_size=2**40):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="SO_ATTACH_FILTER")
async def test_what_a_filter_keeps_out_is_not_counted_as_a_drop(monkeypatch):
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    class Flooded(socket.socket):
        def connect(self, address):
            for _ in range(5):
                stranger.sendto(b"x", self.getsockname())
            super().connect(address)

    monkeypatch.setattr(opening.socket, "socket", Flooded)
    async with await open_udp_socket(
        local_address=("127.0.0.1", 0), remote_address=("127.0.0.1", 9)
    ) as sock:
        assert sock.statistics().kernel_drops == 0
    stranger.close()


async def test_ctrl_c_while_opening_leaves_no_socket_open(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "kernel_drops", interrupted)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        await open_udp_socket(local_address=("127.0.0.1", 0))
    assert os.listdir("/proc/self/fd") == before


async def test_a_system_without_reuse_port_says_so(monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(OSError, match="no SO_REUSEPORT"):
        await open_udp_socket(local_address=("127.0.0.1", 0), reuse_port=True)
