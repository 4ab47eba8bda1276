"""Ctrl-C: what the kernel took is accounted for before it is felt."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from trio import socket as tsocket
from trio.lowlevel import currently_ki_protected

import triobatch
from triobatch import BatchSocketStream, Buffers, _write_to
from triobatch._core import calls as _syscalls
from triobatch._core.choice import CORE
from triobatch._streams import send_buffers as _send_buffers
from triobatch._streams import sending as _stream_send
from triobatch._streams.gather import COPY_WHOLE

pytestmark = pytest.mark.usefixtures("python_handles_ctrl_c")

_SMALL = [b"ab", b"cd"]
_LARGE = [bytes(COPY_WHOLE), b"x"]


@pytest.mark.parametrize(
    ("chunks", "system_call"),
    [(_SMALL, "send_copied"), (_LARGE, "send_pointed")],
)
def test_ctrl_c_waits_until_what_was_sent_is_consumed(
    press_after, chunks, system_call
):
    protected = press_after(_syscalls, system_call)
    buffers = Buffers(chunks)

    async def main():
        left, right = map(BatchSocketStream, tsocket.socketpair())
        async with left, right:
            with pytest.raises(KeyboardInterrupt):
                await send_and_wait(left)
            received = await right.receive_some(2 * COPY_WHOLE)
            assert received + bytes(buffers) == b"".join(chunks)
            assert left.statistics().bytes_sent == len(received) > 0

    async def send_and_wait(stream):
        await stream.send_buffers(buffers)
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert protected == [True]


@pytest.mark.skipif(CORE != "c", reason="only the C core copies lists")
def test_ctrl_c_waits_until_a_copied_list_is_counted(press_after):
    from triobatch._core import streams_c as _core_c  # noqa: PLC0415 (it may be missing)

    protected = press_after(_core_c, "_send")

    async def main():
        left, right = map(BatchSocketStream, tsocket.socketpair())
        async with left, right:
            with pytest.raises(KeyboardInterrupt):
                await send_and_wait(left)
            assert left.statistics().bytes_sent == 4

    async def send_and_wait(stream):
        await stream.send_buffers(_SMALL)
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert protected == [True]


@pytest.mark.parametrize("system_call", ["receive", "receive_into"])
def test_ctrl_c_waits_for_a_system_call_that_receives(
    press_after, system_call
):
    protected = press_after(_syscalls, system_call)

    async def main():
        left, right = map(BatchSocketStream, tsocket.socketpair())
        async with left, right:
            await left.send_all(b"x")
            with pytest.raises(KeyboardInterrupt):
                await receive_and_wait(right)
            # The descriptor was not closed with a borrowing socket object.
            await left.send_all(b"y")
            assert await right.receive_some() == b"y"

    async def receive_and_wait(stream):
        if system_call == "receive":
            await stream.receive_some()
        else:
            await stream.receive_into(bytearray(1))
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert protected == [True]


def test_ctrl_c_interrupts_a_send_that_waits():
    # There it is felt at once, and the buffers know where they are.
    whole = bytes(range(256)) * 2**12
    buffers = Buffers(
        [whole[start : start + 100] for start in range(0, len(whole), 100)]
    )

    class Press(trio.abc.Instrument):
        def before_io_wait(self, timeout):
            if timeout and not pressed:
                pressed.append(timeout)
                signal.raise_signal(signal.SIGINT)

    pressed = []

    async def main():
        left, right = map(BatchSocketStream, tsocket.socketpair())
        # Where the pair is one of TCP, it takes much.
        left.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_SNDBUF, 2**16)
        async with left, right:
            with pytest.raises(KeyboardInterrupt):
                await left.send_buffers(buffers)
            await left.send_eof()
            received = b"".join([piece async for piece in right])
        assert received
        assert received + bytes(buffers) == whole

    trio.run(main, instruments=[Press()])
    # Nothing believes that they are still on their way.
    buffers.clear()


def test_ctrl_c_waits_until_a_call_that_never_waits_is_done(press_after):
    protected = press_after(_stream_send, "Gather")
    buffers = Buffers(_SMALL)

    async def main():
        left, right = map(BatchSocketStream, tsocket.socketpair())
        async with left, right:
            with pytest.raises(KeyboardInterrupt):
                await send_and_wait(left)
            assert not buffers
            assert await right.receive_some() == b"abcd"
            # Nobody is believed to be sending still.
            await left.send_buffers(buffers)

    async def send_and_wait(stream):
        assert stream.send_buffers_nowait(buffers) == 4
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert protected == [True]


@pytest.mark.skipif(not hasattr(trio.lowlevel, "FdStream"), reason="POSIX's")
def test_ctrl_c_waits_until_what_a_pipe_took_is_consumed(press_after):
    protected = press_after(_write_to, "writev")
    buffers = Buffers(_SMALL)
    reader, writer = os.pipe()

    async def main():
        async with trio.lowlevel.FdStream(writer) as pipe:
            with pytest.raises(KeyboardInterrupt):
                await write_and_wait(pipe)

    async def write_and_wait(pipe):
        await buffers.write_to(pipe)
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert protected == [True]
    assert os.read(reader, 9) + bytes(buffers) == b"abcd"
    os.close(reader)
    buffers.clear()


class Pressing(trio.abc.SendStream):
    """Presses Ctrl-C when it has sent a piece."""

    def __init__(self):
        self.sent = b""

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        self.sent += data
        signal.raise_signal(signal.SIGINT)

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


def test_ctrl_c_waits_until_a_piece_that_was_sent_is_consumed():
    stream = Pressing()
    buffers = Buffers([b"a" * _send_buffers.PIECE_SIZE, b"b"])

    async def main():
        with pytest.raises(KeyboardInterrupt):
            await triobatch.send_buffers(stream, buffers)

    trio.run(main)
    # At the second piece's own checkpoint.
    assert stream.sent == b"a" * _send_buffers.PIECE_SIZE
    assert bytes(buffers) == b"b"
    buffers.clear()


def test_ctrl_c_waits_until_what_a_file_took_is_consumed(
    tmp_path, monkeypatch
):
    run_sync = trio.to_thread.run_sync
    protected = []

    async def run_and_press(function, *args, **options):
        try:
            return await run_sync(function, *args, **options)
        finally:
            if function.__name__ == "write" and not protected:
                protected.append(currently_ki_protected())
                signal.raise_signal(signal.SIGINT)

    buffers = Buffers(_SMALL)

    async def main():
        monkeypatch.setattr(trio.to_thread, "run_sync", run_and_press)
        async with await trio.open_file(tmp_path / "file", "wb", 0) as file:
            with pytest.raises(KeyboardInterrupt):
                await write_and_wait(file)

    async def write_and_wait(file):
        await buffers.write_to(file)
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert protected == [True]
    assert (tmp_path / "file").read_bytes() + bytes(buffers) == b"abcd"
    buffers.clear()
