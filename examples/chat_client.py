"""Many chat clients that check that each of them gets every line.

Without an address it starts a server of its own::

    python examples/chat_client.py
    python examples/chat_client.py 127.0.0.1:9000 --clients 200 --lines 50

One more client never reads what it gets: the server has to drop it, and the
others must not notice.
"""

from __future__ import annotations

import argparse
import signal
import sys

import chat_server
import trio
from echo_server import (
    end_with_the_reader,
    format_address,
    natural,
    parse_address,
)

import triobatch
from triobatch import BatchSocketStream, open_batch_sender

# Each line has as many bytes, so that the client that never reads is full
# before the end.
LINE_SIZE = 200


class ChatError(Exception):
    """A client did not get what it should."""


def line(client: int, number: int) -> bytes:
    """Return a line that tells who has sent it."""
    return (b"%d.%d " % (client, number)).ljust(LINE_SIZE - 1, b".") + b"\n"


async def take_part(
    stream: BatchSocketStream, client: int, clients: int, lines: int
) -> None:
    """Send some lines, and receive those of all clients meanwhile.

    Raises:
      ChatError: a line is missing, comes twice, or in the wrong order.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, stream, client, lines)
        problem = await listen(stream, clients, lines)
        nursery.cancel_scope.cancel()
    if problem:
        raise ChatError(f"client {client} got {problem}")


async def talk(stream: BatchSocketStream, client: int, lines: int) -> None:
    """Send lines, as many at a time as may be queued."""
    try:
        async with open_batch_sender(stream) as sender:
            for number in range(lines):
                try:
                    sender.send_nowait(line(client, number))
                except trio.WouldBlock:
                    await sender.send(line(client, number))
    except trio.BrokenResourceError:
        # Whoever listens sees the end of the connection too, and says so.
        return


async def listen(stream: BatchSocketStream, clients: int, lines: int) -> str:
    """Receive the lines of all; return what is wrong, if anything."""
    next_line = [0] * clients
    reader = triobatch.BufferedReceiveStream(stream)
    try:
        while received := await reader.receive_frames(chat_server.whole_lines):
            for text in received:
                who, number = map(int, text[: text.index(b" ")].split(b"."))
                if next_line[who] != number:
                    return (
                        f"line {number} of client {who}, not {next_line[who]}"
                    )
                next_line[who] += 1
            if sum(next_line) == clients * lines:
                return ""
    except (EOFError, trio.BrokenResourceError) as error:
        return f"{sum(next_line)} lines only: {error}"
    return f"{sum(next_line)} lines only"


async def is_dropped(stream: BatchSocketStream) -> bool:
    """Find out whether the server has dropped a client that did not read.

    Of few lines, there may have been room for all.
    """
    with trio.move_on_after(chat_server.PATIENCE + 0.5):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        return True
    return False


async def converse(host: str, port: int, clients: int, lines: int) -> None:
    """Let clients join, and then talk all at once."""
    slow = trio.socket.socket()
    # It shall be full soon.
    slow.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    try:
        await slow.connect((host, port))
    except OSError:
        slow.close()
        raise
    streams = [
        await triobatch.open_tcp_stream(host, port) for _ in range(clients)
    ]
    # The server has let everybody in when it answers the last.
    await streams[-1].send_all(b"hello\n")
    for stream in streams:
        if await stream.receive_some(6) != b"hello\n":
            raise ChatError("the server does not answer as a chat room does")
    problems: list[str] = []

    async def note_problems(stream: BatchSocketStream, client: int) -> None:
        try:
            await take_part(stream, client, clients, lines)
        except ChatError as error:
            problems.append(str(error))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for client, stream in enumerate(streams):
            nursery.start_soon(note_problems, stream, client)
    if problems:
        raise ChatError(problems[0])
    seconds = trio.current_time() - start
    total = clients * lines
    print(
        f"{clients} clients got {total:,} lines each, in order: "
        f"{total * clients / seconds:,.0f} deliveries a second"
    )
    if await is_dropped(BatchSocketStream(slow)):
        print("the client that did not read was dropped")
    else:
        print("the client that did not read had room for all of it")
    for stream in streams:
        await stream.aclose()


async def run(
    address: tuple[str, int] | None, clients: int, lines: int
) -> int:
    """Talk to the server, our own if need be; return the exit status."""
    async with trio.open_nursery() as nursery:
        if address is None:
            listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(chat_server.serve_room, listeners)
            address = "127.0.0.1", listeners[0].socket.getsockname()[1]
        try:
            host, port = address[:2]
            await converse(host, port, clients, lines)
            status = 0
        except (ChatError, OSError) as error:
            print(f"{format_address(address)}: {error}", file=sys.stderr)
            status = 1
        nursery.cancel_scope.cancel()
    return status


def main() -> int:
    """Read the command line, and run."""
    end_with_the_reader()
    # There is nothing to clean up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(
        description="Many chat clients, each of which gets every line."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_address,
        help="host:port (default: a server of its own)",
    )
    parser.add_argument("--clients", type=natural, default=50)
    parser.add_argument("--lines", type=natural, default=20)
    options = parser.parse_args()
    return trio.run(run, options.address, options.clients, options.lines)


if __name__ == "__main__":
    sys.exit(main())
