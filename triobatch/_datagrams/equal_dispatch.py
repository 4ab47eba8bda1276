"""Datagrams of one size to one address, sent without a list of them.

The common batch. Its payloads are one piece of memory, and what is left of
it is one number, so that a step costs the same for one datagram and for four
thousand. Only when the kernel refuses something is the rest taken apart into
a ``Dispatch``, which finds out what each datagram comes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from triobatch._datagrams import errnos
from triobatch._datagrams.dispatch import Dispatch
from triobatch._datagrams.gso import MAX_SIZE_V6
from triobatch._datagrams.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.outcomes import Outlet
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control


class EqualDispatch:
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

    __slots__ = (
        "_address",
        "_control",
        "_data",
        "_give_back",
        "_ignore",
        "_outlet",
        "_rest",
        "_segment_size",
        "_taken",
        "peer",
    )

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
        self.peer: bytes = peer
        self._outlet = outlet
        self._data = data
        self._segment_size = segment_size
        self._address = address
        self._control = control
        self._give_back = give_back
        self._ignore = ignore
        # Bytes that the kernel took before there was a `_rest`.
        self._taken = 0
        self._rest: Dispatch | None = None
        if segment_size > MAX_SIZE_V6:
            # No datagram, so no segment; but an error for each of them.
            self._take_apart()

    @property
    def sent(self) -> int:
        """See ``AnyDispatch``."""
        sent = -(-self._taken // self._segment_size)
        return sent + self._rest.sent if self._rest else sent

    @property
    def sent_bytes(self) -> int:
        """See ``AnyDispatch``."""
        return self._taken + (self._rest.sent_bytes if self._rest else 0)

    @property
    def refusals(self) -> list[int]:
        """See ``AnyDispatch``."""
        return self._rest.refusals if self._rest else []

    @property
    def ignored(self) -> int:
        """See ``AnyDispatch``."""
        return self._rest.ignored if self._rest else 0

    def hold(self, peer: bytes) -> bool:  # noqa: ARG002 (the protocol's)
        """Return False: all go to one destination, and wait for it."""
        return False

    def close(self) -> tuple[list[DatagramError], int]:
        """See ``AnyDispatch``."""
        left = -(-(len(self._data) - self._taken) // self._segment_size)
        self._data, self._give_back = b"", None
        if self._rest is None:
            return [], left
        return self._rest.close()

    def step(self, fd: int) -> Outcome:
        """See ``AnyDispatch``."""
        if self._rest is not None:
            return self._rest.step(fd)
        data, start = self._data, self._taken
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
        first = min(run_size, len(self._data) - self._taken)
        return self._take_apart().judge(
            number,
            self.peer,
            -(-first // segment_size),
            segment_size,
        )

    def account(self, taken: int, run_size: int) -> Outcome:
        """Note that a call has taken so many bytes."""
        counters, segment_size = self._outlet.counters, self._segment_size
        self._taken += taken
        counters.datagrams += -(-taken // segment_size)
        if run_size > segment_size:
            # The last one is a run if more than one datagram is left for it.
            whole, last = divmod(taken, run_size)
            counters.runs += whole + (last > segment_size)
        if self._taken < len(self._data):
            return Outcome.MORE
        if self._give_back is not None:
            self._give_back()
        return Outcome.DONE

    def _take_apart(self) -> Dispatch:
        # What is given back is copied, at most COPY_SIZE; a view of each
        # datagram would take more than most of them.
        left = bytes(self._data) if self._give_back else memoryview(self._data)
        step = self._segment_size
        starts = range(self._taken, len(left), step)
        first = self._taken // step
        payloads: list[Chunk] = [
            left[start : start + step] for start in starts
        ]
        rest = self._rest = Dispatch(
            self._outlet,
            payloads,
            [self._address] * len(payloads),
            [self.peer] * len(payloads),
            self._control,
            tags=range(first, first + len(payloads)),
            ignore=self._ignore,
        )
        if self._give_back is not None:
            self._give_back()
        return rest
