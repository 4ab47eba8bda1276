"""Listening on a name in the file system: whose it is, and who removes it."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import stat
from contextlib import ExitStack

import pytest
import trio
from trio import socket as tsocket
from trio.testing import assert_checkpoints

import triobatch
from triobatch.testing import os_error

pytestmark = pytest.mark.skipif(
    not hasattr(stdlib_socket, "AF_UNIX"), reason="needs Unix sockets"
)


@pytest.fixture
def where(tmp_path):
    return tmp_path / "socket"


def leave_behind(where, type_=stdlib_socket.SOCK_STREAM):
    """Bind a socket and close it, as a process that was killed does."""
    with stdlib_socket.socket(stdlib_socket.AF_UNIX, type_) as sock:
        sock.bind(os.fspath(where))


@pytest.mark.parametrize("form", [str, os.fsencode, os.fspath, lambda p: p])
async def test_a_name_may_have_any_form(where, form):
    with assert_checkpoints():
        listener = await triobatch.open_unix_listener(form(where))
    async with listener:
        stream = await triobatch.open_unix_socket(form(where))
        await stream.aclose()
    assert not where.exists()


async def test_the_name_is_removed_on_closing(where):
    listener = await triobatch.open_unix_listener(where)
    assert where.is_socket()
    await listener.aclose()
    assert not where.exists()
    # And not once more, when somebody else may have it.
    where.touch()
    await listener.aclose()
    assert where.exists()


async def test_the_name_is_removed_on_a_cancelled_closing(where):
    listener = await triobatch.open_unix_listener(where)
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.aclose()
    assert scope.cancelled_caught
    assert not where.exists()


async def test_a_name_that_is_gone_already_is_no_error(where):
    listener = await triobatch.open_unix_listener(where)
    where.unlink()
    await listener.aclose()
    assert listener.socket.fileno() == -1


async def test_a_name_that_is_somebody_elses_by_now_stays(where):
    listener = await triobatch.open_unix_listener(where)
    where.rename(where.with_name("moved"))
    other = await triobatch.open_unix_listener(where)
    await listener.aclose()
    assert where.is_socket()
    await other.aclose()
    assert not where.exists()


async def test_a_stale_socket_is_replaced(where):
    leave_behind(where)
    with assert_checkpoints():
        listener = await triobatch.open_unix_listener(where)
    async with listener, await triobatch.open_unix_socket(where) as stream:
        accepted = await listener.accept()
        await stream.send_all(b"x")
        assert await accepted.receive_some() == b"x"
        await accepted.aclose()


async def test_a_live_socket_is_left_alone(where):
    async with await triobatch.open_unix_listener(where) as listener:
        with pytest.raises(OSError, match="in use") as caught:
            await triobatch.open_unix_listener(where)
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.filename == os.fspath(where)
        assert where.is_socket()
        # It asked by connecting, and went away again.
        async with await listener.accept() as probe:
            assert await probe.receive_some() == b""


async def test_a_live_socket_with_a_full_backlog_is_left_alone(where):
    async with await triobatch.open_unix_listener(where, backlog=0):
        waiting = []
        try:
            while True:
                sock = stdlib_socket.socket(stdlib_socket.AF_UNIX)
                waiting.append(sock)
                sock.setblocking(False)
                sock.connect(os.fspath(where))
        except BlockingIOError:
            pass
        with pytest.raises(OSError, match="in use"):
            await triobatch.open_unix_listener(where)
        assert where.is_socket()
        for sock in waiting:
            sock.close()


async def test_a_full_backlog_is_tried_for_a_second(where, autojump_clock):
    async with await triobatch.open_unix_listener(where, backlog=0):
        with ExitStack() as waiting:
            # PyPy makes room for two.
            with pytest.raises(BlockingIOError):
                while True:
                    sock = waiting.enter_context(
                        stdlib_socket.socket(stdlib_socket.AF_UNIX)
                    )
                    sock.setblocking(False)
                    sock.connect(os.fspath(where))
            start = trio.current_time()
            with pytest.raises(OSError, match="backlog is full"):
                await triobatch.open_unix_socket(where)
            # Each pause is twice as long as the last one.
            assert trio.current_time() - start == pytest.approx(1.023)


async def test_a_connection_that_is_lost_as_it_is_made_is_closed(
    where, monkeypatch
):
    async with await triobatch.open_unix_listener(where):
        made = []

        # As some systems say of one that was reset.
        def fail(sock):
            made.append(sock)
            raise os_error(errno.EINVAL)

        with tsocket.socket() as plain:
            kind = type(plain)
        monkeypatch.setattr(kind, "getpeername", fail)
        with pytest.raises(OSError, match="Invalid"):
            await triobatch.open_unix_socket(where)
        assert [sock.fileno() for sock in made] == [-1]


async def test_a_file_of_another_kind_is_left_alone(where):
    where.write_bytes(b"precious")
    with pytest.raises(OSError, match="in use"):
        await triobatch.open_unix_listener(where)
    assert where.read_bytes() == b"precious"


async def test_a_socket_of_another_type_is_left_alone(where):
    with stdlib_socket.socket(
        stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM
    ) as sock:
        sock.bind(os.fspath(where))
        with pytest.raises(OSError, match="wrong type"):
            await triobatch.open_unix_listener(where)
    assert where.is_socket()


async def test_a_directory_that_is_not_there_is_an_error(where):
    with pytest.raises(FileNotFoundError):
        await triobatch.open_unix_listener(where / "below")


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o777])
async def test_the_mode_is_set_before_anybody_can_connect(where, mode):
    async with await triobatch.open_unix_listener(where, mode=mode):
        assert stat.S_IMODE(where.stat().st_mode) == mode


async def test_the_mode_is_the_umasks_by_default(where):
    before = os.umask(0o027)
    try:
        listener = await triobatch.open_unix_listener(where)
    finally:
        os.umask(before)
    async with listener:
        assert stat.S_IMODE(where.stat().st_mode) == 0o750


@pytest.mark.parametrize("bad", [{"mode": "rw"}, {"backlog": "many"}])
async def test_a_bad_argument_leaves_no_name_behind(where, bad):
    with pytest.raises(TypeError):
        await triobatch.open_unix_listener(where, **bad)
    assert not where.exists()


async def test_a_name_that_cannot_be_removed_is_closed_all_the_same(
    where, monkeypatch
):
    listener = await triobatch.open_unix_listener(where)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        await listener.aclose()
    assert listener.socket.fileno() == -1


async def test_where_there_is_no_socket_connecting_is_an_error(where):
    with pytest.raises(FileNotFoundError):
        await triobatch.open_unix_socket(where)


async def test_where_nobody_listens_connecting_is_an_error(where):
    leave_behind(where)
    with pytest.raises(ConnectionRefusedError):
        await triobatch.open_unix_socket(where)


@pytest.mark.parametrize("name", [3, None])
async def test_a_name_is_a_path(name):
    with pytest.raises(TypeError):
        await triobatch.open_unix_socket(name)
    with pytest.raises(TypeError):
        await triobatch.open_unix_listener(name)


async def test_a_system_without_unix_sockets_says_so(where, monkeypatch):
    monkeypatch.setattr("trio._highlevel_open_unix_stream.has_unix", False)
    with pytest.raises(RuntimeError, match="not supported"):
        await triobatch.open_unix_socket(where)


async def test_a_socket_that_cannot_be_bound_is_closed(where, monkeypatch):
    made = []
    real = tsocket.socket

    def note(*args):
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(tsocket, "socket", note)
    with pytest.raises(FileNotFoundError):
        await triobatch.open_unix_listener(where / "below")
    assert [sock.fileno() for sock in made] == [-1] * len(made)
