"""A log shipper: lines over one connection, which breaks now and then."""

from __future__ import annotations

import collections
import functools

import trio

import triobatch

RETRY = 0.05  # seconds until the next attempt to connect


class Shipper:
    """Ships lines; the server answers with a byte for each that it has."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting, self._lines = trio.open_memory_channel[bytes](1000)
        self._unanswered: collections.deque[bytes] = collections.deque()

    async def log(self, line: bytes) -> None:
        """Ship a line; wait if a thousand are waiting already."""
        await self._waiting.send(line)

    async def run(self) -> None:
        while True:
            try:
                stream = await triobatch.open_tcp_stream(
                    "127.0.0.1", self._port
                )
            except OSError:
                pass
            else:
                async with stream, trio.open_nursery() as nursery:
                    both = nursery.cancel_scope
                    nursery.start_soon(self._send, stream, both)
                    nursery.start_soon(self._hear, stream, both)
            await trio.sleep(RETRY)

    async def _send(
        self, stream: triobatch.BatchSocketStream, both: trio.CancelScope
    ) -> None:
        try:
            # The last connection may have lost any of these.
            await stream.send_buffers(list(self._unanswered))
            async for line in self._lines:
                lines = [line]
                while self._lines.statistics().current_buffer_used:
                    lines.append(self._lines.receive_nowait())
                self._unanswered += lines
                await stream.send_buffers(lines)
        except trio.BrokenResourceError:
            both.cancel()

    async def _hear(
        self, stream: triobatch.BatchSocketStream, both: trio.CancelScope
    ) -> None:
        try:
            async for answers in stream:
                for _ in answers[: len(self._unanswered)]:
                    self._unanswered.popleft()
        except trio.BrokenResourceError:
            pass
        both.cancel()


# Try it: a server whose first connection breaks in the middle.
LINES = [b"line %d\n" % number for number in range(1000)]
received: list[bytes] = []
connections = 0
all_there = trio.Event()


async def collect(stream: triobatch.BatchSocketStream) -> None:
    global connections
    connections += 1
    fragile = connections == 1
    reader = triobatch.BufferedReceiveStream(stream)
    while line := await reader.receive_until(b"\n", limit=1000):
        received.append(line)
        if line == LINES[-1]:
            all_there.set()
        if fragile and len(received) == 100:
            return  # without an answer
        await stream.send_all(b".")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, collect, 0)
        shipper = Shipper(listeners[0].socket.getsockname()[1])
        nursery.start_soon(shipper.run)
        for line in LINES:
            await shipper.log(line)
        with trio.move_on_after(10):
            await all_there.wait()
        print("connections:", connections)
        print("every line has come:", set(received) == set(LINES))
        print("some have come twice:", len(received) > len(LINES))
        nursery.cancel_scope.cancel()


trio.run(main)
