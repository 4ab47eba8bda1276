"""Datagrams of one size to one address, sent without a list of them.

The common batch. Its payloads are one piece of memory, and what is left of
it is one number, so that a step costs the same for one datagram and for four
thousand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from triobatch._datagrams import errnos
from triobatch._datagrams.gso import MAX_SIZE_V6
from triobatch._datagrams.outcomes import Outcome
from triobatch._datagrams.uncut_dispatch import UncutDispatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._datagrams.dispatch import Dispatch
    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.outcomes import Outlet
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control


class EqualDispatch(UncutDispatch):
    """The state of one such call; an ``AnyDispatch``.

    Args:
      outlet: The socket's.
      data: The payloads, one behind the other.
      segment_size: Bytes a payload; the last may be shorter.
      address: Where they go.
      peer: Its sockaddr.
      control: What goes with every datagram.
      give_back: Called when ``data`` is no longer needed; without it, ``data``
        is there for as long as anybody refers to it.
      ignore: Whether refused datagrams are dropped, and are no errors.
    """

    __slots__ = ("_data", "_give_back", "_segment_size")

    def __init__(
        self,
        outlet: Outlet,
        data: Chunk,
        segment_size: int,
        address: Address,
        peer: bytes,
        control: Control,
        give_back: Callable[[], None] | None = None,
        *,
        ignore: bool = False,
    ) -> None:
        super().__init__(outlet, address, peer, control, ignore=ignore)
        self._data = data
        self._segment_size = segment_size
        self._give_back = give_back

    def close(self) -> tuple[list[DatagramError], int]:
        """See ``AnyDispatch``."""
        left = -(-(len(self._data) - self._sent_bytes) // self._segment_size)
        self._data, self._give_back = b"", None
        if self._rest is None:
            return [], left
        return self._rest.close()

    def step(self, fd: int) -> Outcome:
        """See ``AnyDispatch``."""
        if self._rest is None and self._segment_size > MAX_SIZE_V6:
            # No datagram of the internet, so no segment; but an error for
            # each of them. Not before: a first call may have taken some.
            self._take_apart()
        if self._rest is not None:
            return self._rest.step(fd)
        data, start = self._data, self._sent_bytes
        size = len(data)
        if start >= size:
            return Outcome.DONE
        outlet, segment_size = self._outlet, self._segment_size
        limit = outlet.segmentation.limit(self.peer)
        run_size = limit.datagrams_a_run(segment_size) * segment_size
        outlet.counters.calls += 1
        try:
            taken = outlet.kernel.send_segments(
                fd,
                memoryview(data)[start:] if start else data,
                segment_size,
                run_size,
                self.peer,
                self._control,
            )
        except OSError as exc:
            if outlet.is_fatal(exc.errno or 0):
                raise
            return self.judge(exc.errno or 0, run_size)
        return self.account(taken, run_size)

    def judge(self, number: int, run_size: int) -> Outcome:
        """Say what an errno means, none that is fatal, where runs go out."""
        if number in errnos.FULL:
            return Outcome.FULL
        segment_size = self._segment_size
        first = min(run_size, len(self._data) - self._sent_bytes)
        return self._take_apart().judge(
            number,
            self.peer,
            -(-first // segment_size),
            segment_size,
        )

    def account(self, taken: int, run_size: int) -> Outcome:
        """Note that a call has taken so many bytes."""
        counters, segment_size = self._outlet.counters, self._segment_size
        sent = -(-taken // segment_size)
        self._sent += sent
        self._sent_bytes += taken
        counters.datagrams += sent
        if run_size > segment_size:
            # The last one is a run if more than one datagram is left for it.
            whole, last = divmod(taken, run_size)
            counters.runs += whole + (last > segment_size)
        if self._sent_bytes < len(self._data):
            return Outcome.MORE
        if self._give_back is not None:
            self._let_go()
        return Outcome.DONE

    def _take_apart(self) -> Dispatch:
        # What is given back is copied, at most COPY_SIZE; a view of each
        # datagram would take more than most of them.
        left = bytes(self._data) if self._give_back else memoryview(self._data)
        step = self._segment_size
        starts = range(self._sent_bytes, len(left), step)
        payloads: list[Chunk] = [
            left[start : start + step] for start in starts
        ]
        rest = self._go_on_with(payloads)
        self._let_go()
        return rest

    def _let_go(self) -> None:
        # Once: two who were given the same memory would send one another's.
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
