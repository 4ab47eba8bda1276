"""The answers of an authoritative DNS server: bytes in, bytes out.

RFC 1035 has the messages, RFC 6891 what EDNS adds to them. Nothing here waits,
or knows a socket.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rrset
import dns.wire
from dns.rdatatype import (
    ANY,
    AXFR,
    IXFR,
    MAILA,
    MAILB,
    OPT,
    TSIG,
    RdataType,
)
from dns_zone import ZoneIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dns.message import Message
    from dns.rcode import Rcode
    from dns.rrset import RRset
    from dns.zone import Zone

# The two bytes by which a client tells its queries apart (RFC 1035, 4.1.1).
ID_SIZE = 2
HEADER = struct.Struct("!6H")
# What every client takes (RFC 1035, 4.2.1).
LEAST_PAYLOAD = 512
# What crosses the net in one piece (RFC 9715): what is offered, and the most
# that is sent.
PAYLOAD = 1232
# Over TCP (RFC 1035, 4.2.2).
LARGEST_MESSAGE = 65535
# A query has an OPT record, perhaps a TSIG, and for IXFR a SOA.
MOST_RECORDS = 8
# How many answers are remembered. Beyond that, the oldest are built anew.
REMEMBERED = 10_000
# Nobody is to fill that memory with what is no question.
LONGEST_REMEMBERED = 512
# The opcode's bits, and what an answer repeats of a query's flags.
OPCODE = 0x7800
REPEATED = OPCODE | dns.flags.RD | dns.flags.CD
# QTYPEs that no record has (RFC 6895, 3.1), but for those below.
META = range(128, 256)
# What is not given away, and what nobody has any more.
META_RCODES = {
    AXFR: dns.rcode.REFUSED,
    IXFR: dns.rcode.REFUSED,
    MAILA: dns.rcode.NOTIMP,
    MAILB: dns.rcode.NOTIMP,
}


@dataclass
class Query:
    """What could be read of a query.

    Attributes:
      id: The client's number.
      flags: The header's second word.
      question: The name, the type and the class asked for, if it was read.
      payload: What the client takes over UDP, in bytes.
      version: Of EDNS; None without.
      dnssec: Whether the client has set DO, which an answer repeats.
      rcode: What is wrong with it, if anything.
    """

    id: int
    flags: int
    question: RRset | None = None
    payload: int = LEAST_PAYLOAD
    version: int | None = None
    dnssec: bool = False
    rcode: Rcode = dns.rcode.NOERROR

    @classmethod
    def read(cls, wire: bytes) -> Query | None:
        """Read a message; return None if it must not be answered.

        A message that is an answer is never answered: two servers would
        go on for ever.
        """
        if len(wire) < HEADER.size:
            return None
        number, flags, *counts = HEADER.unpack_from(wire)
        if flags & dns.flags.QR:
            return None
        query = cls(number, flags)
        try:
            query._read_sections(dns.wire.Parser(wire, HEADER.size), counts)
        except dns.exception.DNSException:
            query.rcode = dns.rcode.FORMERR
        if opcode := flags & OPCODE:
            # What the rest means is the opcode's own.
            query.flags, query.question = opcode, None
            query.rcode = dns.rcode.NOTIMP
        elif query.version:
            query.rcode = dns.rcode.BADVERS
        return query

    def _read_sections(
        self, parser: dns.wire.Parser, counts: list[int]
    ) -> None:
        if counts[0] > 1 or sum(counts[1:]) > MOST_RECORDS:
            raise dns.exception.FormError
        if counts[0]:
            name = dns.name.from_wire_parser(parser)
            rdtype, rdclass = parser.get_struct("!HH")
            self.question = dns.rrset.RRset(
                name,
                dns.rdataclass.RdataClass.make(rdclass),
                RdataType.make(rdtype),
            )
        last = sum(counts[1:]) - 1
        for place in range(last + 1):
            owner = dns.name.from_wire_parser(parser)
            rdtype, rdclass, ttl, size = parser.get_struct("!HHIH")
            rdata = parser.get_bytes(size)
            if rdtype == OPT:
                additional = place >= counts[1] + counts[2]
                again = self.version is not None
                self._read_opt(rdclass, ttl)
                # One, of the root, with whole options (RFC 6891, 6.1).
                if again or not additional or owner != dns.name.root:
                    raise dns.exception.FormError
                options = dns.wire.Parser(rdata)
                while options.remaining():
                    _, length = options.get_struct("!HH")
                    options.get_bytes(length)
            elif rdtype == TSIG:
                if place != last:
                    raise dns.exception.FormError
                # Nobody shares a key with this server (RFC 8945, 5.2.1).
                self.rcode = dns.rcode.NOTAUTH
        # One question, no more (RFC 9619) and no fewer.
        if self.question is None:
            raise dns.exception.FormError

    def _read_opt(self, rdclass: int, ttl: int) -> None:
        # Less than 512 is as good as 512 (RFC 6891, 6.2.3).
        self.payload = min(max(rdclass, LEAST_PAYLOAD), PAYLOAD)
        self.version = ttl >> 16 & 0xFF
        self.dnssec = bool(ttl & dns.flags.DO)


class Answers:
    """The answers of one zone, each built once.

    All that differs between two queries for one thing is the ID.

    Args:
      zone: With absolute names (``relativize=False``).
    """

    def __init__(self, zone: Zone) -> None:
        self._zone = ZoneIndex(zone)
        self._over_udp: dict[bytes, bytes] = {}
        self._over_tcp: dict[bytes, bytes] = {}

    def answer(self, query: bytes) -> bytes | None:
        """Return the answer to a datagram, None to what is no query."""
        rest = self._over_udp.get(query[ID_SIZE:])
        if rest is None:
            rest = self._build(self._over_udp, query)
            if rest is None:
                return None
        return query[:ID_SIZE] + rest

    def answer_frames(self, queries: Sequence[bytes]) -> list[bytes]:
        """Return the answers to messages that have come over TCP.

        Returns:
          Chunks for one gathered write: before each answer its size in two
          bytes (RFC 1035, 4.2.2). What many answers share is not copied.
        """
        chunks = []
        for query in queries:
            rest = self._over_tcp.get(query[ID_SIZE:])
            if rest is None:
                rest = self._build(self._over_tcp, query)
                if rest is None:
                    continue
            size = ID_SIZE + len(rest)
            chunks += [size.to_bytes(2, "big") + query[:ID_SIZE], rest]
        return chunks

    def _build(self, memory: dict[bytes, bytes], wire: bytes) -> bytes | None:
        """Build an answer, and remember it without its ID."""
        query = Query.read(wire)
        if query is None:
            return None
        size = LARGEST_MESSAGE if memory is self._over_tcp else query.payload
        rest = answer_to(query, self._zone, size)[ID_SIZE:]
        if len(wire) <= LONGEST_REMEMBERED:
            if len(memory) >= REMEMBERED:
                del memory[next(iter(memory))]
            memory[wire[ID_SIZE:]] = rest
        return rest


def answer_to(query: Query, zone: ZoneIndex, size: int) -> bytes:
    """Build an answer of so many bytes at most."""
    answer = dns.message.QueryMessage(id=query.id)
    answer.flags = dns.flags.QR | query.flags & REPEATED
    if query.question is not None:
        answer.question.append(query.question)
    if query.version is not None:
        # Also in an answer that tells of an error (RFC 6891, 7).
        flags = dns.flags.DO if query.dnssec else 0
        answer.use_edns(0, flags, PAYLOAD)
    rcode = query.rcode or refusal(query.question, zone)
    answer.set_rcode(rcode)
    if rcode or query.question is None:
        return answer.to_wire(max_size=size)
    found = zone.find(query.question.name, query.question.rdtype)
    answer.set_rcode(found.rcode)
    if found.authoritative:
        answer.flags |= dns.flags.AA
    answer.answer = found.answer
    answer.authority = found.authority
    answer.additional = found.additional
    return fit(answer, size, glue_needed=found.glue_needed)


def refusal(question: RRset | None, zone: ZoneIndex) -> Rcode:
    """Say why a question is not looked up, or NOERROR."""
    assert question is not None
    if question.rdtype in META and question.rdtype != ANY:
        return META_RCODES.get(question.rdtype, dns.rcode.FORMERR)
    if question.rdclass == dns.rdataclass.ANY:
        return dns.rcode.FORMERR
    if question.rdclass != dns.rdataclass.IN:
        return dns.rcode.REFUSED
    if not question.name.is_subdomain(zone.origin):
        return dns.rcode.REFUSED
    return dns.rcode.NOERROR


def fit(answer: Message, size: int, *, glue_needed: bool) -> bytes:
    """Return an answer's bytes, or that there is more than ``size``.

    Addresses that were not asked for may be left out. Where TC is set, the
    client asks again over TCP, and uses nothing of this answer (RFC 2181, 9).
    """
    try:
        return answer.to_wire(max_size=size)
    except dns.exception.TooBig:
        answer.additional = []
    if not glue_needed:
        try:
            return answer.to_wire(max_size=size)
        except dns.exception.TooBig:
            pass
    answer.answer, answer.authority = [], []
    answer.flags |= dns.flags.TC
    return answer.to_wire(max_size=size)
