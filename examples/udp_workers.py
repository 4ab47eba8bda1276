"""Answer datagrams from many processes, one for each processor.

Every answer says which process it is from::

    python examples/udp_workers.py 127.0.0.1:9000
    echo hello | nc -u -w1 127.0.0.1 9000

Kill one with ``kill -9``: what lay in its receive buffer is lost, the kernel
sends its peers to the others, and another takes its place. See
``docs/explanation/many-processes.rst``.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import supervisor

import triobatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from triobatch import (
        DatagramBatchSender,
        DatagramSocket,
        ReceivedDatagram,
    )

# What arrives while the answers are on their way, for each worker; the kernel
# caps it at net.core.rmem_max, and drops what does not fit.
RECEIVE_BUFFER = 4 << 20

WHO = b"%d " % os.getpid()


async def answer(
    datagrams: list[ReceivedDatagram], sender: DatagramBatchSender
) -> None:
    """Send back what came, and who we are."""
    await sender.send_batch([(WHO + data, peer) for data, peer in datagrams])


async def serve(
    address: tuple[str, int],
    *,
    task_status: trio.TaskStatus[
        tuple[tuple[str, int], Callable[[], dict[str, int]]]
    ],
) -> None:
    """Serve on the port that all workers share."""
    sock = await triobatch.open_udp_socket(
        local_address=address,
        reuse_port=True,
        receive_buffer_size=RECEIVE_BUFFER,
    )
    bound = sock.socket.getsockname()
    task_status.started((bound, partial(count, sock)))
    await triobatch.serve_datagrams(answer, [sock])


def count(sock: DatagramSocket) -> dict[str, int]:
    """Return what a worker reports."""
    done = sock.statistics()
    return {
        "received": done.datagrams_received,
        "sent": done.datagrams_sent,
        "refused": done.refused,
        "dropped": done.kernel_drops or 0,
    }


if __name__ == "__main__":
    sys.exit(supervisor.main("Answer datagrams from many processes.", serve))
