"""triobatch: a server for lines, with a deadline for slow clients."""

from __future__ import annotations

import functools

import trio

import triobatch


async def talk(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    while line := await reader.receive_until(b"\n", limit=4096):
        answer = triobatch.Buffers([b"you said: ", line])
        with trio.move_on_after(5):
            await stream.send_buffers(answer)
        if answer:
            return  # answer.nbytes are unsent


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await triobatch.open_tcp_stream(
            "127.0.0.1", port
        ) as stream:
            await stream.send_all(b"hello\n")
            await stream.send_eof()
            print(b"".join([piece async for piece in stream]))
        nursery.cancel_scope.cancel()


trio.run(main)
