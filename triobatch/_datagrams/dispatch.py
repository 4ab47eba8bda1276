"""A batch of datagrams on its way into the kernel: every outcome but waiting.

sendmmsg(2) tells little. It stops at the first message that fails, returns
how many went before it, and loses the errno. What it reports for the first
message of a call may not be about that message at all. So:

* A short count is no error. The core makes the next call with the message
  that stopped it, and either learns why or goes on.
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
* Any other error refuses the datagram. The core goes past it by itself, and
  tells what each has come to, so that a batch of them costs one call of it.

A refused datagram stays in the queue, at its front; everything before the
refused ones is sent. So at any time the queue holds exactly what was not.
Where refusals are ignored, it is counted and leaves the queue.
"""

from __future__ import annotations

import errno
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from triobatch._core import calls
from triobatch._core.counts import os_error
from triobatch._datagrams import errnos, gso
from triobatch._datagrams.errors import errors_of, order_front
from triobatch._datagrams.outcomes import Outcome
from triobatch._datagrams.pace import PLANNED, Pace
from triobatch._queues.datagrams import Directed, undirected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.outcomes import Observer, Outlet
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control

# Joined at once. Eight runs of 64 KiB cost 13 % less than one (measured),
# sixteen no less than eight, and the copy falls out of the cache.
MAX_JOINED = 512 * 1024
WINDOW = max(PLANNED, calls.MAX_MESSAGES)  # What a step looks at, at most.
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
        self._pace = Pace(plain=outlet.plain)

    def step(self, fd: int) -> Outcome:
        """See ``AnyDispatch``."""
        first = len(self.refusals)
        if self._withdrawn or self._held:
            self._leave_out(first)
        if first == len(self._tags):
            return self._done()
        messages = self._plan(first)
        if messages.sizes[0] > MAX_MESSAGE:
            return self.judge(errno.EMSGSIZE, messages.peers[0], 1, 0)
        outlet = self._outlet
        tried = outlet.kernel.send_past(
            fd,
            self._payloads[first : first + sum(messages.counts)],
            messages.sizes,
            messages.segment_sizes,
            messages.peers,
            self._control,
            outlet.tries(pending=self._reports.pending),
            messages.controls,
        )
        outlet.counters.calls += tried.calls
        outlet.counters.reports += tried.passed
        done = len(tried.errors)
        if done:
            if self._reports.pending:
                self._reports.reset()
            self._account(first, tried.errors, messages)
            if self._withdrawn or self._held or not tried.stopped:
                # What was stopped need not be what is first now.
                left = len(self._tags) > len(self.refusals)
                return Outcome.MORE if left else self._done()
        peer = messages.peers[done if len(messages.peers) > 1 else 0]
        if tried.stopped in errnos.FULL:
            self._reports.reset()
            self.peer = peer
            return Outcome.FULL
        if outlet.is_fatal(tried.stopped):
            raise os_error(tried.stopped)
        return self.judge(
            tried.stopped,
            peer,
            messages.counts[done],
            messages.segment_sizes[done],
        )

    def _account(
        self, first: int, errors: bytes, messages: gso.Messages
    ) -> None:
        """Note what messages have come to, from the front on.

        Args:
          first: The first datagram.
          errors: The errno of each, 0 if the kernel has taken it.
          messages: They, and those behind.
        """
        done = len(errors)
        counts, sizes = messages.counts[:done], messages.sizes[:done]
        runs = done - messages.segment_sizes[:done].count(0)
        self._outlet.counters.runs += runs
        end = first + sum(counts)
        numbers: list[int] = []
        if errors.count(0) == done:
            # The rule, and spared what follows: a tenth of a batch of four.
            refused: Sequence[int] = bytes(end - first)
        else:
            numbers = list(filter(None, errors))
            refused = messages.spread(errors) if runs else errors
        sent = len(refused) - len(numbers)
        if self._observer is not None or self._refused:
            self._tell(first, end, refused)
        if not numbers:
            for column in self._columns():
                del column[first:end]
        elif sent:
            for column in self._columns():
                column[first:end] = compress(column[first:end], refused)
        if sent:
            self.sent += sent
            self.sent_bytes += sum(sizes)
            if numbers:
                self.sent_bytes -= sum(compress(sizes, errors))
            self._outlet.counters.datagrams += sent
            self._congested = self._floods = 0
        whole = done == len(messages.sizes)
        pace = self._pace  # It need not be told what changes nothing.
        if numbers or pace.plain or pace.size < PLANNED:
            pace.note_tried(len(numbers), len(refused), whole=whole)
        self._outlet.plain = pace.plain
        if numbers:
            self._refuse(numbers)

    def _tell(self, first: int, end: int, refused: Sequence[int]) -> None:
        """Tell the observer what went, and learn from what follows a run."""
        taken = [not number for number in refused]
        if self._observer is not None:
            self._observer.sent(list(compress(self._tags[first:end], taken)))
        peers = self._peers[first:end]
        for peer in compress(peers, refused):
            # Segmentation is not to blame.
            self._refused.pop(peer, None)
        for peer in set(compress(peers, taken)) & self._refused.keys():
            number, segment_size = self._refused.pop(peer)
            self._outlet.segmentation.refuse(peer, number, segment_size)

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

    def _columns(self) -> list[list[Any]]:
        return [self._payloads, self._addresses, self._peers, self._tags]

    def _plan(self, first: int) -> gso.Messages:
        segments = self._outlet.segmentation.segments
        if segments == 1 or self._pace.plain:
            return self._plan_each(first)
        last = min(first + self._pace.size, len(self._tags))
        peers = self._peers[first:last]
        order = gso.by_destination(peers)
        if order is not None:
            in_order = itemgetter(*order)  # Of two at least.
            for column in self._columns():
                column[first:last] = in_order(column[first:last])
            peers = self._peers[first:last]
        sizes = list(map(len, self._payloads[first:last]))
        fitting = gso.within(sizes, MAX_JOINED)
        messages = self._plan_runs(first, sizes[:fitting], peers[:fitting])
        if len(messages.sizes) > calls.MAX_MESSAGES:
            return messages.front(calls.MAX_MESSAGES)
        return messages

    def _plan_runs(
        self, _first: int, sizes: list[int], peers: list[bytes]
    ) -> gso.Messages:
        return gso.plan(sizes, peers, self._limit)

    def _plan_each(self, first: int) -> gso.Messages:
        count = min(self._pace.size, calls.MAX_MESSAGES)
        sizes = list(map(len, self._payloads[first : first + count]))
        count = gso.within(sizes[: len(self._tags) - first], MAX_JOINED)
        peers = self._peers[first : first + count]
        if peers.count(peers[0]) == count:
            peers = peers[:1]
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
                self._pace.note_refused_run()
            return Outcome.MORE
        if passing or self._outlet.must_ask_queue(number):
            self._pace.note_judged()
        self._refuse([number] * count)
        # Where a datagram alone fails as well, segmentation is not to blame.
        self._refused.pop(peer, None)
        return Outcome.MORE

    def _refuse(self, numbers: list[int]) -> None:
        """Refuse the datagrams behind those that were, an errno for each."""
        first = len(self.refusals)
        end = first + len(numbers)
        self._outlet.counters.refused += len(numbers)
        if self._observer is not None:
            for tag, number in zip(
                self._tags[first:end], numbers, strict=True
            ):
                self._observer.refuse(tag, number)
        if self._ignore:
            self.ignored += len(numbers)
            for column in self._columns():
                del column[first:end]
            return
        self.refusals += numbers

    def close(self) -> tuple[list[DatagramError], int]:
        """See ``AnyDispatch``."""
        numbers, self.refusals = self.refusals, []
        count = len(numbers)
        left = len(self._tags) - count
        tags = self._tags[:count]
        order_front(tags, (self._payloads, self._addresses, numbers, tags))
        addresses: list[Any] = self._addresses[:count]
        if Directed in map(type, addresses):
            addresses = list(map(undirected, addresses))
        errors = errors_of(numbers, tags, addresses)
        self._payloads, self._on_sent = [], None
        return errors, left
