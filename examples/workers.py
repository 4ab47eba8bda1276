"""Answer TCP clients from many processes, one for each processor.

Every answer says which process it is from, and who it takes its client for::

    python examples/workers.py 127.0.0.1:9000
    nc 127.0.0.1 9000

Kill one with ``kill -9``: its own connections break, the others go on, and
another takes its place. Behind a balancer, set PROXY_PROTOCOL=1, and let that
put its header in front of each connection: then the client is not taken for
the balancer. ``docs/explanation/many-processes.rst`` says more.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import supervisor
import trio
from echo_server import format_address

import triobatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch import BatchSocketStream

# Who sends no header is no balancer of ours, and waits in vain.
BEHIND_PROXY = os.environ.get("PROXY_PROTOCOL") == "1"
HEADER_TIMEOUT = 5


async def client_of(
    stream: BatchSocketStream, reader: triobatch.BufferedReceiveStream
) -> str:
    """Return the address of a client, also behind a balancer."""
    address = stream.socket.getpeername()
    if BEHIND_PROXY:
        with trio.fail_after(HEADER_TIMEOUT):
            header = await triobatch.receive_proxy_header(reader)
        # None is the balancer itself, which sees whether we are well.
        if isinstance(header.source, str | tuple):
            address = header.source
    return format_address(address)


async def answer(counts: Counter[str], stream: BatchSocketStream) -> None:
    """Send back each line of a client, with who we are and who that is."""
    counts["connections"] += 1
    reader = triobatch.BufferedReceiveStream(stream)
    try:
        client = await client_of(stream, reader)
        who = f"{os.getpid()} {client} ".encode()
        while line := await reader.receive_until(b"\n", limit=65536):
            await stream.send_buffers([who, line])
            counts["lines"] += 1
    except (
        trio.BrokenResourceError,
        trio.TooSlowError,
        triobatch.FrameTooLargeError,
        triobatch.ProxyHeaderError,
        EOFError,
        OSError,
    ):
        # The client is gone, or none; an exception would end this worker.
        counts["broken"] += 1


async def serve(
    address: tuple[str, int],
    *,
    task_status: trio.TaskStatus[
        tuple[tuple[str, int], Callable[[], dict[str, int]]]
    ],
) -> None:
    """Serve on the port that all workers share."""
    host, port = address
    listeners = await triobatch.open_tcp_listeners(
        port, host=host, reuse_port=True
    )
    counts: Counter[str] = Counter()
    bound = listeners[0].socket.getsockname()
    task_status.started((bound, lambda: dict(counts)))
    await trio.serve_listeners(partial(answer, counts), listeners)


if __name__ == "__main__":
    sys.exit(supervisor.main("Answer TCP clients from many processes.", serve))
