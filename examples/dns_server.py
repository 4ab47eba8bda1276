"""A small authoritative DNS server over UDP: batches in, batches out.

    pip install dnspython
    python examples/dns_server.py 127.0.0.1:5300
    python examples/dns_client.py 127.0.0.1:5300
    dig @127.0.0.1 -p 5300 www.example.org AAAA

dnspython reads the zone, and builds each answer once: all that differs
between two queries for one name is their first two bytes. ``--plain`` serves
the same answers with ``trio.socket.recvfrom`` and ``sendto``, for comparison.
Ctrl-C stops the server.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.zone
import trio
from echo_server import (
    announce,
    cancel_on_ctrl_c,
    cannot_listen,
    end_with_the_reader,
    parse_address,
)

import triobatch

if TYPE_CHECKING:
    from triobatch import DatagramBatchSender

ZONE = """
$ORIGIN example.org.
$TTL 3600
@    IN SOA  ns hostmaster 1 7200 900 1209600 300
@    IN NS   ns
ns   IN A    192.0.2.1
www  IN A    192.0.2.2
www  IN AAAA 2001:db8::2
mail IN A    192.0.2.3
"""
# The two bytes by which a client tells its queries apart (RFC 1035, 4.1.1).
ID_SIZE = 2
# What every client takes (RFC 1035, 4.2.1).
LEAST_PAYLOAD = 512
# How many answers are remembered. Beyond that, the oldest are built anew.
REMEMBERED = 10_000


class Answers:
    """The answers of one zone."""

    def __init__(self, zone: dns.zone.Zone) -> None:
        assert zone.origin is not None
        self._zone = zone
        self._origin: dns.name.Name = zone.origin
        self._remembered: dict[bytes, bytes] = {}

    def answer(self, query: bytes) -> bytes | None:
        """Return the answer to a query, None to what is none."""
        question = query[ID_SIZE:]
        answer = self._remembered.get(question)
        if answer is None:
            built = self.build(query)
            if built is None:
                return None
            answer = built[ID_SIZE:]
            if len(self._remembered) >= REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[question] = answer
        return query[:ID_SIZE] + answer

    def build(self, wire: bytes) -> bytes | None:
        """Build an answer from the zone."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return None
        answer = dns.message.make_response(query)
        if query.opcode() != dns.opcode.QUERY:
            answer.set_rcode(dns.rcode.NOTIMP)
            return wire_of(answer, query)
        asked = query.question[0]
        if not asked.name.is_subdomain(self._origin):
            answer.set_rcode(dns.rcode.REFUSED)
            return wire_of(answer, query)
        answer.flags |= dns.flags.AA
        found = None
        if asked.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            found = self._zone.get_rrset(asked.name, asked.rdtype)
        if found is not None:
            found = found.copy()
            found.name = asked.name
            answer.answer.append(found)
        else:
            if self._zone.get_node(asked.name) is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            # So that the client may remember it (RFC 2308).
            soa = self._zone.get_rrset(self._origin, dns.rdatatype.SOA)
            if soa is not None:
                soa = soa.copy()
                soa.name = self._origin
                answer.authority.append(soa)
        return wire_of(answer, query)

    async def serve_batch(
        self,
        queries: list[tuple[bytes, tuple[str, int]]],
        sender: DatagramBatchSender,
    ) -> None:
        """Answer a batch with a batch."""
        answers = []
        for query, address in queries:
            answer = self.answer(query)
            if answer is not None:
                answers.append((answer, address))
        try:
            await sender.send_batch(answers)
        except triobatch.DatagramErrorGroup:
            # Some client cannot be reached. The others have their answers.
            return

    async def serve_plain(self, sock: trio.socket.SocketType) -> None:
        """Answer one query after the other."""
        while True:
            query, address = await sock.recvfrom(65536)
            answer = self.answer(query)
            if answer is not None:
                # As above: no client is to end the server.
                with suppress(OSError):
                    await sock.sendto(answer, address)


def wire_of(answer: dns.message.Message, query: dns.message.Message) -> bytes:
    """Return an answer's bytes, or that it is too large for a datagram.

    The client has said how much it takes (RFC 6891), or takes 512 bytes.
    Where TC is set, it asks again over TCP (RFC 2181, 9), which is not served
    here.
    """
    size = max(query.payload, LEAST_PAYLOAD)
    try:
        return answer.to_wire(max_size=size)
    except dns.exception.TooBig:
        for section in answer.answer, answer.authority, answer.additional:
            section.clear()
        answer.flags |= dns.flags.TC
        return answer.to_wire(max_size=size)


async def run(host: str, port: int, answers: Answers, *, plain: bool) -> int:
    """Serve until Ctrl-C; return the exit status."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_ctrl_c, nursery.cancel_scope)
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
            try:
                if plain:
                    await sock.bind((host, port))
                    nursery.start_soon(answers.serve_plain, sock)
                    names = [sock.getsockname()]
                else:
                    sockets = await nursery.start(
                        lambda task_status: triobatch.serve_udp(
                            answers.serve_batch,
                            port,
                            host=host,
                            task_status=task_status,
                        )
                    )
                    names = [udp.socket.getsockname() for udp in sockets]
            except OSError as error:
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
        description="A small authoritative DNS server over UDP."
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
        help="use recvfrom and sendto instead of batches",
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
    return trio.run(
        lambda: run(*options.address, Answers(zone), plain=options.plain)
    )


if __name__ == "__main__":
    sys.exit(main())
