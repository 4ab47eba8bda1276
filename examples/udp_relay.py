"""Hand datagrams on between many clients and one server.

    python examples/udp_echo_server.py 127.0.0.1:9000
    python examples/udp_relay.py 127.0.0.1:9001 127.0.0.1:9000
    python examples/udp_echo_client.py 127.0.0.1:9001

Each client has a socket of its own towards the server, so that the server's
answers find their way back; who was silent for ``--idle`` seconds loses it.
Trains of datagrams stay whole: nothing is copied on the way, or looked at.
Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import TYPE_CHECKING

import trio
from echo_server import (
    announce,
    cancel_on_ctrl_c,
    cannot_listen,
    end_with_the_reader,
    natural,
    parse_host_and_port,
)

import triobatch

if TYPE_CHECKING:
    from triobatch import Address, DatagramSocket, Run

# What arrives while others are served; the kernel caps it at
# net.core.rmem_max, and drops what does not fit.
RECEIVE_BUFFER = 4 << 20
# Each has a descriptor. What others send meanwhile is dropped.
MAX_CLIENTS = 500


class Client:
    """One client, and its socket towards the server.

    Attributes:
      scope: Ends when it has been silent for too long.
    """

    def __init__(self, server: DatagramSocket, idle: float) -> None:
        self.server = server
        self.scope = trio.CancelScope()
        self._idle = idle
        self.is_alive()

    def is_alive(self) -> None:
        """Give it more time."""
        self.scope.deadline = trio.current_time() + self._idle


class Relay:
    """The relay of one socket, where the clients are, to one server."""

    def __init__(
        self, front: DatagramSocket, server: tuple[str, int], idle: float
    ) -> None:
        self.there = self.back = self.dropped = self.served = 0
        self._front = front
        self._server = server
        self._idle = idle
        self._clients: dict[Address, Client] = {}
        # One task may send on a socket at a time; here each client has one.
        self._turn = trio.Lock()

    async def run(self) -> None:
        """Hand on what the clients send, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                async with self._front.receive_runs() as runs:
                    for address, group in itertools.groupby(
                        runs, key=lambda run: run.address
                    ):
                        await self._to_server(address, list(group), nursery)

    async def _to_server(
        self, address: Address, runs: list[Run], nursery: trio.Nursery
    ) -> None:
        client = self._clients.get(address) or await self._add(
            address, nursery
        )
        count = sum(run.count for run in runs)
        sent = 0
        if client is not None:
            client.is_alive()
            try:
                sent = await client.server.send_runs(runs, errors="ignore")
            except trio.ClosedResourceError:
                # It was silent until now, and its socket had no room.
                sent = 0
        self.there += sent
        self.dropped += count - sent

    async def _add(
        self, address: Address, nursery: trio.Nursery
    ) -> Client | None:
        if len(self._clients) >= MAX_CLIENTS:
            return None
        try:
            server = await triobatch.open_udp_socket(
                remote_address=self._server,
                receive_buffer_size=RECEIVE_BUFFER,
            )
        except OSError as error:
            print(f"no way to the server: {error}", file=sys.stderr)
            return None
        client = self._clients[address] = Client(server, self._idle)
        self.served += 1
        nursery.start_soon(self._to_client, address, client)
        return client

    async def _to_client(self, address: Address, client: Client) -> None:
        """Hand on what the server answers, until nobody has said a word."""
        async with client.server:
            with client.scope:
                while True:
                    async with (
                        client.server.receive_runs() as runs,
                        self._turn,
                    ):
                        client.is_alive()
                        count = sum(run.count for run in runs)
                        sent = await self._front.send_runs(
                            runs, address, errors="ignore"
                        )
                        self.back += sent
                        self.dropped += count - sent
            # Before the socket is closed, so that the next word opens another.
            del self._clients[address]


async def serve(
    address: tuple[str, int], server: tuple[str, int], idle: float
) -> int:
    """Serve until Ctrl-C; return the exit status."""
    try:
        front = await triobatch.open_udp_socket(
            local_address=address, receive_buffer_size=RECEIVE_BUFFER
        )
    except OSError as error:
        return cannot_listen(address, error)
    relay = Relay(front, server, idle)
    async with front, trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        nursery.start_soon(relay.run)
        announce(front.socket.getsockname())
    print(
        f"{relay.served:,} clients: {relay.there:,} datagrams there, "
        f"{relay.back:,} back, {relay.dropped:,} dropped"
    )
    return 0


def main() -> int:
    """Read the command line, and serve."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="Hand datagrams on between many clients and one server."
    )
    parser.add_argument("address", type=parse_host_and_port, help="host:port")
    parser.add_argument("server", type=parse_host_and_port, help="host:port")
    parser.add_argument(
        "--idle",
        metavar="SECONDS",
        type=natural,
        default=60,
        help="how long a silent client is remembered (default: %(default)s)",
    )
    options = parser.parse_args()
    return trio.run(serve, options.address, options.server, options.idle)


if __name__ == "__main__":
    sys.exit(main())
