"""Send many pieces, read their echo, and say what it took.

Without an address it starts a server of its own::

    python examples/echo_client.py
    python examples/echo_client.py --file some.iso
    python examples/echo_client.py 127.0.0.1:9000
    python examples/echo_client.py unix:/tmp/echo.sock

It sends ten greetings, and then a file with a header before it, each with one
``await stream.send_buffers(...)``, and reads what comes back meanwhile.
"""

from __future__ import annotations

import argparse
import mmap
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from echo_server import (
    Address,
    cancel_on_ctrl_c,
    echo,
    end_with_the_reader,
    format_address,
    listen,
    parse_address,
)

import triobatch
from triobatch import Buffers

if TYPE_CHECKING:
    from triobatch import BatchSocketStream

PIECE_SIZE = 65536
# From here on, a transfer takes long enough to be watched.
LARGE = 16 * 2**20


class EchoError(Exception):
    """What came back is not what was sent."""


def greetings() -> Buffers:
    """Return ten small chunks."""
    return Buffers(f"hello world: {i}\n".encode() for i in range(10))


def file_with_header(path: Path) -> Buffers:
    """Return a header, and a file in pieces.

    The pieces are views of a mapping of the file: the kernel sends from them,
    and no Python object ever holds their bytes.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        # An empty file cannot be mapped.
        content = (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if size
            else b""
        )
    view = memoryview(content)
    pieces = [view[i : i + PIECE_SIZE] for i in range(0, size, PIECE_SIZE)]
    return Buffers([f"{path.name}: {size} bytes\n".encode(), *pieces])


async def connect(address: Address) -> BatchSocketStream:
    """Connect to a Unix socket or a TCP port."""
    if isinstance(address, str):
        return await triobatch.open_unix_socket(address)
    return await triobatch.open_tcp_stream(*address)


async def exchange(
    stream: BatchSocketStream, name: str, buffers: Buffers
) -> None:
    """Send ``buffers``, compare their echo, and print what it took.

    Raises:
      EchoError: the echo differs, or ends early.
    """
    chunks, size = len(buffers), buffers.nbytes
    expected = buffers.copy()
    before = stream.statistics()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        # Reading meanwhile: a server that cannot get rid of its echo stops
        # reading, and then sending would never end.
        nursery.start_soon(send, stream, buffers)
        problem = await compare(stream, expected)
        nursery.cancel_scope.cancel()
    if problem:
        raise EchoError(f"{name}: {problem}")
    seconds = trio.current_time() - start
    after = stream.statistics()
    print(
        f"sent {name} (chunks: {chunks:,}, bytes: {size:,}, "
        f"system calls: {after.send_calls - before.send_calls:,}), "
        f"echoed at {size / seconds / 1e6:,.1f} MB/s"
    )


async def send(stream: BatchSocketStream, buffers: Buffers) -> None:
    """Send everything, with as few system calls as the kernel allows."""
    try:
        await stream.send_buffers(buffers)
    except trio.BrokenResourceError:
        # Whoever reads sees the end of the connection too, and says so.
        return


async def compare(stream: BatchSocketStream, expected: Buffers) -> str:
    """Receive what is expected; return what is wrong with it, if anything."""
    total = expected.nbytes
    while expected:
        received = total - expected.nbytes
        try:
            data = await stream.receive_some()
        except trio.BrokenResourceError as error:
            return f"after {received:,} bytes, {error}"
        if not data:
            return f"the echo ends after {received:,} of {total:,} bytes"
        if expected.read(len(data)) != data:
            return f"the echo differs, after {received:,} bytes or later"
        if total >= LARGE:
            show_progress(received, received + len(data), total)
    return ""


def show_progress(before: int, now: int, total: int) -> None:
    """Show a line that changes on a terminal, elsewhere one each tenth."""
    terminal = sys.stderr.isatty()
    steps = 1000 if terminal else 10
    if now * steps // total > before * steps // total:
        print(
            f"{now / total:6.1%} of {total / 1e6:,.1f} MB",
            end="\r" if terminal and now < total else "\n",
            file=sys.stderr,
            flush=True,
        )


async def converse(address: Address, path: Path, content: Buffers) -> int:
    """Exchange greetings and the file; return the exit status."""
    where = format_address(address)
    try:
        stream = await connect(address)
    except OSError as error:
        print(
            f"cannot connect to {where}: {error} (is a server running?)",
            file=sys.stderr,
        )
        return 1
    async with stream:
        print(f"connected to {where}", flush=True)
        try:
            await exchange(stream, "greetings", greetings())
            await exchange(stream, path.name, content)
        except EchoError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


async def run(address: Address | None, path: Path, content: Buffers) -> int:
    """Talk to the server, our own if need be, until done or Ctrl-C."""
    status = None
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        if address is None:
            listeners = await listen(("127.0.0.1", 0))
            nursery.start_soon(trio.serve_listeners, echo, listeners)
            address = "127.0.0.1", listeners[0].socket.getsockname()[1]
        status = await converse(address, path, content)
        nursery.cancel_scope.cancel()
    if status is None:
        print("\ninterrupted", file=sys.stderr)
        # As shells have it.
        return 128 + signal.SIGINT
    return status


def main() -> int:
    """Read the command line and the file, and run."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="Send many pieces, read their echo, and say what it took."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_address,
        help="host:port or unix:/path (default: a server of its own)",
    )
    parser.add_argument(
        "--file",
        type=Path,
        default=Path(__file__),
        help="what to send (default: this script)",
    )
    arguments = parser.parse_args()
    try:
        content = file_with_header(arguments.file)
    except OSError as error:
        print(f"cannot read {arguments.file}: {error}", file=sys.stderr)
        return 1
    return trio.run(run, arguments.address, arguments.file, content)


if __name__ == "__main__":
    sys.exit(main())
