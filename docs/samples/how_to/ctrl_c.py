"""What is left of a batch when the program is interrupted."""

from __future__ import annotations

import os
import signal
import threading

import trio
from trio import socket

import triobatch


async def main() -> None:
    near, far = socket.socketpair()
    chunks = triobatch.Buffers([b"0123456789" * 100] * 10_000)
    offered = chunks.nbytes
    # Somebody presses Ctrl-C while nobody reads.
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    async with triobatch.BatchSocketStream(near) as stream:
        try:
            await stream.send_buffers(chunks)
        except KeyboardInterrupt:
            print("interrupted")
    received = 0
    while data := await far.recv(65536):
        received += len(data)
    far.close()
    left = chunks.nbytes
    print("sent and left are all there was:", received + left == offered)


trio.run(main)
