"""Whose a Unix listener's name is, when several want it."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import subprocess
import sys

import pytest
import trio
from trio.testing import assert_checkpoints

import triobatch
from triobatch import _unix_name as unix_name

fcntl = pytest.importorskip("fcntl")

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="abstract names are Linux's"
)


@pytest.fixture
def where(tmp_path):
    return tmp_path / "socket"


@pytest.fixture
def lock(where):
    return where.with_name("socket.triobatch-lock")


def leave_behind(where):
    """Bind a socket and close it, as a process that was killed does."""
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as sock:
        sock.bind(os.fspath(where))


async def check_it_answers(listener, name):
    async with (
        await triobatch.open_unix_socket(name) as stream,
        await listener.accept() as accepted,
    ):
        await accepted.send_all(b"x")
        assert await stream.receive_some() == b"x"


# Servers that start at once


@pytest.mark.parametrize("stale", [False, True])
async def test_of_servers_that_start_at_once_one_listens(where, stale):
    for _ in range(20):
        if stale:
            leave_behind(where)
        listeners, refusals = [], []

        async def start(listeners, refusals):
            try:
                listeners.append(await triobatch.open_unix_listener(where))
            except OSError as error:
                refusals.append(error.errno)

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(start, listeners, refusals)
        [listener] = listeners
        assert refusals == [errno.EADDRINUSE] * 5
        assert os.listdir(where.parent) == [where.name]
        await listener.aclose()
        assert os.listdir(where.parent) == []


@pytest.mark.parametrize("stale", [False, True])
def test_of_processes_that_start_at_once_one_listens(where, stale):
    if stale:
        leave_behind(where)
    program = """if True:
        import sys, trio, triobatch
        async def main():
            sys.stdin.read(1)
            async with await triobatch.open_unix_listener(sys.argv[1]):
                print("listens", flush=True)
                sys.stdin.read(1)
        trio.run(main)
    """
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", program, where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for server in servers:
        server.stdin.write(b"\n")
        server.stdin.flush()
    # Those that are refused end; the other does when its input does.
    said = [server.stdout.readline() for server in servers]
    assert sorted(said) == [b"", b"", b"listens\n"]
    for line, server in zip(said, servers, strict=True):
        _, errors = server.communicate()
        assert line or b"Address already in use" in errors
    assert not where.exists()


async def test_one_that_is_about_to_listen_has_the_name_already(
    where, monkeypatch
):
    monkeypatch.setattr(unix_name, "_PATIENCE", 0.02)
    chmod = os.chmod
    refused = []

    def start_another(path, mode):
        chmod(path, mode)
        with pytest.raises(OSError, match="in use") as caught:
            trio.from_thread.run(triobatch.open_unix_listener, where)
        refused.append(caught.value.errno)

    monkeypatch.setattr(os, "chmod", start_another)
    listener = await triobatch.open_unix_listener(where, mode=0o600)
    monkeypatch.setattr(os, "chmod", chmod)
    assert refused == [errno.EADDRINUSE]
    async with listener:
        await check_it_answers(listener, where)
    assert not where.exists()


@on_linux
@pytest.mark.parametrize("relative", [False, True])
async def test_one_of_another_make_that_is_about_to_listen_keeps_it(
    where, monkeypatch, relative
):
    monkeypatch.chdir(where.parent)
    name = where.name if relative else os.fspath(where)
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as other:
        other.bind(name)
        with pytest.raises(OSError, match="about to listen") as caught:
            await triobatch.open_unix_listener(name)
        assert caught.value.errno == errno.EADDRINUSE
        other.listen()
        async with await triobatch.open_unix_socket(name):
            pass


async def test_a_lock_that_is_not_let_go_of_is_an_error(
    where, lock, monkeypatch
):
    monkeypatch.setattr(unix_name, "_PATIENCE", 0.02)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="about to listen") as caught:
            await triobatch.open_unix_listener(where)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.filename == os.fspath(where)
    assert not where.exists()


async def test_waiting_for_the_lock_can_be_cancelled(where, lock):
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with trio.move_on_after(0.02) as scope:
            await triobatch.open_unix_listener(where)
    assert scope.cancelled_caught
    assert not where.exists()


async def test_a_lock_that_a_killed_process_left_is_none(where, lock):
    lock.touch()
    async with await triobatch.open_unix_listener(where):
        assert os.listdir(where.parent) == [where.name]


async def test_a_lock_that_was_let_go_of_meanwhile_is_none(
    where, lock, monkeypatch
):
    """Its file is gone, and who came next has another."""
    monkeypatch.setattr(unix_name, "_PATIENCE", 0.02)
    flock = fcntl.flock
    others = []

    def lock_late(fd, operation):
        if not others:
            lock.unlink()
            others.append(lock.open("w"))
            flock(others[0], operation)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with pytest.raises(OSError, match="about to listen"):
        await triobatch.open_unix_listener(where)
    others[0].close()
    async with await triobatch.open_unix_listener(where):
        assert os.listdir(where.parent) == [where.name]


async def test_a_lock_that_is_a_link_is_not_followed(where, lock):
    target = where.with_name("target")
    lock.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links") as caught:
        await triobatch.open_unix_listener(where)
    assert caught.value.errno == errno.ELOOP
    assert not target.exists()


# Who closes


async def test_a_name_with_the_same_inode_number_is_somebody_elses(where):
    """As file systems give them out anew, were the socket not bound still."""
    for _ in range(5):
        listener = await triobatch.open_unix_listener(where)
        where.unlink()
        with stdlib_socket.socket(stdlib_socket.AF_UNIX) as other:
            other.bind(os.fspath(where))
            await listener.aclose()
            assert where.is_socket()
        where.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_a_forked_worker_closes_stays_for_the_others(where):
    program = """if True:
        import os, sys, trio, triobatch
        path = sys.argv[1]
        listener = trio.run(triobatch.open_unix_listener, path)
        if os.fork() == 0:
            trio.run(listener.aclose)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert os.path.exists(path)

        async def serve():
            async with listener:
                await triobatch.open_unix_socket(path)
                await listener.accept()

        trio.run(serve)
        assert not os.path.exists(path)
    """
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, where], check=True
    )


@pytest.mark.parametrize("form", [str, os.fsencode])
async def test_a_relative_name_is_not_left_behind_by_chdir(
    where, form, monkeypatch
):
    monkeypatch.chdir(where.parent)
    listener = await triobatch.open_unix_listener(form("socket"))
    assert listener.socket.getsockname() == "socket"
    (where.parent / "below").mkdir()
    leave_behind(where.parent / "below" / "socket")
    monkeypatch.chdir(where.parent / "below")
    await listener.aclose()
    assert not where.exists()
    # What has the same name there is not ours.
    assert (where.parent / "below" / "socket").exists()


async def test_a_name_above_a_symbolic_link_is_found_again(where, monkeypatch):
    # link/../socket is not ./socket.
    (where.parent / "a" / "b").mkdir(parents=True)
    (where.parent / "link").symlink_to(where.parent / "a" / "b")
    monkeypatch.chdir(where.parent)
    listener = await triobatch.open_unix_listener("link/../socket")
    assert (where.parent / "a" / "socket").is_socket()
    monkeypatch.chdir("/")
    await listener.aclose()
    assert not (where.parent / "a" / "socket").exists()


# Names


@on_linux
@pytest.mark.parametrize("form", [str, str.encode])
async def test_an_abstract_name_is_in_no_file_system(form):
    name = form(f"\0triobatch-{os.getpid()}")
    with assert_checkpoints():
        listener = await triobatch.open_unix_listener(name)
    async with listener:
        expected = name.encode() if isinstance(name, str) else name
        assert listener.socket.getsockname() == expected
        await check_it_answers(listener, name)
        with pytest.raises(OSError, match="in use") as caught:
            await triobatch.open_unix_listener(name)
        assert caught.value.errno == errno.EADDRINUSE
    async with await triobatch.open_unix_listener(name):
        pass


@on_linux
async def test_an_abstract_name_has_no_mode():
    with pytest.raises(ValueError, match="no mode, not 384"):
        await triobatch.open_unix_listener("\0triobatch", mode=0o600)


@pytest.mark.parametrize("name", ["", b"", "a\0b", b"a\0b", "/a\0"])
@pytest.mark.parametrize(
    "opening", [triobatch.open_unix_listener, triobatch.open_unix_socket]
)
async def test_what_is_no_name_is_refused(
    opening, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="filename must not"):
        await opening(name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["live", "stale", "missing"])
async def test_a_symbolic_link_is_refused(where, target):
    link = where.with_name("link")
    link.symlink_to(where)
    if target == "stale":
        leave_behind(where)
    listener = None
    if target == "live":
        listener = await triobatch.open_unix_listener(where)
    with pytest.raises(OSError, match="is a symbolic link") as it:
        await triobatch.open_unix_listener(link)
    assert it.value.errno == errno.EADDRINUSE
    assert it.value.filename == os.fspath(link)
    assert link.is_symlink()
    assert where.exists() is (target != "missing")
    if listener is not None:
        # One may connect through it.
        await check_it_answers(listener, link)
        await listener.aclose()


async def test_a_name_that_is_too_long_leaves_nothing_behind(where):
    with pytest.raises(OSError, match="too long"):
        await triobatch.open_unix_listener(where.with_name("x" * 150))
    assert os.listdir(where.parent) == []


async def test_a_name_without_rights_to_its_directory_says_which(where):
    where.parent.chmod(0o500)
    if os.access(where.parent, os.W_OK):
        pytest.skip("root may do all")
    with pytest.raises(PermissionError) as caught:
        await triobatch.open_unix_listener(where)
    assert caught.value.filename == os.fspath(where)


# Connecting


@pytest.fixture
async def full(where):
    """A listener whose backlog is full, and the sockets that wait in it."""
    waiting = []
    async with await triobatch.open_unix_listener(where, backlog=0) as server:
        try:
            while True:
                sock = stdlib_socket.socket(stdlib_socket.AF_UNIX)
                waiting.append(sock)
                sock.setblocking(False)
                sock.connect(os.fspath(where))
        except BlockingIOError:
            pass
        yield server
        for sock in waiting:
            sock.close()


@on_linux
async def test_a_backlog_that_stays_full_is_an_error(
    full, where, autojump_clock
):
    start = trio.current_time()
    with pytest.raises(OSError, match="backlog is full") as caught:
        await triobatch.open_unix_socket(where)
    assert caught.value.errno == errno.EAGAIN
    assert caught.value.filename == os.fspath(where)
    assert trio.current_time() - start == pytest.approx(1.023)


@on_linux
async def test_a_backlog_that_was_full_takes_a_connection(full, where):
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def connect():
            async with await triobatch.open_unix_socket(where) as stream:
                assert stream.socket.getpeername() == os.fspath(where)
                await stream.send_all(b"here")

        # Not yet: it has been refused once.
        await trio.sleep(0.005)
        received = b""
        while received != b"here":
            async with await full.accept() as accepted:
                with trio.move_on_after(0.01):
                    received = await accepted.receive_some()


@on_linux
async def test_waiting_for_a_backlog_can_be_cancelled(full, where):
    with trio.move_on_after(0.01) as scope:
        await triobatch.open_unix_socket(where)
    assert scope.cancelled_caught


async def test_an_isinstance_check_for_trios_listener_is_passed(where):
    async with await triobatch.open_unix_listener(where) as listener:
        assert isinstance(listener, trio.SocketListener)


async def test_a_name_that_is_gone_by_then_is_nobodys(where, monkeypatch):
    leave_behind(where)
    real = unix_name._is_taken

    def is_taken(path):
        taken = real(path)
        where.unlink()
        return taken

    monkeypatch.setattr(unix_name, "_is_taken", is_taken)
    async with await triobatch.open_unix_listener(where) as listener:
        monkeypatch.undo()
        await check_it_answers(listener, where)


async def test_a_name_that_cannot_be_listened_on_is_removed(
    where, monkeypatch
):
    def fail(*_):
        raise PermissionError(errno.EPERM, "no mode")

    monkeypatch.setattr(os, "chmod", fail)
    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(PermissionError):
        await triobatch.open_unix_listener(where, mode=0o600)
    assert list(where.parent.iterdir()) == []


async def test_a_lock_that_cannot_be_taken_is_closed(where, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="No locks"):
        await triobatch.open_unix_listener(where)
    assert os.listdir("/proc/self/fd") == before


@on_linux
async def test_without_proc_a_name_is_as_good_as_left_behind(
    where, monkeypatch
):
    leave_behind(where)
    real = open

    def no_proc(path, *args, **options):
        if path == "/proc/net/unix":
            raise FileNotFoundError(errno.ENOENT, "not mounted", path)
        return real(path, *args, **options)

    monkeypatch.setattr("builtins.open", no_proc)
    async with await triobatch.open_unix_listener(where) as listener:
        await check_it_answers(listener, where)


def test_a_forked_worker_leaves_the_name(where):
    where.touch()
    name = unix_name.UnixName(os.fspath(where))
    name._process = os.getpid() + 1
    name.remove()
    assert where.exists()
