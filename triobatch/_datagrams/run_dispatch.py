"""Runs on their way into the kernel, from where they lie.

What was put together is handed back as it is: a message a run, as far as the
kernel takes it so (see ``gso``), and otherwise cut at the borders of its
datagrams. Nothing is copied, and no datagram is looked at by itself, until the
kernel refuses something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from triobatch._core import calls
from triobatch._datagrams.outcomes import Outcome
from triobatch._datagrams.uncut_dispatch import UncutDispatch
from triobatch._queues.views import release

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from triobatch._datagrams.dispatch import Dispatch
    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.gso import Limit
    from triobatch._datagrams.outcomes import Outlet
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control


class Messages(NamedTuple):
    """Messages to one peer.

    Attributes:
      payloads: Their bytes.
      segment_sizes: What each is cut into, 0 for a plain one.
      counts: The datagrams of each.
    """

    payloads: list[Chunk]
    segment_sizes: list[int]
    counts: list[int]


def plan(runs: Iterable[tuple[Chunk, int]], limit: Limit) -> Messages:
    """Make messages of runs.

    Args:
      runs: Bytes, and how many of them are a datagram.
      limit: What one message may hold.
    """
    messages = payloads, segment_sizes, counts = Messages([], [], [])
    most = last = 0
    for data, segment_size in runs:
        size = len(data)
        if segment_size != last:
            # Looked up once: they are all alike, as a rule.
            most = limit.datagrams_a_run(segment_size) * segment_size
            last = segment_size
        if segment_size < size <= most:
            payloads.append(data)
            segment_sizes.append(segment_size)
            counts.append(-(-size // segment_size))
            continue
        for start in range(0, size, most) if size else (0,):
            part = data[start : start + most] if most < size else data
            count = -(-len(part) // segment_size) if part else 1
            payloads.append(part)
            segment_sizes.append(segment_size if count > 1 else 0)
            counts.append(count)
    return messages


class RunDispatch(UncutDispatch):
    """The state of one such call; an ``AnyDispatch``.

    Args:
      outlet: The socket's.
      runs: Bytes, and how many of them are a datagram.
      address: Where they go.
      peer: Its sockaddr.
      control: What goes with every datagram.
      ignore: Whether refused datagrams are dropped, and are no errors.
    """

    __slots__ = ("_messages", "_next", "_runs")

    def __init__(
        self,
        outlet: Outlet,
        runs: Sequence[tuple[Chunk, int]],
        address: Address,
        peer: bytes,
        control: Control,
        *,
        ignore: bool = False,
    ) -> None:
        super().__init__(outlet, address, peer, control, ignore=ignore)
        self._runs = runs
        self._messages = plan(runs, outlet.segmentation.limit(peer))
        self._next = 0

    def close(self) -> tuple[list[DatagramError], int]:
        """See ``AnyDispatch``."""
        if self._rest is not None:
            return self._rest.close()
        return [], sum(self._messages.counts[self._next :])

    def release(self) -> None:
        """Let go of the memory, also where a traceback keeps this."""
        if self._rest is not None:
            self._rest.close()
        release([data for data, _ in self._runs])
        if len(self._messages.payloads) != len(self._runs):
            # Some were cut.
            release(self._messages.payloads)
        self._runs, self._messages = [], Messages([], [], [])

    def step(self, fd: int) -> Outcome:
        """See ``AnyDispatch``."""
        if self._rest is not None:
            return self._rest.step(fd)
        payloads, segment_sizes, counts = self._messages
        first = self._next
        if first == len(payloads):
            return Outcome.DONE
        last = first + calls.MAX_MESSAGES
        outlet = self._outlet
        counters = outlet.counters
        counters.calls += 1
        try:
            taken = outlet.kernel.send_runs(
                fd,
                payloads[first:last],
                segment_sizes[first:last],
                self.peer,
                self._control,
            )
        except BlockingIOError:
            return Outcome.FULL
        except OSError as exc:
            if outlet.is_fatal(exc.errno or 0):
                raise
            return self._take_apart().judge(
                exc.errno or 0, self.peer, counts[first], segment_sizes[first]
            )
        self._next = last = first + taken
        sent = sum(counts[first:last])
        self._sent += sent
        self._sent_bytes += sum(map(len, payloads[first:last]))
        counters.datagrams += sent
        counters.runs += taken - segment_sizes[first:last].count(0)
        return Outcome.MORE if last < len(payloads) else Outcome.DONE

    def _take_apart(self) -> Dispatch:
        left = slice(self._next, None)
        payloads: list[Chunk] = []
        for data, step in zip(
            self._messages.payloads[left],
            self._messages.segment_sizes[left],
            strict=True,
        ):
            if not step:
                payloads.append(data)
                continue
            payloads += [
                data[start : start + step]
                for start in range(0, len(data), step)
            ]
        return self._go_on_with(payloads)
