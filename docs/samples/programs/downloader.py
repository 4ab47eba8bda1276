"""A downloader that goes on where it was when the connection breaks."""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile

import trio

import triobatch

RETRY = 0.05  # seconds until the next attempt
PATIENCE = 0.5  # seconds without a byte; thirty, in earnest


async def download(port: int, into: io.BufferedRandom) -> None:
    while True:
        try:
            await download_rest(port, into)
        except (
            EOFError,
            OSError,
            trio.BrokenResourceError,
            trio.TooSlowError,
        ) as error:
            print("once more:", type(error).__name__)
            await trio.sleep(RETRY)
        else:
            return


async def download_rest(port: int, into: io.BufferedRandom) -> None:
    """Ask for all from where the file ends."""
    with trio.fail_after(PATIENCE):
        stream = await triobatch.open_tcp_stream("127.0.0.1", port)
    async with stream:
        reader = triobatch.BufferedReceiveStream(stream)
        with trio.fail_after(PATIENCE):
            await stream.send_all(b"from %d\n" % into.tell())
            size = await reader.receive_until(b"\n", limit=20)
        if not size:
            raise EOFError("the server has gone")
        remaining = int(size)
        while remaining:
            with trio.fail_after(PATIENCE):
                data = await reader.receive_some(min(remaining, 65536))
            if not data:
                raise EOFError(f"{remaining} bytes are missing")
            remaining -= into.write(data)


# Try it: a server that ends in the middle, and falls asleep in the middle.
failures = [1_000_000, 2_000_000]

# How a client leaves; a ValueError is nonsense, or a part that is not there.
LEAVING = (
    EOFError,
    ValueError,
    triobatch.FrameTooLargeError,
    trio.BrokenResourceError,
)


async def serve_file(
    file: io.BufferedRandom, stream: triobatch.BatchSocketStream
) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    with contextlib.suppress(*LEAVING):
        request = await reader.receive_until(b"\n", limit=100)
        part = triobatch.FileSlice(file, int(request[5:]))
        header = [b"%d\n" % part.nbytes]
        if failures:
            part = triobatch.FileSlice(file, part.offset, failures.pop())
        await stream.send_file(part, header=header)
        if len(failures) == 1:
            await trio.sleep(60)


async def main() -> None:
    content = bytes(range(256)) * 20_000
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as copy:
        source.write(content)
        source.flush()
        async with trio.open_nursery() as nursery:
            serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
            handler = functools.partial(serve_file, source)
            listeners = await nursery.start(serve, handler, 0)
            await download(listeners[0].socket.getsockname()[1], copy)
            nursery.cancel_scope.cancel()
        copy.seek(0)
        print("the copy is whole:", copy.read() == content)


trio.run(main)
