"""How a public call is done with so many items: what ``*_ways`` consist of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio._core import _run as trio_run

from guards.operations import nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Bytes of a chunk, and of a message on a stream.
CHUNK = 64


@dataclass(frozen=True)
class Way:
    """A call, and what makes each time like the other.

    ``after_ours`` may return what is to be awaited.
    """

    ours: Callable[[], Awaitable[Any]]
    before_ours: Callable[[], object] = nothing
    after_ours: Callable[[], Awaitable[object] | None] = nothing

    def prepare(self) -> None:
        """Do what is to be done before each time."""
        # Which of several tasks is next is Trio's choice, and one order may
        # cost more than another. Its plugin for hypothesis settles it so.
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
        trio_run._r.seed(0)
        self.before_ours()

    async def clean_up(self) -> None:
        """Do what is to be done after each time."""
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = False
        trio_run._r.seed()
        left = self.after_ours()
        if left is not None:
            await left


def at_once(call: Callable[[], object]) -> Callable[[], Awaitable[Any]]:
    """Return a call that never waits as one that is awaited."""

    async def ours() -> object:
        return call()

    return ours


def repeated(
    count: int, call: Callable[[], Awaitable[object]]
) -> Callable[[], Awaitable[Any]]:
    """Return a call that is done for each of ``count`` items."""

    async def ours() -> None:
        for _ in range(count):
            await call()

    return ours
