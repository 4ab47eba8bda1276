"""A broker for publish and subscribe: one task for all connections.

A client says ``sub TOPIC`` or ``pub TOPIC TEXT``, a line each.
"""

from __future__ import annotations

import functools

import trio

import triobatch

LONGEST_LINE = 4096


class Broker:
    def __init__(self) -> None:
        self._unfinished: dict[triobatch.BatchSocketStream, bytes] = {}
        # Only topics that somebody has subscribed to: strangers name them.
        self._subscribers: dict[
            bytes, dict[triobatch.BatchSocketStream, None]
        ] = {}

    async def handle(
        self,
        group: triobatch.StreamGroup,
        batch: list[tuple[triobatch.BatchSocketStream, bytes]],
    ) -> None:
        messages: list[tuple[triobatch.BatchSocketStream, bytes]] = []
        for stream, data in batch:
            if not data:
                self._forget(stream)
                continue
            unfinished = self._unfinished.pop(stream, b"") + data
            *lines, unfinished = unfinished.split(b"\n")
            if len(unfinished) > LONGEST_LINE:
                await self._drop(stream)
                continue
            self._unfinished[stream] = unfinished
            for line in lines:
                messages += self._obey(stream, line)
        # Everything that this batch has caused leaves with one call.
        for stream, _ in group.send_batch_nowait(messages):
            await self._drop(stream)  # it is too slow, or has gone

    def _obey(
        self, stream: triobatch.BatchSocketStream, line: bytes
    ) -> list[tuple[triobatch.BatchSocketStream, bytes]]:
        verb, _, rest = line.partition(b" ")
        topic, _, text = rest.partition(b" ")
        if verb == b"sub":
            self._subscribers.setdefault(topic, {})[stream] = None
            return [(stream, b"subscribed to " + topic + b"\n")]
        if verb == b"pub":
            message = topic + b": " + text + b"\n"
            return [
                (each, message) for each in self._subscribers.get(topic, ())
            ]
        return [(stream, b"what?\n")]

    def _forget(self, stream: triobatch.BatchSocketStream) -> None:
        self._unfinished.pop(stream, None)
        for topic, subscribers in list(self._subscribers.items()):
            subscribers.pop(stream, None)
            if not subscribers:
                del self._subscribers[topic]

    async def _drop(self, stream: triobatch.BatchSocketStream) -> None:
        self._forget(stream)
        await trio.aclose_forcefully(stream)


# Try it: two who listen, one who speaks.
async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(
            triobatch.serve_tcp_batches, host="127.0.0.1"
        )
        listeners = await nursery.start(serve, Broker().handle, 0)
        address = listeners[0].socket.getsockname()
        ann = await triobatch.open_tcp_stream(*address)
        bob = await triobatch.open_tcp_stream(*address)
        async with ann, bob:
            for stream in [ann, bob]:
                await stream.send_all(b"sub weather\n")
                print(await stream.receive_some())
            await bob.send_all(b"hello\npub weather it ra")
            await bob.send_all(b"ins\n")
            reader = triobatch.BufferedReceiveStream(bob)
            for _ in range(2):
                print("bob hears", await reader.receive_until(b"\n", 100))
            print("ann hears", await ann.receive_some())
        nursery.cancel_scope.cancel()


trio.run(main)
