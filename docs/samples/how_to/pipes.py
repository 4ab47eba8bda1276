"""Write many pieces into a pipe, and into a file."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile

import trio

import triobatch

LINES = [b"line %d\n" % number for number in range(10_000)]


async def into_a_process() -> None:
    count = "import sys; print(len(sys.stdin.readlines()), 'lines')"
    run = functools.partial(
        trio.run_process,
        [sys.executable, "-c", count],
        stdin=subprocess.PIPE,
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        assert process.stdin is not None
        async with process.stdin:
            await triobatch.Buffers(LINES).write_to(process.stdin)


async def into_a_file() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "lines")
        async with await trio.open_file(path, "wb") as file:
            written = await triobatch.Buffers(LINES).write_to(file)
        size = await trio.to_thread.run_sync(os.path.getsize, path)
        print("bytes written:", written, "in the file:", size)


async def main() -> None:
    await into_a_process()
    await into_a_file()


trio.run(main)
