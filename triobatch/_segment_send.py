"""Datagrams of one size to one address, sent without a list of them.

The common batch. Its payloads are one piece of memory, and what is left of
it is two numbers, so that a step costs the same for one datagram and for
four thousand. Only when the kernel refuses something is the rest taken apart
into a ``Dispatch``, which finds out what each datagram comes to.
"""

from collections.abc import Callable

from . import _datagram_syscalls as syscalls
from ._datagram_errors import DatagramError
from ._datagram_send import Dispatch, Outcome, SendCounters
from ._metadata import ControlMessage
from ._segmentation import Segmentation
from ._segments import plan_cut


class SegmentDispatch:
    """The state of one such call; has what ``Dispatch`` has.

    Args:
      data: The payloads, one behind the other.
      segment_size: Bytes a payload; the last may be shorter.
      peer: The sockaddr of the destination.
      segmentation: The socket's.
      counters: The socket's.
      control: What goes with every datagram.
      take_apart: Makes a ``Dispatch`` of payloads and of the position of the
        first one.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        segment_size: int,
        peer: bytes,
        *,
        segmentation: Segmentation,
        counters: SendCounters,
        control: tuple[ControlMessage, ...],
        take_apart: Callable[[list[bytes | memoryview], int], Dispatch],
    ) -> None:
        self.stalled = peer
        self._data = data
        self._segment_size = segment_size
        self._peer = peer
        self._segmentation = segmentation
        self._counters = counters
        self._control = control
        self._take_apart = take_apart
        self._sent = 0
        self._rest: Dispatch | None = None

    @property
    def sent(self) -> int:
        """Datagrams that the kernel took."""
        return self._sent + (self._rest.sent if self._rest else 0)

    @property
    def errors(self) -> list[DatagramError]:
        """What was refused."""
        return self._rest.errors if self._rest else []

    def step(self, fd: int) -> Outcome:
        """Make one system call, and account for what it has taken."""
        if self._rest is not None:
            return self._rest.step(fd)
        start = self._sent * self._segment_size
        size = len(self._data) - start
        if size <= 0:
            return Outcome.DONE
        messages = plan_cut(
            size,
            self._segment_size,
            self._segmentation.limit(self._peer),
            syscalls.MAX_MESSAGES,
        )
        self._counters.calls += 1
        try:
            taken = syscalls.send_datagrams(
                fd,
                memoryview(self._data)[start:] if start else self._data,
                messages.sizes,
                messages.segment_sizes,
                [self._peer],
                self._control,
            )
        except BlockingIOError:
            return Outcome.FULL
        except OSError:
            self._rest = self._take_apart(self._payloads(start), self._sent)
            return Outcome.MORE
        sent = sum(messages.counts[:taken])
        self._sent += sent
        self._counters.datagrams += sent
        self._counters.runs += taken - messages.segment_sizes[:taken].count(0)
        if self._sent * self._segment_size >= len(self._data):
            return Outcome.DONE
        return Outcome.MORE

    def _payloads(self, start: int) -> list[bytes | memoryview]:
        left = memoryview(self._data)
        step = self._segment_size
        return [left[at : at + step] for at in range(start, len(left), step)]
