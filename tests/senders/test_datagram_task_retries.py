"""What the kernel says of the first datagram in line is not the next one's."""

from __future__ import annotations

import errno
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from triobatch import open_batch_sender
from triobatch.testing import os_error, scripted_calls

NO_BUFFERS = os_error(errno.ENOBUFS)
REFUSED = os_error(errno.ECONNREFUSED)
UNREACHABLE = os_error(errno.EHOSTUNREACH)


@asynccontextmanager
async def one_batch(target, address, script):
    """Queue datagrams that leave in one batch, for which the script is.

    Yields a sender, a nursery, and what has become of the script.
    """
    # The one ahead keeps the sending task for the first pause.
    script = [NO_BUFFERS, 1, *script]
    with scripted_calls(target, sending=script) as (sent, _):
        async with (
            open_batch_sender(target) as sender,
            trio.open_nursery() as nursery,
        ):
            sender.send_nowait(b"ahead", address)
            await wait_all_tasks_blocked()
            yield sender, nursery, sent
    assert sent.left == []


async def test_the_next_datagram_has_all_its_tries(udp_pair, autojump_clock):
    left, right, address = udp_pair
    scope = trio.CancelScope()
    script = [*[NO_BUFFERS] * 4, *[NO_BUFFERS] * 5, 1]
    async with one_batch(left, address, script) as (sender, nursery, sent):

        async def send_first():
            with scope:
                await sender.send(b"withdrawn", address)

        nursery.start_soon(send_first)
        await wait_all_tasks_blocked()
        sender.send_nowait(b"behind", address)
        # From 1 ms on it is tried after 0, 1, 3 and 7 ms; next after 15.
        await trio.sleep(0.011)
        assert len(sent.log) == 6
        scope.cancel()
        start = trio.current_time()
        await sender.flush()
        # No pause is longer than the last of one datagram's five.
        assert trio.current_time() - start < 6 * 0.016
    assert scope.cancelled_caught
    assert sender.statistics().refused == 0
    received = await right.receive_batch()
    assert [data for data, _ in received] == [b"ahead", b"behind"]


async def test_a_report_that_another_met_is_not_the_second_of_its_kind(
    udp_pair, autojump_clock
):
    left, _right, address = udp_pair
    scope = trio.CancelScope()
    # After sixteen calls of the core, which reports stop, others may run.
    script = [*[1, REFUSED] * 15, UNREACHABLE, UNREACHABLE, 1]
    async with one_batch(left, address, script) as (sender, nursery, _sent):

        async def send_last_but_one():
            with scope:
                await sender.send(bytes(15), address)

        class Withdraw(trio.abc.Instrument):
            """Before the sending task, which has let others run, goes on."""

            def after_task_step(self, task):
                if sender.statistics().messages == 16:
                    scope.cancel()

        trio.lowlevel.add_instrument(Withdraw())
        for size in range(15):
            # Each is larger than the one before, so they are no run.
            sender.send_nowait(bytes(size), address)
        nursery.start_soon(send_last_but_one)
        await wait_all_tasks_blocked()
        sender.send_nowait(bytes(16), address)
    assert scope.cancelled_caught
    done = sender.statistics()
    assert (done.messages, done.refused) == (17, 0)
