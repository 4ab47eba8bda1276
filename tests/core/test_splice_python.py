"""Parts of files, through the standard library."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from triobatch._core import splice_python

CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb", buffering=0) as file:
        yield file


@pytest.fixture
def sockets():
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


@pytest.mark.parametrize("windows", [False, True])
def test_a_part_of_a_file_is_read(file, monkeypatch, windows):
    if windows:
        monkeypatch.delattr(os, "pread", raising=False)
    for offset, size in ((0, 0), (3, 5), (0, len(CONTENT) + 1), (2**30, 5)):
        part = splice_python.read_file(file.fileno(), offset, size)
        assert part == CONTENT[offset : offset + size]


@pytest.mark.skipif(not hasattr(os, "pread"), reason="there is no pread(2)")
def test_a_short_read_is_gone_on_with(file, monkeypatch):
    original = os.pread
    monkeypatch.setattr(
        os, "pread", lambda fd, size, at: original(fd, min(size, 100), at)
    )
    part = splice_python.read_file(file.fileno(), 7, 1000)
    assert part == CONTENT[7:1007]


@pytest.mark.parametrize("windows", [False, True])
def test_a_part_of_a_file_is_sent(file, sockets, monkeypatch, windows):
    if windows:
        monkeypatch.delattr(os, "sendfile", raising=False)
    left, right = sockets
    sent = splice_python.send_file(left.fileno(), file.fileno(), 3, 1000)
    assert right.recv(2000) == CONTENT[3 : 3 + sent]
    end = len(CONTENT)
    assert splice_python.send_file(left.fileno(), file.fileno(), end, 9) == 0


@pytest.mark.skipif(
    not hasattr(os, "sendfile"), reason="there is no sendfile(2)"
)
@pytest.mark.parametrize("pending", [False, True])
def test_sigpipe_is_held_off_and_taken(file, sockets, pending):
    only = {signal.SIGPIPE}
    left, right = sockets
    right.close()
    handler = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, only)
    try:
        if pending:
            signal.raise_signal(signal.SIGPIPE)
        else:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with pytest.raises(BrokenPipeError):
            splice_python.send_file(left.fileno(), file.fileno(), 0, 9)
        assert (signal.SIGPIPE in signal.sigpending()) == pending
        if pending:
            signal.sigwait(only)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGPIPE, handler)


def test_what_is_not_in_memory_is_told(file, monkeypatch):
    asked = []

    def preadv(fd, buffers, offset, flags):
        asked.append(offset)
        if offset >= 3 * 65536:
            raise BlockingIOError
        return 1

    # PyPy's os has neither.
    monkeypatch.setattr(os, "preadv", preadv, raising=False)
    monkeypatch.setattr(splice_python, "_NO_WAIT", 8)
    fd = file.fileno()
    assert splice_python.cached(fd, 0, 2 * 65536) == 2 * 65536
    assert splice_python.cached(fd, 65536, 2**20) == 2 * 65536
    assert splice_python.cached(fd, 3 * 65536, 10) == 0
    assert asked[-1] == 3 * 65536
    monkeypatch.setattr(splice_python, "_NO_WAIT", None)
    assert splice_python.cached(fd, 3 * 65536, 10) == 10


def test_a_piece_of_which_more_will_follow_is_sent(sockets):
    left, right = sockets
    assert splice_python.send_more(left.fileno(), b"abc") == 3
    assert right.recv(9) == b"abc"


def test_where_it_cannot_be_told_all_is_in_memory():
    reader, writer = os.pipe()
    try:
        # ESPIPE.
        assert splice_python.cached(reader, 0, 10) == 10
    finally:
        os.close(reader)
        os.close(writer)
