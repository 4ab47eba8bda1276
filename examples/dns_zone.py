"""What an authoritative DNS server finds in its zone (RFC 1034, 4.3.2).

A name and a type in, the sections of an answer out: no sockets, and no bytes.
It does not sign answers, nor say that it could.
"""

# The fields of a record are known to dnspython alone.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import dns.name
import dns.rcode
import dns.rdataclass
import dns.rrset
from dns.rdatatype import (
    AAAA,
    ANY,
    CNAME,
    DNAME,
    DS,
    MX,
    NS,
    RRSIG,
    SOA,
    SRV,
    A,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dns.name import Name
    from dns.rcode import Rcode
    from dns.rdatatype import RdataType
    from dns.rrset import RRset
    from dns.zone import Zone

# Aliases that are followed for one question; a zone may go round in a circle.
LONGEST_CHAIN = 16
# Who asks for these wants the alias itself.
ALIASES = (CNAME, ANY)
# Where a record names a host whose addresses go with it (RFC 1035, 3.3).
HOSTS = {MX: "exchange", NS: "target", SRV: "target"}


@dataclass
class Found:
    """The sections of an answer.

    Attributes:
      answer: What was asked for, with the aliases that lead there.
      authority: Whom to ask instead, or the SOA that says there is nothing.
      additional: The addresses of hosts in the other two.
      rcode: NOERROR, NXDOMAIN, YXDOMAIN, or SERVFAIL for a circle.
      authoritative: Whether the zone speaks for the name.
      glue_needed: Whether the answer is of no use without ``additional``: the
        servers of a part are themselves in that part (RFC 9471).
    """

    answer: list[RRset] = field(default_factory=list)
    authority: list[RRset] = field(default_factory=list)
    additional: list[RRset] = field(default_factory=list)
    rcode: Rcode = dns.rcode.NOERROR
    authoritative: bool = True
    glue_needed: bool = False


class ZoneIndex:
    """A zone that is asked for names and types.

    Args:
      zone: With absolute names (``relativize=False``), a SOA and NS records.
    """

    def __init__(self, zone: Zone) -> None:
        assert zone.origin is not None
        self.origin: Name = zone.origin
        self._nodes: dict[Name, list[RRset]] = {
            name: [
                dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
                for rdataset in node
            ]
            for name, node in zone.items()  # type: ignore[no-untyped-call]
        }
        # A name exists if something below it does, and has no records of its
        # own then: an empty non-terminal (RFC 8020, 2).
        self._names = {
            ancestor
            for name in self._nodes
            for ancestor in self._from_origin(name)
        }
        (soa,) = self._rrsets(self.origin, SOA)
        # For how long a client may remember that there is nothing (RFC 2308,
        # 5).
        self._nothing = copy_of(soa)
        self._nothing.ttl = min(soa.ttl, soa[0].minimum)

    def find(self, name: Name, rdtype: RdataType) -> Found:
        """Look up a name at or below the zone's origin."""
        found = Found()
        seen: set[Name] = set()
        target: Name | None = name
        while target is not None and target.is_subdomain(self.origin):
            if target in seen or len(seen) == LONGEST_CHAIN:
                found.rcode = dns.rcode.SERVFAIL
                break
            seen.add(target)
            target = self._find_one(found, target, rdtype)
        # The zone speaks for the first name, wherever it led (RFC 1035,
        # 4.1.1).
        found.authoritative = found.authoritative or bool(found.answer)
        self._add_addresses(found)
        return found

    def _find_one(
        self, found: Found, name: Name, rdtype: RdataType
    ) -> Name | None:
        """Add what there is at a name; return where an alias leads."""
        closest = self.origin
        for encloser in self._from_origin(name):
            if encloser not in self._names:
                break
            closest = encloser
            if self._is_cut(encloser) and (rdtype != DS or encloser != name):
                # DS is the one type that the parent has (RFC 4035, 3.1.4.1).
                found.authority += self._rrsets(encloser, NS)
                found.authoritative = False
                return None
            if encloser != name and (renamed := self._rrsets(encloser, DNAME)):
                renamed_to = rename(found, name, renamed[0])
                return None if rdtype in ALIASES else renamed_to
        owner = name
        if closest != name:
            # The nearest wildcard, or none (RFC 4592, 3.3.1).
            owner = dns.name.Name((b"*", *closest.labels))
            if owner not in self._names:
                found.rcode = dns.rcode.NXDOMAIN
                found.authority.append(self._nothing)
                return None
        rrsets = self._rrsets(owner, rdtype) or self._rrsets(owner, CNAME)
        for rrset in rrsets:
            # As the client has written it.
            answer = copy_of(rrset)
            answer.name = name
            found.answer.append(answer)
        if not rrsets:
            found.authority.append(self._nothing)
        elif rrsets[0].rdtype == CNAME and rdtype not in ALIASES:
            target: Name = rrsets[0][0].target
            return target
        return None

    def _rrsets(self, owner: Name, rdtype: RdataType) -> list[RRset]:
        rrsets = self._nodes.get(owner, ())
        if rdtype != ANY:
            return [rrset for rrset in rrsets if rrset.rdtype == rdtype]
        # One is enough for who wants "any", and no amplifier (RFC 8482, 4.1).
        return [rrset for rrset in rrsets if rrset.rdtype != RRSIG][:1]

    def _is_cut(self, name: Name) -> bool:
        """Tell whether what is here and below is another server's."""
        return name != self.origin and bool(self._rrsets(name, NS))

    def _from_origin(self, name: Name) -> Iterator[Name]:
        """Yield the names from the origin down to this one."""
        for depth in range(len(self.origin), len(name) + 1):
            yield dns.name.Name(name.labels[len(name) - depth :])

    def _add_addresses(self, found: Found) -> None:
        """Add the addresses of the hosts that the answer names."""
        there = {(rrset.name, rrset.rdtype) for rrset in found.answer}
        for rrset in [*found.answer, *found.authority]:
            if rrset.rdtype not in HOSTS:
                continue
            for host in hosts_of(rrset):
                cuts = (
                    [
                        name
                        for name in self._from_origin(host)
                        if self._is_cut(name)
                    ]
                    if host.is_subdomain(self.origin)
                    else []
                )
                if rrset in found.answer and cuts:
                    # Their server knows.
                    continue
                for rdtype in A, AAAA:
                    for address in self._rrsets(host, rdtype):
                        if (host, rdtype) not in there:
                            there.add((host, rdtype))
                            found.additional.append(address)
                            found.glue_needed |= rrset.name in cuts


def hosts_of(rrset: RRset) -> list[Name]:
    """Return the hosts that records name."""
    return [getattr(rdata, HOSTS[rrset.rdtype]) for rdata in rrset]


def copy_of(rrset: RRset) -> RRset:
    """Return a copy, which dnspython does not tell is one."""
    copy: Any = rrset.copy()  # type: ignore[no-untyped-call]
    return cast("RRset", copy)


def rename(found: Found, name: Name, renamed: RRset) -> Name | None:
    """Put a name's end in the place of another (RFC 6672, 3.1)."""
    found.answer.append(renamed)
    kept = name.labels[: len(name) - len(renamed.name)]
    try:
        target = dns.name.Name((*kept, *renamed[0].target.labels))
    except dns.name.NameTooLong:
        found.rcode = dns.rcode.YXDOMAIN
        return None
    # For clients that do not know DNAME.
    found.answer.append(
        dns.rrset.from_text(
            name, renamed.ttl, dns.rdataclass.IN, CNAME, target.to_text()
        )
    )
    return target
