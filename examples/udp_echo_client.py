"""Send datagrams to an echo server, and count what comes back.

Without an address it starts a server of its own::

    python examples/udp_echo_client.py
    python examples/udp_echo_client.py 127.0.0.1:9000
    python examples/udp_echo_client.py 127.0.0.1:9000 --count 1000000

A batch of 64 datagrams goes out with one ``await sock.send_many(...)``, and
the next one when its echo is back. UDP promises no echo: after a quarter of a
second without one, what is missing counts as lost.
"""

from __future__ import annotations

import argparse
import signal
import sys

import trio
from echo_server import (
    cancel_on_ctrl_c,
    end_with_the_reader,
    format_address,
    natural,
    parse_host_and_port,
)
from udp_echo_server import RECEIVE_BUFFER, echo

import triobatch

BATCH = 64
SIZE = 1200
PATIENCE = 0.25  # seconds
# Batches in a row of which nothing has come back.
GIVE_UP = 4


class NoAnswerError(Exception):
    """Nothing comes back any more."""


class Tally:
    """What became of the datagrams so far."""

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.sent = self.back = self.lost = 0
        self._shown = False
        self._next_report = trio.current_time() + 1

    def show_progress(self) -> None:
        """Show a line each second, on a terminal always the same."""
        if trio.current_time() < self._next_report:
            return
        self._shown = True
        self._next_report = trio.current_time() + 1
        print(
            f"{self.sent:,} of {self.planned:,} sent, {self.lost:,} lost",
            end="\r" if sys.stderr.isatty() else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end_progress(self) -> None:
        """Leave the line that shows the progress."""
        if self._shown and sys.stderr.isatty():
            print(file=sys.stderr)


async def exchange(sock: triobatch.DatagramSocket, tally: Tally) -> None:
    """Send the datagrams that are planned, and wait for each batch's echo.

    Raises:
      NoAnswerError: the server is gone, or was never there.
    """
    unanswered = 0
    while tally.sent < tally.planned:
        last = min(tally.sent + BATCH, tally.planned)
        payloads = [
            b"datagram %d".ljust(SIZE) % i for i in range(tally.sent, last)
        ]
        await sock.send_many(payloads)
        tally.sent = last
        missing = set(payloads)
        while missing:
            with trio.move_on_after(PATIENCE) as patience:
                batch = await sock.receive_batch()
                missing.difference_update(payload for payload, _ in batch)
            if patience.cancelled_caught:
                break
        tally.lost += len(missing)
        tally.back += len(payloads) - len(missing)
        unanswered = unanswered + 1 if len(missing) == len(payloads) else 0
        if unanswered and sock.statistics().reports:
            raise NoAnswerError("the port is closed, or the host out of reach")
        if unanswered == GIVE_UP:
            raise NoAnswerError("is a server running?")
        tally.show_progress()


def report(
    sock: triobatch.DatagramSocket, tally: Tally, seconds: float
) -> None:
    """Print what it took."""
    done = sock.statistics()
    calls = done.send_calls + done.receive_calls
    datagrams = done.datagrams_sent + done.datagrams_received
    print(
        f"datagrams of {SIZE:,} bytes: {tally.sent:,} sent, "
        f"{tally.lost:,} lost, {calls / datagrams:.3f} system calls each, "
        f"{tally.back / seconds:,.0f} echoes a second"
    )


async def converse(address: tuple[str, int], count: int) -> int:
    """Exchange ``count`` datagrams; return the exit status."""
    where = format_address(address)
    try:
        sock = await triobatch.open_udp_socket(
            remote_address=address, receive_buffer_size=RECEIVE_BUFFER
        )
    except OSError as error:
        print(f"cannot send to {where}: {error}", file=sys.stderr)
        return 1
    async with sock:
        print(f"sending to {where}", flush=True)
        tally = Tally(count)
        start = trio.current_time()
        try:
            await exchange(sock, tally)
        except NoAnswerError as error:
            print(f"no answer from {where} ({error})", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"cannot send to {where}: {error}", file=sys.stderr)
            return 1
        finally:
            tally.end_progress()
            if tally.back:
                report(sock, tally, trio.current_time() - start)
    return 0


async def serve(sock: triobatch.DatagramSocket) -> None:
    """Be the server."""
    async with sock:
        await echo(sock)


async def run(address: tuple[str, int] | None, count: int) -> int:
    """Talk to the server, our own if need be, until done or Ctrl-C."""
    status = None
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        if address is None:
            server = await triobatch.open_udp_socket(
                local_address=("127.0.0.1", 0)
            )
            nursery.start_soon(serve, server)
            address = "127.0.0.1", server.socket.getsockname()[1]
        status = await converse(address, count)
        nursery.cancel_scope.cancel()
    if status is None:
        print("interrupted", file=sys.stderr)
        # As shells have it.
        return 128 + signal.SIGINT
    return status


def main() -> int:
    """Read the command line, and run."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="Send datagrams to an echo server, and count what comes "
        "back."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_host_and_port,
        help="host:port (default: a server of its own)",
    )
    parser.add_argument(
        "--count",
        type=natural,
        default=100_000,
        help="how many datagrams (default: %(default)s)",
    )
    arguments = parser.parse_args()
    return trio.run(run, arguments.address, arguments.count)


if __name__ == "__main__":
    sys.exit(main())
