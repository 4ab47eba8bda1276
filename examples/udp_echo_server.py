"""Send back every datagram that comes.

Start it in one terminal, and the client in another::

    python examples/udp_echo_server.py 127.0.0.1:9000
    python examples/udp_echo_client.py 127.0.0.1:9000

One line answers a whole batch: what one system call has brought, the next one
sends back. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import sys

import trio
from echo_server import (
    announce,
    cancel_on_ctrl_c,
    cannot_listen,
    end_with_the_reader,
    parse_host_and_port,
)

import triobatch

# What arrives while the answers are on their way; the kernel caps it at
# net.core.rmem_max, and drops what does not fit.
RECEIVE_BUFFER = 4 << 20


async def echo(sock: triobatch.DatagramSocket) -> None:
    """Send back what is there, and wait only if nothing is; for ever."""
    while True:
        # Whoever sends from port 0, or from behind a filter, cannot be
        # answered; that is no reason to stop.
        await sock.send_batch(await sock.receive_batch(), errors="ignore")


async def serve(address: tuple[str, int]) -> int:
    """Serve until Ctrl-C; return the exit status."""
    try:
        sock = await triobatch.open_udp_socket(
            local_address=address, receive_buffer_size=RECEIVE_BUFFER
        )
    except OSError as error:
        return cannot_listen(address, error)
    async with sock, trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        nursery.start_soon(echo, sock)
        announce(sock.socket.getsockname())
    done = sock.statistics()
    print(
        f"echoed {done.datagrams_sent:,} of {done.datagrams_received:,} "
        f"datagrams: received with {done.receive_calls:,} system calls, "
        f"sent with {done.send_calls:,}, refused {done.refused:,}"
    )
    return 0


def main() -> int:
    """Read the command line, and serve."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="Send back every datagram that comes."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_host_and_port,
        default="127.0.0.1:9000",
        help="host:port (default: %(default)s)",
    )
    return trio.run(serve, parser.parse_args().address)


if __name__ == "__main__":
    sys.exit(main())
