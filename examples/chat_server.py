"""A chat room: every line that a client sends goes to all of them.

Start it in one terminal, and clients in another::

    python examples/chat_server.py 127.0.0.1:9000
    nc 127.0.0.1 9000
    python examples/chat_client.py 127.0.0.1:9000

One task broadcasts whatever lines have piled up, with one call for all
clients. A client that has not taken them after a while is dropped, so that it
holds nobody up. Ctrl-C stops the server.

With ``--group`` all clients are one stream group: one task receives from those
that have said something, and sends to all; nothing is awaited in between.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import trio
from echo_server import (
    end_with_the_reader,
    parse_address,
    serve,
    serve_batches,
)

import triobatch
from triobatch import (
    BroadcastResult,
    BufferedReceiveStream,
    FrameTooLargeError,
)

if TYPE_CHECKING:
    from triobatch import (
        BatchSocketListener,
        BatchSocketStream,
        StreamGroup,
    )

# How long a client may take for a broadcast, in seconds.
PATIENCE = 0.5
# Lines that wait to be broadcast. Who brings more is not read from until then.
BACKLOG = 1000
LONGEST_LINE = 4096

# How a client leaves: in the middle of a line, with a line without an end, or
# because it was dropped.
LEAVING = (
    EOFError,
    FrameTooLargeError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


def whole_lines(data: memoryview) -> tuple[list[bytes], int]:
    """Return the lines that are whole, and how much of the data they are."""
    *lines, unfinished = bytes(data).split(b"\n")
    return [line + b"\n" for line in lines], len(data) - len(unfinished)


class Room:
    """The clients, and the lines on their way to them."""

    def __init__(self) -> None:
        self.clients: set[BatchSocketStream] = set()
        self._send, self._receive = trio.open_memory_channel[bytes](BACKLOG)

    async def serve(self, stream: BatchSocketStream) -> None:
        """Take part for one client, until it leaves or is dropped."""
        self.clients.add(stream)
        reader = BufferedReceiveStream(stream)
        try:
            while lines := await reader.receive_frames(
                whole_lines, limit=LONGEST_LINE
            ):
                for line in lines:
                    await self._send.send(line)
        except LEAVING:
            # It is gone, or was dropped. Others stay.
            return
        finally:
            self.clients.discard(stream)

    async def broadcast(self) -> None:
        """Send lines to everybody, as many at a time as there are."""
        async for line in self._receive:
            lines = [line]
            while self._receive.statistics().current_buffer_used:
                lines.append(self._receive.receive_nowait())
            result = BroadcastResult()
            with trio.move_on_after(PATIENCE):
                await triobatch.broadcast(
                    list(self.clients), b"".join(lines), result=result
                )
            for delivery in result.missed:
                self.clients.discard(delivery.stream)
                await trio.aclose_forcefully(delivery.stream)
                print(f"dropped a client: {delivery.status}", flush=True)


class GroupRoom:
    """The same, as one stream group: no task for a client."""

    def __init__(self) -> None:
        self._unfinished: dict[BatchSocketStream, bytes] = {}
        self._group: StreamGroup | None = None

    async def serve(
        self,
        group: StreamGroup,
        batch: list[tuple[BatchSocketStream, bytes]],
    ) -> None:
        """Send to everybody what some have said."""
        self._group = group
        said = []
        for stream, data in batch:
            unfinished = self._unfinished.pop(stream, b"") + data
            complete, newline, unfinished = unfinished.rpartition(b"\n")
            said += [complete, newline]
            if len(unfinished) > LONGEST_LINE:
                await stream.aclose()
            elif data and unfinished:
                self._unfinished[stream] = unfinished
        lines = b"".join(said)
        refused = group.send_batch_nowait((each, lines) for each in group)
        for stream, error in refused:
            # More waits for it than its queue may hold; or it is gone.
            await self._drop(stream, str(error))

    async def drop_the_slow(self) -> None:
        """Drop those that have taken nothing for a while, of what waits."""
        before: dict[BatchSocketStream, int] = {}
        while True:
            await trio.sleep(PATIENCE)
            if (group := self._group) is None:
                continue
            after = {
                stream: stream.statistics().bytes_sent
                for stream in group
                if group.queued(stream)
            }
            for stream, sent in after.items():
                if before.get(stream) == sent:
                    await self._drop(stream, "it is too slow")
            before = after

    async def _drop(self, stream: BatchSocketStream, why: str) -> None:
        self._unfinished.pop(stream, None)
        await stream.aclose()
        print(f"dropped a client: {why}", flush=True)


async def serve_room(listeners: list[BatchSocketListener]) -> None:
    """Serve one room, for ever."""
    room = Room()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.broadcast)
        nursery.start_soon(trio.serve_listeners, room.serve, listeners)


def main() -> int:
    """Read the command line, and serve."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="A chat room: every line goes to every client."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_address,
        default="127.0.0.1:9000",
        help="host:port (default: %(default)s)",
    )
    parser.add_argument(
        "--group", action="store_true", help="serve them as one stream group"
    )
    arguments = parser.parse_args()
    address = arguments.address
    if isinstance(address, str):
        parser.error("a chat room is at host:port")
    if arguments.group:
        room = GroupRoom()
        return trio.run(serve_batches, address, room.serve, room.drop_the_slow)
    return trio.run(serve, address, serve_room)


if __name__ == "__main__":
    sys.exit(main())
