"""Where segmentation is refused, it rests for a while.

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
from typing import TYPE_CHECKING, NamedTuple

from triobatch._datagrams.gso import MAX_SIZE_V4, MAX_SIZE_V6, Limit
from triobatch._wire.addresses import takes_v6_datagrams

if TYPE_CHECKING:
    from collections.abc import Callable

# The kernel forgets a learned path MTU after ten minutes
# (net.ipv4.route.mtu_expires); a wrong guess costs one system call.
COOL_DOWN = 60.0  # seconds
MAX_RESTING = 1024

REFUSALS = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE})

NO_SEGMENTATION = Limit(1)


class _Rest(NamedTuple):
    until: float
    limit: Limit


class Segmentation:
    """What one socket may put into a run, by destination.

    Args:
      segments: What the kernel cuts at most; 1 turns segmentation off.
      clock: Returns seconds.
    """

    def __init__(self, segments: int, clock: Callable[[], float]) -> None:
        self.segments = segments
        self._v4 = Limit(segments, MAX_SIZE_V4, MAX_SIZE_V4)
        self._v6 = Limit(segments, MAX_SIZE_V6, MAX_SIZE_V6)
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
        return self._v6 if takes_v6_datagrams(peer) else self._v4

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
