"""A batch of datagrams on its way into the kernel: every outcome but waiting.

sendmmsg(2) tells little. It stops at the first message that fails, returns
how many went before it, and loses the errno. What it reports for the first
message of a call may not be about that message at all. So:

* A short count is no error. The next call starts with the message that
  stopped it, and either learns why or goes on.
* An error that the network has reported is about an earlier datagram, and
  the one in hand was not sent: it is tried again (see ``errnos``).
* An error for a run (a message that the kernel cuts up) says little about
  its datagrams: the size of the run may be the trouble, or segmentation
  itself. That run goes again unsegmented, from its own first datagram, so
  that nothing is sent twice and each datagram gets a result of its own. If
  they go now, it was segmentation, and that rests (see ``gso``).
* ENOBUFS and ENOMEM pass: the caller waits a while. If they do not pass, the
  datagram is refused, and each of those behind it gets one try.
* Any other error refuses the datagram, and the rest goes on.

A refused datagram stays in the queue, at its front; everything before the
refused ones is sent. So at any time the queue holds exactly what was not.
"""

from __future__ import annotations

import enum
import errno
from itertools import compress
from typing import TYPE_CHECKING, Protocol

from triobatch._core import calls
from triobatch._datagrams import errnos, gso
from triobatch._datagrams.errors import DatagramError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from triobatch._datagrams.outlet import Outlet
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import ControlMessage

# Datagrams planned at once: enough for four full runs. More would be cut off
# by the limits below and be planned again.
PLANNED = 256
# As many after a refusal, and four times as many after each whole success.
# Where all are refused, planning those behind cost 800 us a datagram.
PLANNED_WITH_CARE = 4
# Joined at once. Eight runs of 64 KiB cost 13 % less than one (measured),
# sixteen no less than eight, and the copy falls out of the cache.
MAX_JOINED = 512 * 1024
# What one step looks at, at most.
WINDOW = max(PLANNED, calls.MAX_MESSAGES)
# sendmsg(2) takes no larger one (INT_MAX); so it needs not be copied.
MAX_MESSAGE = 2**31 - 1


class Outcome(enum.Enum):
    """What one system call has come to."""

    DONE = enum.auto()
    MORE = enum.auto()
    # Wait until the socket is writable, or the dispatch's `peer` has room.
    FULL = enum.auto()
    # Wait a while.
    CONGESTED = enum.auto()


class AnyDispatch(Protocol):
    """What the loop that sends needs of a batch on its way."""

    @property
    def peer(self) -> bytes:
        """After ``FULL``: where the datagram goes that was not taken."""

    @property
    def sent(self) -> int:
        """Datagrams that the kernel took."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of them."""

    @property
    def errors(self) -> list[DatagramError]:
        """Why the others were refused, in their order."""

    def step(self, fd: int) -> Outcome:
        """Make one system call, and account for what it has taken."""

    def hold(self, peer: bytes) -> bool:
        """Leave out all datagrams to one destination, between two steps.

        Returns:
          Whether that can be done; if not, all wait for that destination.
        """

    def close(self) -> tuple[list[DatagramError], int]:
        """Let go of the payloads; return the errors, and what is unsent.

        A traceback keeps this object, and so would an error that it keeps.
        """


class Observer(Protocol):
    """Learns the outcome of each datagram of a batch as soon as there is one.

    It may then withdraw datagrams, and let destinations wait. A tag is what
    it knows a datagram by.
    """

    def sent(self, tags: list[int]) -> None:
        """The kernel has taken these."""

    def refuse(self, tag: int, number: int) -> None:
        """The kernel has refused one, with an errno."""

    def hold(self, tag: int, peer: bytes) -> None:
        """One has left the batch, because its destination has no room."""


class Dispatch:
    """The state of one sending call; an ``AnyDispatch``.

    Args:
      outlet: The socket's.
      payloads: The queue's own list; sent datagrams are deleted.
      addresses: The queue's own, too.
      peers: The sockaddr of each datagram.
      control: What goes with every datagram.
      on_sent: Called as soon as the kernel has taken the whole batch.
      tags: What each datagram is known by: its index in an error, and the
        observer's name for it. 0, 1, 2 and so on by default.
      observer: Who wants to know of each datagram at once.
    """

    __slots__ = (
        "_addresses",
        "_congested",
        "_control",
        "_held",
        "_observer",
        "_on_sent",
        "_outlet",
        "_payloads",
        "_peers",
        "_planned",
        "_refused",
        "_reports",
        "_tags",
        "_unsegmented",
        "_withdrawn",
        "errors",
        "peer",
        "sent",
        "sent_bytes",
    )

    def __init__(
        self,
        outlet: Outlet,
        payloads: list[Chunk],
        addresses: list[Address],
        peers: list[bytes],
        control: tuple[ControlMessage, ...],
        *,
        on_sent: Callable[[], object] | None = None,
        tags: Iterable[int] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.errors: list[DatagramError] = []
        self.sent = 0
        self.sent_bytes = 0
        self.peer = b""
        self._outlet = outlet
        self._payloads = payloads
        self._addresses = addresses
        self._peers = peers
        self._control = control
        self._on_sent = on_sent
        self._observer = observer
        # As long as the batch is: datagrams that are added to the queue from
        # now on are not ours.
        self._tags = list(range(len(peers)) if tags is None else tags)
        self._unsegmented: set[bytes] = set()
        # Runs that may have been refused for being runs: errno and segment.
        self._refused: dict[bytes, tuple[int, int]] = {}
        self._reports = errnos.Reports(outlet.counters)
        self._congested = 0
        self._withdrawn: set[int] = set()
        # The destinations that have no room.
        self._held: set[bytes] = set()
        # How many are planned at once.
        self._planned = PLANNED

    def step(self, fd: int) -> Outcome:
        """See ``AnyDispatch``."""
        first = len(self.errors)
        if self._withdrawn or self._held:
            self._leave_out(first)
        if first == len(self._tags):
            return Outcome.DONE
        messages = self._plan(first)
        if messages.sizes[0] > MAX_MESSAGE:
            return self.judge(errno.EMSGSIZE, messages.peers[0], 1, 0)
        joined = b"".join(self._payloads[first : first + sum(messages.counts)])
        counters = self._outlet.counters
        counters.calls += 1
        try:
            taken = self._outlet.kernel.send_datagrams(
                fd,
                joined,
                messages.sizes,
                messages.segment_sizes,
                messages.peers,
                self._control,
            )
        except BlockingIOError:
            self._reports.reset()
            self.peer = messages.peers[0]
            return Outcome.FULL
        except OSError as exc:
            if self._outlet.is_fatal(exc):
                raise
            return self.judge(
                exc.errno or 0,
                messages.peers[0],
                messages.counts[0],
                messages.segment_sizes[0],
            )
        sent = sum(messages.counts[:taken])
        if self._observer is not None:
            self._observer.sent(self._tags[first : first + sent])
        for column in self._columns():
            del column[first : first + sent]
        self.sent += sent
        counters.datagrams += sent
        runs = messages.segment_sizes[:taken]
        counters.runs += taken - runs.count(0)
        self.sent_bytes += sum(messages.sizes[:taken])
        if self._refused:
            self._learn_from(messages.peers[:taken])
        self._reports.reset()
        self._congested = 0
        if taken == len(messages.sizes):
            self._planned = min(4 * self._planned, PLANNED)
        if len(self._tags) > first:
            return Outcome.MORE
        if self._on_sent is not None and not self.errors:
            self._on_sent()
        return Outcome.DONE

    def withdraw(self, tag: int) -> None:
        """Leave out a datagram without outcome, between two steps.

        Its payload is not looked at again.
        """
        self._withdrawn.add(tag)

    def hold(self, peer: bytes) -> bool:
        """See ``AnyDispatch``; an observer is there to take them in."""
        if self._observer is None:
            return False
        self._held.add(peer)
        return True

    def _leave_out(self, first: int) -> None:
        """Make sure of the datagrams that the next step looks at.

        Those behind them are not looked at yet, so that withdrawing all of a
        long batch, one after the other, costs no more than sending it.
        """
        window = slice(first, first + WINDOW)
        while True:
            tags, peers = self._tags[window], self._peers[window]
            stays = [
                tag not in self._withdrawn and peer not in self._held
                for tag, peer in zip(tags, peers, strict=True)
            ]
            if all(stays):
                return
            if not stays[0]:
                # The tries so far were not of the one that is first now.
                self._congested = 0
                self._reports.reset()
            for tag, peer, here in zip(tags, peers, stays, strict=True):
                if tag in self._withdrawn:
                    self._withdrawn.discard(tag)
                elif not here and self._observer is not None:
                    self._observer.hold(tag, peer)
            for column in self._columns():
                column[window] = compress(column[window], stays)

    def _columns(self) -> Iterator[list]:  # type: ignore[type-arg]
        yield self._payloads
        yield self._addresses
        yield self._peers
        yield self._tags

    def _plan(self, first: int) -> gso.Messages:
        planned = self._planned
        segments = self._outlet.segmentation.segments
        if segments == 1:
            planned = min(planned, calls.MAX_MESSAGES)
        last = min(first + planned, len(self._tags))
        peers = self._peers[first:last]
        if segments > 1:
            order = gso.by_destination(peers)
            if order is not None:
                for column in self._columns():
                    batch = column[first:last]
                    column[first:last] = [batch[i] for i in order]
                peers = self._peers[first:last]
        sizes = list(map(len, self._payloads[first:last]))
        fitting = gso.within(sizes, MAX_JOINED)
        messages = gso.plan(sizes[:fitting], peers[:fitting], self._limit)
        if len(messages.sizes) <= calls.MAX_MESSAGES:
            return messages
        return messages.front(calls.MAX_MESSAGES)

    def _limit(self, peer: bytes) -> gso.Limit:
        if peer in self._unsegmented:
            return gso.NO_SEGMENTATION
        return self._outlet.segmentation.limit(peer)

    def judge(
        self, number: int, peer: bytes, count: int, segment_size: int
    ) -> Outcome:
        """Say what an errno means for the message that is first in line.

        Args:
          number: The errno; none that is fatal, and not EAGAIN.
          peer: The message's destination.
          count: Datagrams in it.
          segment_size: What it was to be cut into, if there are more than
            one.
        """
        congestion = number in errnos.CONGESTION
        if congestion and self._congested < errnos.MAX_CONGESTED:
            self._congested += 1
            self._reports.reset()
            return Outcome.CONGESTED
        if self._outlet.internet or number in errnos.REPORTED_BY_UNIX:
            verdict = self._reports.judge(number)
            if verdict is errnos.Verdict.REPORT:
                return Outcome.MORE
            if verdict is errnos.Verdict.FLOOD:
                return Outcome.CONGESTED
        if count > 1 and not congestion:
            if number in errnos.REFUSALS:
                self._refused[peer] = number, segment_size
            self._unsegmented.add(peer)
            return Outcome.MORE
        self._planned = PLANNED_WITH_CARE
        first = len(self.errors)
        self.errors += [
            DatagramError(number, self._tags[i], self._addresses[i])
            for i in range(first, first + count)
        ]
        if self._observer is not None:
            for tag in self._tags[first : first + count]:
                self._observer.refuse(tag, number)
        # Where a datagram alone fails as well, segmentation is not to blame.
        self._refused.pop(peer, None)
        return Outcome.MORE

    def _learn_from(self, peers: list[bytes]) -> None:
        """Note where datagrams went that had been refused as a run."""
        for peer in set(peers) & self._refused.keys():
            number, segment_size = self._refused.pop(peer)
            self._outlet.segmentation.refuse(peer, number, segment_size)

    def close(self) -> tuple[list[DatagramError], int]:
        """See ``AnyDispatch``."""
        errors, self.errors = self.errors, []
        left = len(self._tags) - len(errors)
        self._payloads, self._on_sent = [], None
        return errors, left
