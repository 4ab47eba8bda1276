"""A statsd collector: counters by UDP, a report now and then."""
# Only on Linux.

from __future__ import annotations

import collections
import functools

import trio
import trio.testing

import triobatch

INTERVAL = 0.2  # seconds between reports; ten, in earnest


class Collector:
    def __init__(self) -> None:
        self.counts: collections.Counter[bytes] = collections.Counter()
        self.malformed = 0

    async def handle(
        self,
        batch: list[tuple[bytes, triobatch.Address]],
        _sender: triobatch.DatagramBatchSender,
    ) -> None:
        # Nothing is awaited, so each batch is counted as a whole.
        for payload, _ in batch:
            for line in payload.split(b"\n"):
                self.count(line)

    def count(self, line: bytes) -> None:
        """Count ``name:3|c``; any bytes may come here."""
        name, colon, value = line.partition(b":")
        number, _, kind = value.partition(b"|")
        if colon and kind == b"c" and number.isdigit() and len(number) < 10:
            self.counts[name] += int(number)
        else:
            self.malformed += 1

    async def report(self, sockets: list[triobatch.DatagramSocket]) -> None:
        while True:
            await trio.sleep(INTERVAL)
            counts, self.counts = self.counts, collections.Counter()
            dropped = [sock.statistics().kernel_drops for sock in sockets]
            print(
                dict(counts), "malformed:", self.malformed, "dropped:", dropped
            )


# Try it: a program that counts what it does.
async def main() -> None:
    collector = Collector()
    serve = functools.partial(
        triobatch.serve_udp, host="127.0.0.1", receive_buffer_size=4 << 20
    )
    async with trio.open_nursery() as nursery:
        sockets = await nursery.start(serve, collector.handle, 0)
        client = await triobatch.open_udp_socket(
            remote_address=sockets[0].local_address
        )
        async with client, triobatch.open_batch_sender(client) as sender:
            for _ in range(1000):
                await sender.queue(b"requests:1|c")
            await sender.queue(b"bytes:500|c\nnonsense")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(collector.report, sockets)
        await trio.sleep(1.5 * INTERVAL)
        nursery.cancel_scope.cancel()


trio.run(main)
