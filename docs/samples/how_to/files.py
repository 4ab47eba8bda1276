"""Send a file with a header before it, and go on after a deadline."""

from __future__ import annotations

import tempfile

import trio
from trio import socket

import triobatch


async def main() -> None:
    near, far = socket.socketpair()
    content = bytes(range(256)) * 20_000
    received = bytearray()

    async def read_all() -> None:
        async for piece in triobatch.BatchSocketStream(far):
            received.extend(piece)
        far.close()

    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()  # send_file reads what the kernel has
        header = triobatch.Buffers([b"%d bytes\n" % len(content)])
        part = triobatch.FileSlice(file)
        async with (
            trio.open_nursery() as nursery,
            triobatch.BatchSocketStream(near) as stream,
        ):
            with trio.move_on_after(0.1):
                await stream.send_file(part, header=header)
            print("the header has left:", not header)
            print("some of the file is left:", part.nbytes > 0)
            nursery.start_soon(read_all)
            await stream.send_file(part, header=header)
    header_line, _, body = bytes(received).partition(b"\n")
    print(header_line.decode())
    print("the file is whole:", body == content)


trio.run(main)
