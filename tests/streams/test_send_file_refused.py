"""Where the kernel does not take a file: what is said, and what is waited."""

from __future__ import annotations

import errno
import os

import pytest
import trio

from triobatch import Buffers, FileSlice
from triobatch._core import calls


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize("header", [(), [b"header"]])
async def test_a_file_that_is_gone_is_not_taken_for_the_socket(
    pair, file, header
):
    left, right = pair
    part = FileSlice(file)
    number = file.fileno()
    spare = os.dup(number)
    os.close(number)
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="Bad file") as caught:
                await left.send_file(part, header=header)
            assert caught.value.errno == errno.EBADF
    finally:
        os.dup2(spare, number)
        os.close(spare)
    await left.send_all(b"still here")
    assert (await right.receive_some()).endswith(b"still here")


@pytest.mark.parametrize("header", [(), [b"header"]])
async def test_does_not_spin_where_the_kernel_takes_nothing(
    pair, file, header, monkeypatch
):
    left, _ = pair
    tries = 0

    def refuse(*_):
        nonlocal tries
        tries += 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(calls, "send_file", refuse)
    monkeypatch.setattr(calls, "send_more", refuse)
    part = FileSlice(file)
    with trio.move_on_after(0.3):
        await left.send_file(part, header=Buffers(header))
    assert 1 < tries < 100
    assert part.nbytes == 100_000
