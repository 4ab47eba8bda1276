"""A stream of one's own, checked for what send_buffers promises."""

from __future__ import annotations

from collections.abc import Iterable

import trio
from trio import socket

import triobatch
from triobatch.testing import check_batch_stream


class CountingStream(trio.abc.SendStream):
    """Counts what goes through it."""

    def __init__(self, stream: triobatch.BatchSocketStream) -> None:
        self.stream = stream
        self.bytes_sent = 0

    async def send_buffers(
        self, buffers: triobatch.Buffers | Iterable[bytes]
    ) -> int:
        sent = await self.stream.send_buffers(buffers)
        self.bytes_sent += sent
        return sent

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)
        self.bytes_sent += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


async def make_pair() -> tuple[CountingStream, triobatch.BatchSocketStream]:
    near, far = socket.socketpair()
    sending = triobatch.BatchSocketStream(near)
    return CountingStream(sending), triobatch.BatchSocketStream(far)


async def main() -> None:
    await check_batch_stream(make_pair, None)
    print("keeps all promises")


trio.run(main)
