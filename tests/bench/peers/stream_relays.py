"""Relays between the first two connections: triobatch, loop, or a LOOP.

``loop`` is what Trio programs do; asyncio and uvloop do the same with streams.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import trio
from asyncio_streams import run_on
from measuring import answer

import triobatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# As Trio's receive_some asks for by itself at first.
ROOM = 65536


async def hand_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    while data := await source.receive_some(ROOM):
        await sink.send_all(data)
    await sink.send_eof()


async def by_loop(first: trio.SocketStream, second: trio.SocketStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_on, first, second)
        nursery.start_soon(hand_on, second, first)


async def run(
    open_listeners: Callable[..., Awaitable[Any]],
    relay: Callable[[Any, Any], Awaitable[object]],
) -> None:
    (listener,) = await open_listeners(0, host="127.0.0.1")
    answer(ready=True, port=listener.socket.getsockname()[1])
    first = await listener.accept()
    second = await listener.accept()
    await relay(first, second)


async def hand_on_in_asyncio(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter
) -> None:
    while data := await source.read(ROOM):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


async def run_in_asyncio() -> None:
    ends: asyncio.Queue[Any] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda *end: ends.put(end), "127.0.0.1", 0
    )
    answer(ready=True, port=server.sockets[0].getsockname()[1])
    first, second = await ends.get(), await ends.get()
    await asyncio.gather(
        hand_on_in_asyncio(first[0], second[1]),
        hand_on_in_asyncio(second[0], first[1]),
    )


if __name__ == "__main__":
    way = sys.argv[1]
    if way == "triobatch":
        trio.run(run, triobatch.open_tcp_listeners, triobatch.relay)
    elif way == "loop":
        trio.run(run, trio.open_tcp_listeners, by_loop)
    else:
        run_on(way, run_in_asyncio())
