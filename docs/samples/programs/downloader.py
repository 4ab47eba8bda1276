"""A downloader that goes on where it was when the connection breaks."""

from __future__ import annotations

import functools
import io
import tempfile

import trio

import triobatch

RETRY = 0.05  # seconds until the next attempt
PATIENCE = 5  # seconds without a byte


async def download(port: int, into: io.BufferedRandom) -> None:
    while True:
        try:
            await download_rest(port, into)
        except (EOFError, OSError, trio.BrokenResourceError):
            print("the connection broke")
            await trio.sleep(RETRY)
        else:
            return


async def download_rest(port: int, into: io.BufferedRandom) -> None:
    """Ask for all from where the file ends."""
    async with await triobatch.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"from %d\n" % into.tell())
        reader = triobatch.BufferedReceiveStream(stream)
        remaining = int(await reader.receive_until(b"\n", limit=20))
        while remaining:
            with trio.fail_after(PATIENCE):
                data = await reader.receive_some(min(remaining, 65536))
            if not data:
                raise EOFError(f"{remaining} bytes are missing")
            remaining -= into.write(data)


# Try it: a server that gives up in the middle, twice.
failures = [1_000_000, 2_000_000]


async def serve_file(
    file: io.BufferedRandom, stream: triobatch.BatchSocketStream
) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    request = await reader.receive_until(b"\n", limit=100)
    part = triobatch.FileSlice(file, int(request.split()[1]))
    header = [b"%d\n" % part.nbytes]
    if failures:
        part = triobatch.FileSlice(file, part.offset, failures.pop())
    await stream.send_file(part, header=header)


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
