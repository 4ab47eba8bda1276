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
* ENOBUFS and ENOMEM pass, and so does a flood of reports: the caller waits a
  while. What does not pass refuses the datagram, and each of those behind it
  gets one try.
* Any other error refuses the datagram, and the rest goes on (see ``pace``).

A refused datagram stays in the queue, at its front; everything before the
refused ones is sent. So at any time the queue holds exactly what was not.
Where refusals are ignored, it is counted and leaves the queue.
"""

from __future__ import annotations

import errno
from itertools import compress
from typing import TYPE_CHECKING

from triobatch._core import calls
from triobatch._datagrams import errnos, gso
from triobatch._datagrams.errors import errors_of, order_front
from triobatch._datagrams.outcomes import Outcome
from triobatch._datagrams.pace import PLANNED, Pace
from triobatch._queues.datagrams import undirected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from triobatch._core.tries import Tried
    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.outcomes import Observer, Outlet
    from triobatch._queues.datagrams import Directed
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control

# Joined at once. Eight runs of 64 KiB cost 13 % less than one (measured),
# sixteen no less than eight, and the copy falls out of the cache.
MAX_JOINED = 512 * 1024
# What one step looks at, at most.
WINDOW = max(PLANNED, calls.MAX_MESSAGES)
# sendmsg(2) takes no larger one (INT_MAX); so it needs not be copied.
MAX_MESSAGE = 2**31 - 1


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
      ignore: Whether refused datagrams are dropped, and are no errors.
    """

    __slots__ = (
        "_addresses",
        "_congested",
        "_control",
        "_floods",
        "_held",
        "_ignore",
        "_observer",
        "_on_sent",
        "_outlet",
        "_pace",
        "_payloads",
        "_peers",
        "_refused",
        "_reports",
        "_tags",
        "_unsegmented",
        "_withdrawn",
        "ignored",
        "peer",
        "refusals",
        "sent",
        "sent_bytes",
    )

    def __init__(
        self,
        outlet: Outlet,
        payloads: list[Chunk],
        addresses: list[Address | Directed],
        peers: list[bytes],
        control: Control,
        *,
        on_sent: Callable[[], object] | None = None,
        tags: Iterable[int] | None = None,
        observer: Observer | None = None,
        ignore: bool = False,
    ) -> None:
        # Of the datagrams at the front, which errors are made of in the end.
        self.refusals: list[int] = []
        self.sent: int = 0
        self.ignored: int = 0
        self.sent_bytes: int = 0
        self.peer: bytes = b""
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
        self._congested = self._floods = 0
        self._ignore = ignore
        self._withdrawn: set[int] = set()
        # The destinations that have no room.
        self._held: set[bytes] = set()
        self._pace = Pace()

    def step(self, fd: int) -> Outcome:
        """See ``AnyDispatch``."""
        first = len(self.refusals)
        if self._withdrawn or self._held:
            self._leave_out(first)
        if first == len(self._tags):
            return self._done()
        refusal = self._pace.refusal
        messages = self._plan_each(first) if refusal else self._plan(first)
        if messages.sizes[0] > MAX_MESSAGE:
            return self.judge(errno.EMSGSIZE, messages.peers[0], 1, 0)
        joined = b"".join(self._payloads[first : first + sum(messages.counts)])
        self._outlet.counters.calls += 1
        try:
            if refusal:
                tried = self._outlet.kernel.send_each(
                    fd,
                    joined,
                    messages.sizes,
                    messages.peers,
                    self._control,
                    refusal,
                    2 if self._outlet.may_be_report(refusal) else 1,
                    messages.controls,
                )
            else:
                taken = self._outlet.kernel.send_datagrams(
                    fd,
                    joined,
                    messages.sizes,
                    messages.segment_sizes,
                    messages.peers,
                    self._control,
                    messages.controls,
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
        self._reports.reset()
        if refusal:
            self._account_each(first, tried, messages)
        else:
            self._account(first, taken, messages)
        return Outcome.MORE if len(self._tags) > first else self._done()

    def _account(self, first: int, taken: int, messages: gso.Messages) -> None:
        """Note that the kernel has taken so many messages from the front."""
        sent = sum(messages.counts[:taken])
        if self._observer is not None:
            self._observer.sent(self._tags[first : first + sent])
        for column in self._columns():
            del column[first : first + sent]
        runs = messages.segment_sizes[:taken]
        self._outlet.counters.runs += taken - runs.count(0)
        self._count(sent, sum(messages.sizes[:taken]))
        if self._refused:
            self._learn_from(messages.peers[:taken])
        whole = taken == len(messages.sizes)
        self._pace.note_taken(sent, whole=whole)

    def _account_each(
        self, first: int, tried: Tried, messages: gso.Messages
    ) -> None:
        """Note what became of datagrams that were sent one by one."""
        refused, number = tried.refused, self._pace.refusal
        self._pace.note_tried(refused)
        counters = self._outlet.counters
        counters.calls += tried.calls - 1
        counters.reports += tried.passed
        taken = [not item for item in refused]
        end = first + len(refused)
        if self._observer is not None:
            self._observer.sent(list(compress(self._tags[first:end], taken)))
        sizes = messages.sizes[: len(refused)]
        self._count(sum(taken), sum(compress(sizes, taken)))
        if self._refused:
            peers = self._peers[first:end]
            for peer in compress(peers, refused):
                self._refused.pop(peer, None)
            self._learn_from(list(compress(peers, taken)))
        if 0 in refused:
            for column in self._columns():
                column[first:end] = compress(column[first:end], refused)
        self._refuse(number, first + sum(refused))

    def _count(self, sent: int, size: int) -> None:
        self.sent += sent
        self.sent_bytes += size
        self._outlet.counters.datagrams += sent
        if sent:
            self._congested = self._floods = 0

    def _done(self) -> Outcome:
        if self._on_sent is not None and not self.refusals:
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
                self._congested = self._floods = 0
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
        planned = self._pace.size
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
        messages = self._plan_runs(first, sizes[:fitting], peers[:fitting])
        return messages.front(calls.MAX_MESSAGES)

    def _plan_runs(
        self, _first: int, sizes: list[int], peers: list[bytes]
    ) -> gso.Messages:
        return gso.plan(sizes, peers, self._limit)

    def _plan_each(self, first: int) -> gso.Messages:
        count = min(self._pace.size, calls.MAX_MESSAGES)
        sizes = list(map(len, self._payloads[first : first + count]))
        count = gso.within(sizes[: len(self._tags) - first], MAX_JOINED)
        peers = self._peers[first : first + count]
        return gso.Messages(sizes[:count], [0] * count, [1] * count, peers)

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
        passing = number in errnos.CONGESTION
        if passing and self._congested < errnos.MAX_CONGESTED:
            self._congested += 1
            self._reports.reset()
            return Outcome.CONGESTED
        if self._outlet.may_be_report(number):
            verdict = self._reports.judge(number)
            if verdict is errnos.Verdict.REPORT:
                return Outcome.MORE
            passing = verdict is errnos.Verdict.FLOOD
            if passing and self._floods < errnos.MAX_FLOODS:
                self._floods += 1
                return Outcome.CONGESTED
        if count > 1 and not passing:
            if number in errnos.REFUSALS:
                self._refused[peer] = number, segment_size
            self._unsegmented.add(peer)
            if not self._outlet.must_ask_queue(number):
                self._pace.note_refused_run(number, count)
            return Outcome.MORE
        alone = passing or self._outlet.must_ask_queue(number)
        self._pace.note_refusal(0 if alone else number)
        self._refuse(number, len(self.refusals) + count)
        # Where a datagram alone fails as well, segmentation is not to blame.
        self._refused.pop(peer, None)
        return Outcome.MORE

    def _refuse(self, number: int, end: int) -> None:
        """Refuse the datagrams behind those that were, up to ``end``."""
        first = len(self.refusals)
        self._outlet.counters.refused += end - first
        tags = self._tags[first:end]
        if self._observer is not None:
            for tag in tags:
                self._observer.refuse(tag, number)
        if self._ignore:
            self.ignored += end - first
            for column in self._columns():
                del column[first:end]
            return
        self.refusals += [number] * (end - first)

    def _learn_from(self, peers: list[bytes]) -> None:
        """Note where datagrams went that had been refused as a run."""
        for peer in set(peers) & self._refused.keys():
            number, segment_size = self._refused.pop(peer)
            self._outlet.segmentation.refuse(peer, number, segment_size)

    def close(self) -> tuple[list[DatagramError], int]:
        """See ``AnyDispatch``."""
        numbers, self.refusals = self.refusals, []
        count = len(numbers)
        left = len(self._tags) - count
        tags = self._tags[:count]
        order_front(tags, (self._payloads, self._addresses, numbers, tags))
        addresses = list(map(undirected, self._addresses[:count]))
        errors = errors_of(numbers, tags, addresses)
        self._payloads, self._on_sent = [], None
        return errors, left
