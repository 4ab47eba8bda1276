"""A connected socket hears nobody but its peer, from its first moment."""

import contextlib
import socket
import sys

import pytest
import trio
from needs import needs_reuse_port

from triobatch import open_udp_socket
from triobatch._datagrams import open as opening

LOOPBACK = ("127.0.0.1", 0)


def bound():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(LOOPBACK)
    return sock


@pytest.fixture
def between(monkeypatch):
    """Send datagrams between bind(2) and connect(2) of the next opening."""

    def install(*senders):
        class Sock(socket.socket):
            def connect(self, address):
                for sender in senders:
                    sender.sendto(b"early", self.getsockname())
                super().connect(address)

        monkeypatch.setattr(opening.socket, "socket", Sock)

    return install


@pytest.mark.parametrize("deaf", [True, False], ids=["filter", "no filter"])
@pytest.mark.parametrize(
    "reuse_port", [False, pytest.param(True, marks=needs_reuse_port)]
)
async def test_nothing_of_a_stranger_is_heard(
    between, monkeypatch, deaf, reuse_port
):
    if not deaf:
        monkeypatch.setattr(opening, "_hear_only", lambda *_: False)
    with bound() as stranger, bound() as peer:
        between(stranger, stranger)
        async with await open_udp_socket(
            local_address=LOOPBACK,
            remote_address=peer.getsockname(),
            reuse_port=reuse_port,
        ) as sock:
            with pytest.raises(trio.WouldBlock):
                sock.receive_batch_nowait()
            stranger.sendto(b"late", sock.socket.getsockname())
            peer.sendto(b"answer", sock.socket.getsockname())
            with trio.fail_after(60):
                assert await sock.receive() == (b"answer", peer.getsockname())


HOSTS = [
    ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
    ("::", "::1", "::ffff:127.0.0.1"),
    ("::", "::ffff:127.0.0.1", "::1"),
    ("::", "::ffff:127.0.0.1", "::ffff:127.0.0.2"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="SO_ATTACH_FILTER")
@pytest.mark.parametrize(("local", "host", "other"), HOSTS)
def test_the_filter_lets_in_the_peer_and_nobody_else(local, host, other):
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    with contextlib.ExitStack() as stack:

        def opened(host):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            stack.enter_context(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                sock.bind((host, 0))
            except OSError:
                pytest.skip(f"no {host} here")
            return sock

        sock, peer, same_host, stranger = map(
            opened, (local, host, host, other)
        )
        sock.settimeout(60)
        assert opening._hear_only(sock, peer.getsockname())
        port = sock.getsockname()[1]
        for sender, payload in (
            (same_host, b"another port"),
            (stranger, b"another host"),
            (peer, b"peer"),
        ):
            to = sender.getsockname()[0] if local == "::" else local
            sender.sendto(payload, (to, port))
        assert sock.recv(99) == b"peer"


@pytest.mark.skipif(sys.platform != "linux", reason="SO_ATTACH_FILTER")
async def test_what_the_peer_sends_between_is_heard(between):
    with bound() as peer:
        between(peer)
        async with await open_udp_socket(
            local_address=LOOPBACK, remote_address=peer.getsockname()
        ) as sock:
            assert sock.receive_batch_nowait() == [
                (b"early", peer.getsockname())
            ]


async def test_a_peer_that_the_kernel_chooses_is_heard():
    async with await open_udp_socket(local_address=LOOPBACK) as peer:
        port = peer.local_address[1]
        async with await open_udp_socket(
            local_address=LOOPBACK, remote_address=("0.0.0.0", port)
        ) as sock:
            await peer.send(b"hello", sock.local_address)
            with trio.fail_after(60):
                assert (await sock.receive())[0] == b"hello"


@pytest.mark.skipif(sys.platform != "linux", reason="SO_ATTACH_FILTER")
async def test_where_a_filter_is_refused_what_came_is_dropped(
    between, monkeypatch
):
    monkeypatch.setattr(opening, "_SO_ATTACH_FILTER", 9999)
    with bound() as stranger, bound() as peer:
        between(stranger)
        async with await open_udp_socket(
            local_address=LOOPBACK, remote_address=peer.getsockname()
        ) as sock:
            with pytest.raises(trio.WouldBlock):
                sock.receive_batch_nowait()


async def test_a_bound_socket_hears_everybody():
    async with await open_udp_socket(local_address=LOOPBACK) as sock:
        with bound() as stranger:
            stranger.sendto(b"hello", sock.socket.getsockname())
            with trio.fail_after(60):
                assert (await sock.receive())[0] == b"hello"


@pytest.mark.parametrize("which", ["local_address", "remote_address"])
@pytest.mark.parametrize("port", [-1, 65536, 2**32 + 53])
async def test_a_port_is_not_taken_modulo_65536(which, port):
    with pytest.raises(ValueError, match=f"{which} must be .* not {port}"):
        await open_udp_socket(**{which: ("127.0.0.1", port)})


@pytest.mark.parametrize("which", ["local_address", "remote_address"])
@pytest.mark.parametrize("port", [None, "domain", True, 1.5])
async def test_a_port_is_an_integer(which, port):
    with pytest.raises(TypeError, match=f"the port of {which} must be an int"):
        await open_udp_socket(**{which: ("127.0.0.1", port)})


@pytest.mark.parametrize("host", ["x" * 70 + ".com", "a..b", "a\0b"])
async def test_a_name_that_is_none_is_not_found(host):
    with pytest.raises(socket.gaierror):
        await open_udp_socket(remote_address=(host, 9))


@pytest.mark.parametrize("host", ["", None])
async def test_no_host_is_every_interface(host):
    async with await open_udp_socket(
        local_address=(host, 0), family=socket.AF_INET
    ) as sock:
        assert sock.socket.getsockname()[0] == "0.0.0.0"
