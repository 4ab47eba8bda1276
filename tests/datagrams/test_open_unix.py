"""A Unix socket for datagrams, and the name that it has while it is open."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys

import pytest
import trio
from needs import needs_unix_sockets
from trio.testing import assert_checkpoints

from triobatch import DatagramSocket, open_unix_datagram_socket
from triobatch import _unix_name as unix_name


@pytest.fixture
def where(tmp_path):
    return tmp_path / "socket"


async def check_it_receives(sock, name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", name)
    assert await sock.receive() == (b"hello", None)


@needs_unix_sockets
async def test_it_is_there_while_it_is_open(where):
    with assert_checkpoints():
        sock = await open_unix_datagram_socket(where)
    async with sock:
        assert isinstance(sock, DatagramSocket)
        assert sock.local_address == os.fspath(where)
        assert sock.remote_address is None
        await check_it_receives(sock, os.fspath(where))
    assert list(where.parent.iterdir()) == []
    with assert_checkpoints():
        await sock.aclose()


@needs_unix_sockets
async def test_it_answers_who_has_a_name(where):
    async with (
        await open_unix_datagram_socket(where) as server,
        await open_unix_datagram_socket(where.with_name("client")) as client,
    ):
        await client.send(b"ask", os.fspath(where))
        await server.send_batch(await server.receive_batch())
        assert await client.receive() == (b"ask", os.fspath(where))


@needs_unix_sockets
async def test_what_was_left_behind_is_replaced(where):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(os.fspath(where))
    async with await open_unix_datagram_socket(where) as sock:
        await check_it_receives(sock, os.fspath(where))


@needs_unix_sockets
@pytest.mark.parametrize("connected", [False, True])
async def test_what_is_in_use_is_refused(where, connected, tmp_path):
    async with await open_unix_datagram_socket(where) as sock:
        if connected:
            # It then takes datagrams of its peer only, and connecting fails.
            peer = os.fspath(tmp_path / "peer")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.bind(peer)
                await sock.socket.connect(peer)
        with pytest.raises(OSError, match="somebody else has it") as caught:
            await open_unix_datagram_socket(where)
        assert caught.value.errno == errno.EADDRINUSE
        assert where.exists()


@needs_unix_sockets
async def test_a_streams_name_is_refused(where):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(where))
        listener.listen()
        with pytest.raises(OSError, match="rotocol") as caught:
            await open_unix_datagram_socket(where)
        assert caught.value.errno == errno.EPROTOTYPE
        assert where.exists()


@needs_unix_sockets
async def test_of_those_that_start_at_once_one_has_it(where):
    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
            left.bind(os.fspath(where))
        opened, refused = [], []

        async def start(opened, refused):
            try:
                opened.append(await open_unix_datagram_socket(where))
            except OSError as error:
                refused.append(error.errno)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(start, opened, refused)
        [sock] = opened
        assert refused == [errno.EADDRINUSE] * 4
        await check_it_receives(sock, os.fspath(where))
        await sock.aclose()


@needs_unix_sockets
@pytest.mark.parametrize("mode", [0o600, 0o666, 0o000])
async def test_its_permissions_are_what_was_asked_for(where, mode):
    async with await open_unix_datagram_socket(where, mode=mode):
        assert stat.S_IMODE(where.stat().st_mode) == mode


@pytest.mark.skipif(sys.platform != "linux", reason="fchmod(2) of Linux")
async def test_nobody_can_send_before_its_permissions_are_set(
    where, monkeypatch
):
    seen = []
    chmod = os.chmod

    def look_and_chmod(path, mode):
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        chmod(path, mode)

    monkeypatch.setattr(unix_name.os, "chmod", look_and_chmod)
    async with await open_unix_datagram_socket(where, mode=0o600):
        assert seen == [0o600]


@pytest.mark.skipif(
    sys.platform != "linux", reason="abstract names are Linux's"
)
async def test_an_abstract_name_is_in_no_file_system(where):
    name = f"\0{where}"
    async with await open_unix_datagram_socket(name) as sock:
        assert sock.local_address == name.encode()
        await check_it_receives(sock, name)
    with pytest.raises(ValueError, match="abstract"):
        await open_unix_datagram_socket(name, mode=0o600)


@pytest.mark.parametrize(
    ("path", "error", "match"),
    [
        ("", ValueError, "path must not be empty"),
        ("a\0b", ValueError, "path must not have a NUL"),
        (3, TypeError, "path must be .* not 3"),
    ],
)
async def test_what_is_no_name_is_refused(path, error, match):
    with pytest.raises(error, match=match):
        await open_unix_datagram_socket(path)


@needs_unix_sockets
async def test_a_name_that_is_another_socket_by_now_stays(where):
    async with await open_unix_datagram_socket(where):
        where.unlink()
        other = await open_unix_datagram_socket(where)
    async with other:
        await check_it_receives(other, os.fspath(where))


async def test_a_system_without_unix_sockets_says_so(where, monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(RuntimeError, match="no Unix sockets"):
        await open_unix_datagram_socket(where)
