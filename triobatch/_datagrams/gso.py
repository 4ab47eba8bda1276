"""Segmentation: what the kernel is given as one message, to be cut up.

With UDP_SEGMENT (udp(7)) one message is cut by the kernel into datagrams of
``segment_size`` bytes, the last of which may be shorter; the kernel's work
falls from 3 us a datagram to 0.1 us (measured with 54 of 1200 bytes on
loopback), so a batch is worth sorting for it.

A *run* is a message of two or more datagrams to one destination. It ends

* where a datagram is larger than the first, or after one that is smaller;
* at ``segments`` datagrams: UDP_MAX_SEGMENTS (include/linux/udp.h) is 128
  from Linux 6.9 on and was 64 before;
* at ``size`` bytes: to the IP layer a run is one datagram, with one 16-bit
  length field (RFC 791, RFC 8200);
* at once, if the segment is larger than ``segment_size``: a run is never
  fragmented, so a segment that does not fit the path is refused, where the
  datagram alone would go out in fragments.

A datagram alone goes as a plain message: some network cards refuse a
UDP_SEGMENT that has nothing to cut. An empty one goes plain, too: a
UDP_SEGMENT of 0 means none.

Datagrams to one destination stay in their order. Those to different
destinations may pass each other, which lets A B A B become A A B B. Sockaddrs
that may be two names of one destination count as one.

A kernel that segments for one destination may refuse to for the next: EIO
where the route leads through IPsec, or, before Linux 6.11, to a card without
checksum offload; EINVAL on some virtual cards (before 6.2), and before 6.14
for a segment larger than the path's MTU, which is EMSGSIZE today. Such a
refusal is about one destination, and routes change, so it is remembered for
that destination only, and for a time.

Sans-IO: the clock is an argument.
"""

from __future__ import annotations

import errno
from functools import cache
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, NamedTuple

from triobatch._wire.addresses import (
    SOCKADDR_IN6_SIZE,
    SOCKADDR_IN_SIZE,
    endpoint,
    takes_v6_datagrams,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from triobatch._wire.control import Control

# 65535, less the headers of IPv4 (20) and UDP (8); IPv6 does not count its
# own header in the length.
MAX_SIZE_V4 = 65507
MAX_SIZE_V6 = 65527

# How long it rests after a refusal. The kernel forgets a learned path MTU
# after ten minutes (net.ipv4.route.mtu_expires); a wrong guess costs one
# system call.
COOL_DOWN = 60.0  # seconds
# For how many destinations that is remembered.
MAX_RESTING = 1024


class Limit(NamedTuple):
    """What one run may hold.

    Attributes:
      segments: Datagrams, at most; 1 where there is no segmentation.
      size: Bytes in all, at most.
      segment_size: Bytes a datagram, at most.
    """

    segments: int
    size: int = MAX_SIZE_V4
    segment_size: int = MAX_SIZE_V4

    def datagrams_a_run(self, size: int) -> int:
        """Return how many datagrams of ``size`` bytes one run holds."""
        if not 0 < size <= self.segment_size:
            return 1
        return max(1, min(self.segments, self.size // size))


NO_SEGMENTATION = Limit(1)


class Messages(NamedTuple):
    """Messages for one sendmmsg, in the order of the datagrams.

    Attributes:
      sizes: Bytes a message.
      segment_sizes: Bytes a segment, 0 for a plain message.
      counts: Datagrams a message.
      peers: The sockaddr of each message; one item if all go to one.
      controls: What goes with each message, if that is not the same for all.
    """

    sizes: list[int]
    segment_sizes: list[int]
    counts: list[int]
    peers: list[bytes]
    controls: list[Control] | None = None

    def front(self, count: int) -> Messages:
        """Return the first ``count`` of them."""
        return Messages(
            self.sizes[:count],
            self.segment_sizes[:count],
            self.counts[:count],
            self.peers[:count],
            self.controls and self.controls[:count],
        )

    def spread(self, errors: bytes) -> list[int]:
        """Return what each datagram has come to, as its message has."""
        return [
            number
            for number, count in zip(errors, self.counts, strict=False)
            for _ in range(count)
        ]


def plan(
    sizes: list[int],
    peers: Sequence[bytes],
    limit_of: Callable[[bytes], Limit],
) -> Messages:
    """Cut a batch into messages.

    Args:
      sizes: Bytes a datagram, at least one item.
      peers: The sockaddr of each datagram, one destination's side by side
        (see ``by_destination``).
      limit_of: Returns a destination's limit.

    Returns:
      The messages that take the datagrams in order.
    """
    count = len(sizes)
    first = peers[0]
    if peers.count(first) == count:
        messages = Messages([], [], [], [first])
        _add(messages, sizes, limit_of(first))
        return messages
    if len(set(peers)) == count:
        return Messages(sizes, [0] * count, [1] * count, list(peers))
    messages = Messages([], [], [], [])
    start = 0
    for peer, same in groupby(peers):
        end = start + len(list(same))
        _add(messages, sizes[start:end], limit_of(peer))
        added = len(messages.sizes) - len(messages.peers)
        messages.peers.extend([peer] * added)
        start = end
    return messages


def _add(messages: Messages, datagrams: list[int], limit: Limit) -> None:
    """Add the messages of datagrams to one destination, by their sizes."""
    # The common cases, all equal or a short last one, cost no loop here.
    first, last = datagrams[0], datagrams[-1]
    equal = datagrams.count(first)
    if equal == len(datagrams):
        _add_runs(messages, [(first, equal)], limit)
    elif equal == len(datagrams) - 1 and last != first:
        _add_runs(messages, [(first, equal), (last, 1)], limit)
    else:
        _add_mixed(messages, datagrams, limit)


def _add_mixed(messages: Messages, datagrams: list[int], limit: Limit) -> None:
    sizes, segment_sizes, counts, *_ = messages
    segments, max_size, max_segment = limit
    # Of the last message, as long as it may grow.
    total = segment = count = 0
    for size in datagrams:
        if (
            0 < size <= segment
            and count < segments
            and total + size <= max_size
        ):
            total += size
            count += 1
            sizes[-1], segment_sizes[-1], counts[-1] = total, segment, count
            if size < segment:
                segment = 0
            continue
        segment = size if size <= max_segment else 0
        total, count = size, 1
        sizes.append(size)
        segment_sizes.append(0)
        counts.append(1)


def _add_runs(
    messages: Messages, stretches: Iterable[tuple[int, int]], limit: Limit
) -> None:
    """Add stretches of equal sizes: ``(size, count)``."""
    sizes, segment_sizes, counts, *_ = messages
    segments, max_size, max_segment = limit
    # The size of the segments of the last message, if it may grow by one
    # shorter datagram.
    growing = 0
    for size, stretch in stretches:
        count = stretch
        if (
            0 < size < growing
            and counts[-1] < segments
            and sizes[-1] + size <= max_size
        ):
            sizes[-1] += size
            segment_sizes[-1] = growing
            counts[-1] += 1
            count -= 1
            growing = 0
            if not count:
                continue
        growing = size if size <= max_segment else 0
        if count == 1:
            sizes.append(size)
            segment_sizes.append(0)
            counts.append(1)
            continue
        whole = limit.datagrams_a_run(size)
        runs, rest = divmod(count, whole)
        sizes += [size * whole] * runs
        segment_sizes += [growing if whole > 1 else 0] * runs
        counts += [whole] * runs
        if rest:
            sizes.append(size * rest)
            segment_sizes.append(growing if rest > 1 else 0)
            counts.append(rest)


def by_destination(peers: Sequence[bytes]) -> list[int] | None:
    """Return the positions of a batch, each destination's side by side.

    Destinations come in the order in which they appear, and the datagrams
    of each in their own. ``None`` means that nothing is to be moved.
    """
    names = dict.fromkeys(peers)
    # b"" is the peer that the socket is connected to, which may be any of the
    # others.
    if len(names) in {1, len(peers)} or b"" in names:
        return None
    # Among IPv4 sockaddrs, each is a destination of its own.
    rank_of = {name: rank for rank, name in enumerate(names)}
    if len(max(names, key=len)) > SOCKADDR_IN_SIZE:
        ranks: dict[bytes, int] = {}
        for name in names:
            rank_of[name] = ranks.setdefault(endpoint(name), len(ranks))
    keys = list(map(rank_of.__getitem__, peers))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return None if order == list(range(len(keys))) else order


def within(sizes: list[int], max_size: int) -> int:
    """Return how many datagrams from the front fit ``max_size`` bytes.

    At least one: a datagram is not cut.
    """
    if sum(sizes) <= max_size:
        return len(sizes)
    totals = accumulate(sizes)
    return max(1, sum(1 for total in totals if total <= max_size))


class _Rest(NamedTuple):
    until: float
    limit: Limit


@cache
def _limits(segments: int) -> tuple[Limit, Limit]:
    """Return what a run over IPv4 may hold, and one over IPv6."""
    return (
        Limit(segments, MAX_SIZE_V4, MAX_SIZE_V4),
        Limit(segments, MAX_SIZE_V6, MAX_SIZE_V6),
    )


class Segmentation:
    """What one socket may put into a run, by destination.

    Args:
      segments: What the kernel cuts at most; 1 turns segmentation off.
      clock: Returns seconds.
    """

    __slots__ = ("_clock", "_resting", "_v4", "_v6", "refusals", "segments")

    def __init__(self, segments: int, clock: Callable[[], float]) -> None:
        self.segments: int = segments
        self._v4, self._v6 = _limits(segments)
        self._clock = clock
        self._resting: dict[bytes, _Rest] = {}
        self.refusals: dict[int, int] = {}

    def limit(self, peer: bytes) -> Limit:
        """Return what a run to ``peer`` may hold now."""
        if self._resting:
            rest = self._resting.get(peer)
            if rest is not None:
                if self._clock() < rest.until:
                    return rest.limit
                del self._resting[peer]
        # The size first: it spares the common IPv4 the rest.
        if len(peer) == SOCKADDR_IN6_SIZE and takes_v6_datagrams(peer):
            return self._v6
        return self._v4

    def refuse(self, peer: bytes, number: int, segment_size: int) -> None:
        """Note that a run to ``peer`` failed with the errno ``number``.

        After EMSGSIZE smaller segments go on; else it rests altogether.
        """
        self.refusals[number] = self.refusals.get(number, 0) + 1
        limit = NO_SEGMENTATION
        if number == errno.EMSGSIZE:
            limit = self.limit(peer)._replace(segment_size=segment_size - 1)
        # At the end, also if it was there: the first is the oldest.
        self._resting.pop(peer, None)
        if len(self._resting) >= MAX_RESTING:
            del self._resting[next(iter(self._resting))]
        self._resting[peer] = _Rest(self._clock() + COOL_DOWN, limit)
