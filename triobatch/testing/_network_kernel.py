"""The kernels of all hosts of a simulated network, and what is between them.

They answer as Linux does (udp_sendmsg and __udp4_lib_err in net/ipv4/udp.c),
with the same errnos, and all that is left to chance is drawn from one
generator, in the order of the calls.
"""

from __future__ import annotations

import errno
import heapq
import os
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from triobatch._core import calls
from triobatch._core.arena import MSG_TRUNC
from triobatch._datagrams.gso import MAX_SIZE_V4, MAX_SIZE_V6
from triobatch._wire.addresses import AF_INET6, endpoint, family_of
from triobatch.testing._kernel_calls import KernelCalls
from triobatch.testing._network_conditions import (
    NetworkConditions,
    NetworkStatistics,
)
from triobatch.testing._network_ports import Arrived, Port, headers_of
from triobatch.testing._network_reports import HARD, report_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from triobatch._core.arena import Arena
    from triobatch._wire.control import Control
    from triobatch._wire.error_queue import PeerError

# What the interface of every host takes, unless a path takes more (RFC 894).
INTERFACE_MTU: Final = 1500
# How long a learned path MTU is believed: net.ipv4.route.mtu_expires.
MTU_EXPIRES: Final = 600.0  # seconds
# UDP_MAX_SEGMENTS before Linux 6.9.
SEGMENTS: Final = 64


class Packet(NamedTuple):
    """A datagram on its way."""

    sender: Port
    target: bytes
    payload: bytes
    tos: int
    ttl: int
    conditions: NetworkConditions


class Report(NamedTuple):
    """A report on its way back to who has sent the datagram."""

    sender: Port
    target: bytes
    error: PeerError


class NetworkKernel(KernelCalls):
    """The calls on every socket of the network; a ``Kernel``.

    Args:
      chance: What decides.
      clock: Returns seconds.
      conditions: Returns those from one host to another, each given by what
        `endpoint` says behind the port.

    Attributes:
      ports: The open sockets, by descriptor.
      statistics: What has become of all datagrams.
      on_schedule: Called with the time of the next event, if it is a new one.
      on_event: Called with what happens to a datagram: time, verb, source
        and target as sockaddrs, and bytes.
    """

    def __init__(
        self,
        chance: random.Random,
        clock: Callable[[], float],
        conditions: Callable[[bytes, bytes], NetworkConditions],
    ) -> None:
        super().__init__(calls.MAX_MESSAGES)
        self.ports: dict[int, Port] = {}
        self.statistics: NetworkStatistics = NetworkStatistics()
        self.on_schedule: Callable[[float], object] | None = None
        self.on_event: (
            Callable[[float, str, bytes, bytes, int], object] | None
        ) = None
        self._bound: dict[bytes, Port] = {}
        self._hosts: set[bytes] = set()
        self._chance = chance
        self._clock = clock
        self._conditions = conditions
        # In the order of time, and then of sending.
        self._events: list[tuple[float, int, Packet | Report]] = []
        self._numbers = count()
        self._fds = count(3)
        # When the last byte from one host to another leaves.
        self._free_at: dict[tuple[bytes, bytes], float] = {}
        self._mtus: dict[tuple[bytes, bytes], tuple[float, int]] = {}

    def open(self, port: Port) -> None:
        """Bind a socket, and give it a descriptor.

        Raises:
          OSError: the address has a socket already (EADDRINUSE).
        """
        name = endpoint(port.sockaddr)
        if name in self._bound:
            raise os_error(errno.EADDRINUSE)
        port.fd = next(self._fds)
        self.ports[port.fd] = port
        self._bound[name] = port
        self._hosts.add(name[2:])

    def is_bound(self, sockaddr: bytes) -> bool:
        """Whether there is a socket at an address."""
        return endpoint(sockaddr) in self._bound

    def close(self, port: Port) -> None:
        """Close a socket; what it has not received is lost."""
        if port.fd == -1:
            return
        self.settle()
        del self.ports[port.fd]
        del self._bound[endpoint(port.sockaddr)]
        port.close()

    @property
    def next_event(self) -> float | None:
        """When something arrives next."""
        return self._events[0][0] if self._events else None

    def settle(self) -> None:
        """Let all arrive whose time has come."""
        events, now = self._events, self._clock()
        while events and events[0][0] <= now:
            at, _, event = heapq.heappop(events)
            if isinstance(event, Report):
                self._report_arrives(at, event)
            else:
                self.statistics.in_flight -= 1
                self._arrive(at, event)

    def _schedule(self, at: float, event: Packet | Report) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), event))
        if self.on_schedule is not None and self._events[0][2] is event:
            self.on_schedule(at)

    def _note(
        self, at: float, verb: str, source: bytes, target: bytes, size: int
    ) -> None:
        if self.on_event is not None:
            self.on_event(at, verb, source, target, size)

    # Sending.

    def _send(
        self,
        fd: int,
        payload: bytes,
        segment_size: int,
        peer: bytes,
        control: Control,
    ) -> None:
        self.settle()
        port = self.ports[fd]
        port.raise_pending()
        target = peer or port.peer
        if not target:
            raise os_error(errno.EDESTADDRREQ)
        if family_of(target) != port.family:
            raise os_error(errno.EAFNOSUPPORT)
        name, own = endpoint(target), endpoint(port.sockaddr)
        if name[:2] == b"\0\0":
            raise os_error(errno.EINVAL)
        most = MAX_SIZE_V6 if port.family == AF_INET6 else MAX_SIZE_V4
        if len(payload) > most:
            raise os_error(errno.EMSGSIZE)
        tos, ttl = port.marks_of(control)
        hosts = own[2:], name[2:]
        conditions = self._conditions(*hosts)
        sizes = [len(payload)]
        if segment_size:
            sizes = self._segments(
                len(payload), segment_size, hosts, conditions, port.family
            )
        now = self._clock()
        if not port.has_room(now):
            raise os_error(errno.EAGAIN)
        if self._happens(conditions.congestion):
            raise os_error(errno.ENOBUFS)
        start = 0
        for size in sizes:
            self._leave(
                now,
                hosts,
                Packet(
                    port,
                    target,
                    payload[start : start + size],
                    tos,
                    ttl,
                    conditions,
                ),
            )
            start += size
        # What has no delay is there at once.
        self.settle()

    def _segments(
        self,
        size: int,
        segment_size: int,
        hosts: tuple[bytes, bytes],
        conditions: NetworkConditions,
        family: int,
    ) -> list[int]:
        """Return the sizes of the datagrams that a run is cut up into."""
        whole, last = divmod(size, segment_size)
        sizes = [segment_size] * whole + [last] * bool(last)
        if len(sizes) > SEGMENTS:
            raise os_error(errno.EINVAL)
        if conditions.gso_refusal:
            raise os_error(conditions.gso_refusal)
        mtu = self._believed_mtu(hosts, conditions)
        if segment_size + headers_of(family) > mtu:
            raise os_error(errno.EMSGSIZE)
        return sizes

    def _believed_mtu(
        self, hosts: tuple[bytes, bytes], conditions: NetworkConditions
    ) -> int:
        until, mtu = self._mtus.get(hosts, (0.0, 0))
        if self._clock() < until:
            return mtu
        return max(INTERFACE_MTU, conditions.mtu)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    def _leave(
        self, now: float, hosts: tuple[bytes, bytes], packet: Packet
    ) -> None:
        """Let a datagram out of its host."""
        conditions = packet.conditions
        statistics = self.statistics
        statistics.sent += 1
        size = len(packet.payload)
        source = packet.sender.sockaddr
        self._note(now, "sent", source, packet.target, size)
        headers = headers_of(packet.sender.family)
        whole = size + headers
        fragments = 1
        if whole > conditions.mtu:
            # A fragment repeats the IP header, and not that of UDP.
            fragments = -(-(size + 8) // (conditions.mtu - headers + 8))
        left_at = now
        if conditions.rate is not None:
            start = max(now, self._free_at.get(hosts, now))
            bits = size + 8 + fragments * (headers - 8)
            left_at = start + bits / conditions.rate
            self._free_at[hosts] = left_at
            packet.sender.occupy(left_at, size)
        if fragments > 1 and whole <= self._believed_mtu(hosts, conditions):
            statistics.too_large += 1
            self._note(now, "too large", source, packet.target, size)
            self._report(left_at, packet, errno.EMSGSIZE)
            return
        if self._happens(1 - (1 - conditions.loss) ** fragments):
            statistics.lost += 1
            self._note(now, "lost", source, packet.target, size)
            return
        self._travel(left_at, packet)
        if self._happens(conditions.duplication):
            statistics.duplicated += 1
            self._note(now, "doubled", source, packet.target, size)
            self._travel(left_at, packet)

    def _travel(self, left_at: float, packet: Packet) -> None:
        self.statistics.in_flight += 1
        delay = self._delay(packet.conditions)
        self._schedule(left_at + delay, packet)

    def _delay(self, conditions: NetworkConditions) -> float:
        jitter = conditions.jitter
        if jitter:
            jitter *= self._chance.random()
        return conditions.delay + jitter

    # Arriving.

    def _arrive(self, at: float, packet: Packet) -> None:
        target = endpoint(packet.target)
        source = packet.sender.sockaddr
        size = len(packet.payload)
        port = self._bound.get(target)
        if port is None or not port.hears(source):
            self.statistics.unreachable += 1
            self._note(at, "unreachable", source, packet.target, size)
            there = target[2:] in self._hosts
            self._report(
                at,
                packet,
                errno.ECONNREFUSED if there else errno.EHOSTUNREACH,
            )
        elif port.take(
            Arrived(at, packet.payload, source, packet.tos, packet.ttl)
        ):
            self.statistics.delivered += 1
            self._note(at, "delivered", source, packet.target, size)
        else:
            self.statistics.dropped += 1
            self._note(at, "dropped", source, packet.target, size)

    def _report(self, at: float, packet: Packet, number: int) -> None:
        """Send a report back."""
        if not packet.conditions.reports:
            return
        sender, target = packet.sender, endpoint(packet.target)
        back = self._conditions(target[2:], endpoint(sender.sockaddr)[2:])
        if self._happens(back.loss):
            return
        error = report_of(
            number,
            sender.sockaddr,
            packet.target,
            packet.payload,
            packet.conditions.mtu,
        )
        self._schedule(
            at + self._delay(back), Report(sender, packet.target, error)
        )

    def _report_arrives(self, at: float, report: Report) -> None:
        port, error = report.sender, report.error
        source, target = endpoint(port.sockaddr), endpoint(report.target)
        if error.mtu is not None:
            hosts = source[2:], target[2:]
            self._mtus[hosts] = (self._clock() + MTU_EXPIRES, error.mtu)
        if port.fd == -1:
            return
        self.statistics.reports += 1
        self._note(at, "reported", report.target, port.sockaddr, error.errno)
        connected = bool(port.peer) and error.errno in HARD
        if port.keep_errors or connected:
            port.report(error)

    # Receiving.

    def receive_datagrams(self, fd: int, arena: Arena, count: int) -> int:
        """Fill slots; return how many, 0 where nothing has arrived."""
        self.settle()
        port = self.ports[fd]
        port.raise_pending()
        count = min(count, arena.slots)
        filled = 0
        while filled < count and port.arrived:
            train = port.pop_train(SEGMENTS)
            payload = b"".join([item.payload for item in train])
            fitting = payload[: arena.slot_size]
            start = filled * arena.slot_size
            arena.memory[start : start + len(fitting)] = fitting
            arena.describe(
                filled,
                len(payload),
                MSG_TRUNC if len(payload) > len(fitting) else 0,
                train[0].source,
                port.control_of(train[0]),
                len(train[0].payload) if len(train) > 1 else 0,
            )
            filled += 1
        if filled:
            arena.note_filled(filled)
        return filled


def os_error(number: int) -> OSError:
    """Return the OSError of an errno."""
    return OSError(number, os.strerror(number))
