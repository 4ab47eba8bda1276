"""Ctrl-C, and the grace time of a message that is part-way out."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triobatch import BatchSocketStream, open_batch_sender

pytestmark = [
    pytest.mark.usefixtures("python_handles_ctrl_c"),
    pytest.mark.skipif(
        os.name == "nt", reason="Windows has no signals to send to oneself"
    ),
]

# So long that a test that waits for it fails.
GRACE = 1000


class BodyError(Exception):
    """What a body raises."""


def press():
    signal.raise_signal(signal.SIGINT)


async def connected():
    left, right = trio.socket.socketpair()
    return BatchSocketStream(left), BatchSocketStream(right)


# So that it does not come out here, but in the main task.
@trio.lowlevel.enable_ki_protection
async def press_when_blocked():
    await wait_all_tasks_blocked()
    press()


class Stuck(trio.abc.SendStream):
    """Takes nothing."""

    async def send_all(self, _):
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


MESSAGE = bytes(5_000_000)


def check(sender, exact):
    if exact:
        assert 0 < len(sender.unfinished) < len(MESSAGE)
        assert sender.uncertain == []
    else:
        assert sender.uncertain == [MESSAGE]
    assert sender.unsent == []


@pytest.mark.parametrize("exact", [True, False])
def test_ctrl_c_in_the_block_gives_no_grace(exact):
    sender = None

    async def main():
        nonlocal sender
        left, right = await connected()
        async with (
            left,
            right,
            open_batch_sender(
                left if exact else Stuck(), grace=GRACE
            ) as sender,
        ):
            sender.send_nowait(MESSAGE)
            await wait_all_tasks_blocked()
            press()
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    check(sender, exact)


@pytest.mark.parametrize("exact", [True, False])
def test_ctrl_c_while_the_rest_is_sent_gives_no_grace(exact):
    sender = None

    async def main():
        nonlocal sender
        left, right = await connected()
        async with (
            trio.open_nursery() as nursery,
            left,
            right,
            open_batch_sender(
                left if exact else Stuck(), grace=GRACE
            ) as sender,
        ):
            sender.send_nowait(MESSAGE)
            nursery.start_soon(press_when_blocked)

    with pytest.RaisesGroup(KeyboardInterrupt):
        trio.run(main)
    check(sender, exact)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("left_by", ["an exception", "a cancellation"])
def test_ctrl_c_ends_the_grace_time(exact, left_by):
    sender = None

    async def main():
        nonlocal sender
        left, right = await connected()
        async with left, right, trio.open_nursery() as nursery:
            nursery.start_soon(press_in_grace)
            with trio.CancelScope() as scope:
                async with open_batch_sender(
                    left if exact else Stuck(), grace=GRACE
                ) as sender:
                    sender.send_nowait(MESSAGE)
                    await wait_all_tasks_blocked()
                    leaving.set()
                    if left_by == "an exception":
                        raise BodyError
                    scope.cancel()
                    await trio.sleep_forever()

    async def press_in_grace():
        await leaving.wait()
        with trio.CancelScope(shield=True):
            await press_when_blocked()

    leaving = trio.Event()
    with pytest.RaisesGroup(KeyboardInterrupt) as caught:
        trio.run(main)
    (interrupt,) = caught.value.exceptions
    # What the block was left by is not lost.
    if left_by == "an exception":
        assert isinstance(interrupt.__context__, BodyError)
    check(sender, exact)


def test_in_another_task_it_is_a_cancellation_with_a_grace_time():
    received = bytearray()
    sender = None

    async def serve(left):
        nonlocal sender
        async with open_batch_sender(
            left, max_buffered=2**30, grace=GRACE
        ) as sender:
            sender.send_nowait(MESSAGE)
            sender.send_nowait(b"after")
            await trio.sleep_forever()

    async def receive(right):
        with trio.CancelScope(shield=True):
            await pressed.wait()
            while len(received) < len(MESSAGE):
                received.extend(await right.receive_some())

    async def main():
        left, right = await connected()
        async with left, right, trio.open_nursery() as nursery:
            nursery.start_soon(serve, left)
            nursery.start_soon(receive, right)
            await wait_all_tasks_blocked()
            pressed.set()
            press()

    pressed = trio.Event()
    with pytest.RaisesGroup(KeyboardInterrupt):
        trio.run(main)
    assert received == MESSAGE
    assert (sender.unsent, sender.unfinished) == ([b"after"], b"")


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_ctrl_c_at_any_moment_loses_nothing(delay):
    received = bytearray()
    queued = []
    sender = None

    # Or what was received is lost between two lines of this test.
    @trio.lowlevel.enable_ki_protection
    async def read(right):
        with trio.CancelScope(shield=True):
            async for data in right:
                received.extend(data)

    async def main():
        nonlocal sender
        left, right = await connected()
        async with right, trio.open_nursery() as nursery:
            nursery.start_soon(read, right)
            async with left:
                timer = threading.Timer(delay, press_from_elsewhere)
                try:
                    async with open_batch_sender(
                        left, max_buffered=1000
                    ) as sender:
                        timer.start()
                        while True:
                            data = b"<%d>" % len(queued)
                            queued.append(data)
                            await sender.send(data)
                finally:
                    timer.join()

    def press_from_elsewhere():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.RaisesGroup(KeyboardInterrupt):
        trio.run(main)
    sent = received + sender.unfinished + b"".join(sender.unsent)
    # The last one may have been interrupted before it was queued, and only
    # if it is not there.
    assert sent in (b"".join(queued), b"".join(queued[:-1]))
