"""Groups and Ctrl-C: what was received is handed out, what went is known."""

from __future__ import annotations

import signal

import pytest
import trio
from trio.lowlevel import currently_ki_protected

import triobatch
from triobatch._core import calls


@pytest.fixture(autouse=True)
def python_handles_ctrl_c():
    """As at the start of a program: Trio takes over from this handler."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def press_after(monkeypatch):
    """Press Ctrl-C right after the next call of a function has returned."""
    protected = []

    def install(name):
        real = getattr(calls, name)

        def call(*args):
            result = real(*args)
            if not protected:
                protected.append(currently_ki_protected())
                signal.raise_signal(signal.SIGINT)
            return result

        monkeypatch.setattr(calls, name, call)
        return protected

    return install


def connected():
    return tuple(
        triobatch.BatchSocketStream(sock) for sock in trio.socket.socketpair()
    )


def test_between_the_pull_and_the_account(press_after, sets):
    protected = press_after("receive_group")
    batches = []

    async def main():
        left, right = connected()
        async with left, right, triobatch.open_stream_group() as group:
            group.add(left)
            await right.send_all(b"taken")
            batches.append(await group.receive_batch())
            assert left.statistics().bytes_received == 5
            # It is felt here, if it was not at the assignment.
            await trio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert protected == [True]
    assert [data for batch in batches for _, data in batch] == [b"taken"]


def test_between_the_send_and_the_account(press_after, sets):
    protected = press_after("send_group")
    seen = []

    async def main():
        left, right = connected()
        async with left, right, triobatch.open_stream_group() as group:
            group.add(left)
            try:
                group.send_batch_nowait([(left, bytes(5_000_000))])
                await trio.sleep(1)
            finally:
                sent = left.statistics().bytes_sent
                seen.append(sent + group.queued(left))

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert protected == [True]
    assert seen == [5_000_000]


def test_a_wait_can_be_interrupted(sets):
    async def main():
        left, right = connected()
        async with left, right, triobatch.open_stream_group() as group:
            group.add(left)
            trio.lowlevel.current_trio_token().run_sync_soon(
                signal.raise_signal, signal.SIGINT
            )
            await group.receive_batch()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
