"""Ctrl-C in the midst of a call loses nothing and leaves all usable."""

import signal

import pytest
import trio

from triobatch import Datagrams
from triobatch._core import calls as syscalls
from triobatch._datagrams.inbox import Inbox

pytestmark = pytest.mark.usefixtures("python_handles_ctrl_c")


class Pressing(Datagrams):
    """Presses Ctrl-C once, when it is lent or when it is given back."""

    __slots__ = ("left", "lent")

    def __init__(self, datagrams, *, when_claimed):
        self.left = []
        super().__init__(datagrams)
        self.left.append(when_claimed)

    @property
    def _claimed(self):
        return self.lent

    @_claimed.setter
    def _claimed(self, lent):
        if lent:
            self.lent = lent
        if self.left == [lent]:
            self.left.clear()
            signal.raise_signal(signal.SIGINT)
        self.lent = lent


@pytest.mark.parametrize("when_claimed", [True, False])
@pytest.mark.parametrize("method", ["send_batch", "send_batch_nowait"])
def test_an_interrupted_batch_can_be_sent_again(
    datagram_sockets, method, when_claimed
):
    async def send(sender, queue):
        result = getattr(sender, method)(queue)
        if method == "send_batch":
            await result

    async def interrupted(sender, queue):
        await send(sender, queue)
        # Where it was held off, it is felt at the next checkpoint.
        await trio.lowlevel.checkpoint()

    async def main():
        sender, receiver = datagram_sockets()
        async with sender, receiver:
            queue = Pressing(
                [(b"a", None), (b"b", None)], when_claimed=when_claimed
            )
            # Its traceback is alive, as in a handler that tries again.
            with pytest.raises(KeyboardInterrupt) as info:
                await interrupted(sender, queue)
            assert not queue.left
            await send(sender, queue)
            assert not queue
            got = await receiver.receive_batch()
            assert [payload for payload, _ in got] == [b"a", b"b"]
            del info

    trio.run(main)


@pytest.mark.parametrize("method", ["send_batch", "send_batch_nowait"])
def test_what_the_kernel_took_is_consumed_before_ctrl_c_is_felt(
    datagram_sockets, press_after, method
):
    async def interrupted(sender, queue):
        result = getattr(sender, method)(queue)
        if method == "send_batch":
            await result
        await trio.lowlevel.checkpoint()

    async def main():
        sender, receiver = datagram_sockets()
        async with sender, receiver:
            payloads = [b"%d" % i for i in range(100)]
            queue = Datagrams((payload, None) for payload in payloads)
            press_after(syscalls, "send_past")
            with pytest.raises(KeyboardInterrupt):
                await interrupted(sender, queue)
            arrived = []
            with pytest.raises(trio.WouldBlock):
                while True:
                    arrived += receiver.receive_batch_nowait()
            assert arrived
            left = [payload for payload, _ in queue]
            assert [p for p, _ in arrived] + left == payloads
            assert sender.statistics().datagrams_sent == len(arrived)

    trio.run(main)


@pytest.mark.parametrize(
    ("owner", "name"), [(syscalls, "receive_datagrams"), (Inbox, "take")]
)
def test_what_the_kernel_gave_is_handed_out_before_ctrl_c_is_felt(
    datagram_sockets, press_after, owner, name
):
    arrived = []

    async def interrupted(receiver):
        arrived.extend(await receiver.receive_batch())
        await trio.lowlevel.checkpoint()

    async def main():
        sender, receiver = datagram_sockets()
        async with sender, receiver:
            await sender.send_many([b"a", b"b"])
            press_after(owner, name)
            with pytest.raises(KeyboardInterrupt):
                await interrupted(receiver)
            if not arrived:
                arrived.extend(receiver.receive_batch_nowait())
            assert [payload for payload, _ in arrived] == [b"a", b"b"]

    trio.run(main)
