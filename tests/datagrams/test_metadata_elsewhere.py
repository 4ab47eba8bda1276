"""Off Linux, whose numbers metadata have: none are asked for, or sent."""

import errno
import socket
from types import SimpleNamespace

import pytest

from triobatch import Datagrams, Metadata, lowlevel
from triobatch._wire import metadata
from triobatch._wire.metadata import encode_metadata, metadata_options

TTL = Metadata(ttl=9)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.setattr(metadata, "sys", SimpleNamespace(platform="darwin"))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_no_option_is_set(family):
    assert metadata_options(family) == []
    assert metadata_options(family, frozenset({"ttl"})) == []


def test_to_ask_for_nothing_is_no_mistake():
    assert encode_metadata(Metadata(), socket.AF_INET) == ()


@pytest.mark.parametrize(
    "send",
    [
        lambda sock, to: sock.send_many([b"x"], to, metadata=TTL),
        lambda sock, to: sock.send_segments(b"x", 1, to, metadata=TTL),
        lambda sock, to: sock.send_batch([(b"x", to)], metadata=TTL),
        lambda sock, to: sock.send_batch([(b"x", to, TTL)]),
        lambda sock, to: sock.send_batch(Datagrams([(b"x", to, TTL)])),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    make_socket, send
):
    sock = await make_socket()
    with pytest.raises(OSError, match="on Linux only") as caught:
        await send(sock, sock.local_address)
    assert caught.value.errno == errno.ENOPROTOOPT
    assert sock.statistics().send_calls == 0


async def test_the_bare_call_refuses_it_too(make_socket):
    sock = await make_socket()
    with pytest.raises(OSError, match="on Linux only"):
        lowlevel.sendmmsg(
            sock.socket.fileno(), [(b"x", sock.local_address, TTL)]
        )
