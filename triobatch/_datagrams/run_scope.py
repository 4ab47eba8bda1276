"""The scope in which received runs are valid; see ``run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import enable_ki_protection

from triobatch._datagrams.run import release
from triobatch._resource import only_async

if TYPE_CHECKING:
    from triobatch._datagrams.receiving import ReceiveHalf
    from triobatch._datagrams.run import Run

# Of a stream on loopback, half costs 1.2x, and twice as much a sixth less, but
# keeps other tasks waiting for 1.5 ms (measured).
DEFAULT_SIZE = 2**21


class _Scope:
    """Keeps everybody from receiving while runs are lent.

    Args:
      receive: The half of the socket.
      max_bytes: What is taken at most, of all runs but the first.
    """

    __slots__ = ("_lent", "_max_bytes", "_receive", "_runs")

    def __init__(self, receive: ReceiveHalf, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._lent: list[memoryview] = []
        self._runs: list[Run] = []

    def _wanted(self) -> int:
        """Return about how many datagrams there are in so many bytes.

        In whole runs: a last one that does not fit would be kept, and then be
        all that the next scope has.
        """
        inbox = self._receive.inbox
        runs = self._max_bytes // (inbox.run_size or 1)
        return (runs or 1) * inbox.run_count

    def _take(self, limit: int) -> list[Run]:  # noqa: ARG002 (a hint)
        return self._receive.inbox.take_runs(self._max_bytes, self._lent)

    def _lend(self, runs: list[Run]) -> list[Run]:
        self._receive.hold()
        # What the program does to its list is its own affair.
        self._runs = runs.copy()
        return runs

    @enable_ki_protection
    def _end(self) -> None:
        release(self._runs, self._lent)
        self._runs = []
        self._receive.let_go()


@only_async
class RunScope(_Scope):
    """What ``receive_runs`` returns."""

    __slots__ = ()

    # Ctrl-C between taking and lending would lose what was taken; in a wait
    # it is raised all the same.
    @enable_ki_protection
    async def __aenter__(self) -> list[Run]:
        return self._lend(
            await self._receive.receive(self._wanted(), self._take)
        )

    async def __aexit__(self, *exc_info: object) -> None:
        self._end()


class NowaitScope(_Scope):
    """What ``receive_runs_nowait`` returns."""

    __slots__ = ()

    @enable_ki_protection
    def __enter__(self) -> list[Run]:
        return self._lend(
            self._receive.receive_nowait(self._wanted(), self._take)
        )

    def __exit__(self, *exc_info: object) -> None:
        self._end()
