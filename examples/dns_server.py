"""A small authoritative DNS server: batches in, batches out.

    pip install dnspython
    python examples/dns_server.py 127.0.0.1:5300
    python examples/dns_client.py 127.0.0.1:5300
    dig @127.0.0.1 -p 5300 www.example.org AAAA

It serves one zone, over UDP and TCP at one port. ``dns_zone.py`` looks up,
``dns_answers.py`` reads queries and builds each answer once. ``--plain``
serves UDP with ``trio.socket.recvfrom`` and ``sendto``, for comparison.
Ctrl-C stops the server.
"""

from __future__ import annotations

import argparse
import errno
import functools
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from echo_server import (
    announce,
    cancel_on_ctrl_c,
    cannot_listen,
    end_with_the_reader,
    parse_address,
)

import triobatch

try:
    import dns.exception
    import dns.zone
    from dns_answers import Answers
except ModuleNotFoundError:
    sys.exit("needs dnspython: pip install 'triobatch[examples]'")

if TYPE_CHECKING:
    from triobatch import (
        BatchSocketStream,
        DatagramBatchSender,
        ReceivedDatagram,
    )

ZONE = """
$ORIGIN example.org.
$TTL 3600
@          IN SOA   ns hostmaster 1 7200 900 1209600 300
@          IN NS    ns
@          IN MX    10 mail
@          IN TXT   "v=spf1 mx -all"
ns         IN A     192.0.2.1
www        IN A     192.0.2.2
www        IN AAAA  2001:db8::2
mail       IN A     192.0.2.3
web        IN CNAME www
away       IN CNAME www.example.net.
gone       IN CNAME nobody
_sip._tcp  IN SRV   0 5 5060 mail
*.users    IN A     192.0.2.4
lab        IN NS    ns.lab
ns.lab     IN A     192.0.2.53
old        IN DNAME users
round      IN CNAME around
around     IN CNAME round
inlab      IN CNAME www.lab
"""
# Bytes of queries that the kernel keeps while answers are made.
RECEIVE_BUFFER_SIZE = 4 * 2**20
# How many connections there may be, and for how long each may take to send a
# query, and to receive the answers, in seconds (RFC 7766, 6.2.2 and 6.2.3).
MOST_CONNECTIONS = 150
PATIENCE = 10.0
# How often a port that the kernel chose for TCP is tried for UDP.
TRIES = 10


def split(data: memoryview) -> tuple[list[bytes], int]:
    """Cut what came over TCP into messages (RFC 1035, 4.2.2)."""
    frames = []
    end = 0
    while end + 2 <= len(data):
        start = end + 2
        stop = start + int.from_bytes(data[end:start], "big")
        if stop > len(data):
            break
        frames.append(bytes(data[start:stop]))
        end = stop
    return frames, end


class Server:
    """The answers of one zone, over UDP and TCP.

    Args:
      answers: What to answer.
      patience: How long a connection may be idle, in seconds.
    """

    def __init__(self, answers: Answers, patience: float = PATIENCE) -> None:
        self._answers = answers
        self._patience = patience
        self._connections = 0

    async def serve_batch(
        self,
        queries: list[ReceivedDatagram],
        sender: DatagramBatchSender,
    ) -> None:
        """Answer a batch with a batch."""
        answers = []
        for query, address in queries:
            answer = self._answers.answer(query)
            if answer is not None:
                answers.append((answer, address))
        await sender.send_batch(answers)

    async def serve_plain(self, sock: trio.socket.SocketType) -> None:
        """Answer one query after the other."""
        with sock:
            while True:
                query, address = await sock.recvfrom(65536)
                answer = self._answers.answer(query)
                if answer is not None:
                    # No client that cannot be reached is to end the server.
                    with suppress(OSError):
                        await sock.sendto(answer, address)

    async def serve_stream(self, stream: BatchSocketStream) -> None:
        """Answer all queries of one read with one write."""
        if self._connections >= MOST_CONNECTIONS:
            return
        self._connections += 1
        try:
            await self._serve_frames(triobatch.BufferedReceiveStream(stream))
        except (EOFError, trio.BrokenResourceError):
            # It was the client that ended it.
            return
        finally:
            self._connections -= 1

    async def _serve_frames(
        self, reader: triobatch.BufferedReceiveStream
    ) -> None:
        with trio.CancelScope() as scope:
            while True:
                scope.deadline = trio.current_time() + self._patience
                queries = await reader.receive_frames(split)
                if not queries:
                    return
                chunks = self._answers.answer_frames(queries)
                if chunks:
                    await reader.send_buffers(chunks)


async def start(
    nursery: trio.Nursery, server: Server, host: str, port: int, *, plain: bool
) -> list[tuple[str, int]]:
    """Serve over TCP, and over UDP at the same port; return the addresses.

    Raises:
      OSError: one of the two is not to be had.
    """
    listeners = await triobatch.open_tcp_listeners(port, host=host)
    names = [listener.socket.getsockname() for listener in listeners]
    try:
        if plain:
            sock = trio.socket.socket(
                listeners[0].socket.family, trio.socket.SOCK_DGRAM
            )
            sock.setsockopt(
                trio.socket.SOL_SOCKET,
                trio.socket.SO_RCVBUF,
                RECEIVE_BUFFER_SIZE,
            )
            await sock.bind(names[0])
            nursery.start_soon(server.serve_plain, sock)
        else:
            await nursery.start(
                functools.partial(
                    triobatch.serve_udp,
                    server.serve_batch,
                    names[0][1],
                    host=host,
                    receive_buffer_size=RECEIVE_BUFFER_SIZE,
                )
            )
    except OSError:
        for listener in listeners:
            await listener.aclose()
        raise
    nursery.start_soon(trio.serve_listeners, server.serve_stream, listeners)
    return names


async def run(host: str, port: int, server: Server, *, plain: bool) -> int:
    """Serve until Ctrl-C; return the exit status."""
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        tries = 1 if port else TRIES
        while True:
            tries -= 1
            try:
                names = await start(nursery, server, host, port, plain=plain)
                break
            except OSError as error:
                # Another program has the port that TCP was given.
                if error.errno == errno.EADDRINUSE and tries:
                    continue
                nursery.cancel_scope.cancel()
                return cannot_listen((host, port), error)
        for name in names:
            announce(name, "serving at {}")
        await trio.sleep_forever()
    return 0


def main() -> int:
    """Read the command line and the zone, and serve."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="A small authoritative DNS server."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_address,
        default="127.0.0.1:5300",
        help="host:port (default: %(default)s)",
    )
    parser.add_argument(
        "--zone", type=Path, help="a master file (default: example.org)"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="serve UDP with recvfrom and sendto instead of batches",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        help="seconds that a connection may be idle (default: %(default)s)",
    )
    options = parser.parse_args()
    if isinstance(options.address, str):
        parser.error("DNS is served at host:port")
    try:
        text = options.zone.read_text() if options.zone else ZONE
        zone = dns.zone.from_text(text, relativize=False)
    except (OSError, dns.exception.DNSException) as error:
        print(f"cannot read the zone: {error}", file=sys.stderr)
        return 1
    server = Server(Answers(zone), options.patience)
    host, port = options.address
    return trio.run(
        functools.partial(run, host, port, server, plain=options.plain)
    )


if __name__ == "__main__":
    sys.exit(main())
