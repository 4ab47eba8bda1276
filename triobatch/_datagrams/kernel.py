"""What a datagram socket stands on: six calls, a descriptor, and waiting.

``_core.calls``, a Trio socket and ``Readiness`` are one such ground, and
``triobatch.testing`` has another, in memory. Everything above is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections import deque

    from triobatch._core import calls
    from triobatch._core.arena import Arena
    from triobatch._core.tries import Tried
    from triobatch._queues.views import Chunk
    from triobatch._wire.control import Control
    from triobatch._wire.error_queue import PeerError


class Kernel(Protocol):
    """The calls, as ``_core.calls`` has them."""

    def send_past(
        self,
        fd: int,
        payloads: list[Chunk],
        sizes: list[int],
        segment_sizes: list[int],
        peers: list[bytes],
        control: Control,
        tries: bytes,
        controls: list[Control] | None,
        /,
    ) -> Tried:
        """Send messages, past those that are refused."""

    def send_segments(
        self,
        fd: int,
        data: bytes | memoryview,
        segment_size: int,
        run_size: int,
        peer: bytes,
        control: Control,
        /,
    ) -> int:
        """Send messages of one size; return how many bytes went."""

    def send_datagram(self, fd: int, data: bytes, peer: bytes, /) -> None:
        """Send one datagram."""

    def send_batch(self, fd: int, batch: calls.Batch, /) -> int:
        """Send a batch of one size; return how many went, at least one."""

    def send_runs(
        self,
        fd: int,
        runs: list[Chunk],
        segment_sizes: list[int],
        peer: bytes,
        control: Control,
        /,
    ) -> int:
        """Send messages from where they lie; return how many went."""

    def receive_datagrams(self, fd: int, arena: Arena, count: int, /) -> int:
        """Fill slots; return how many, 0 where there is nothing now."""


class AnySocket(Protocol):
    """The descriptor."""

    @property
    def family(self) -> int:
        """What its addresses are, and its metadata."""

    def fileno(self) -> int:
        """Return what the calls know it by, and -1 once it is closed."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option, or raise OSError."""


class AnyReadiness(Protocol):
    """What is waited for; see ``Readiness``.

    Attributes:
      keep_errors: Whether the reports of the error queue are wanted.
      errors: Those that were fetched, and not handed out.
    """

    keep_errors: bool
    errors: deque[PeerError]

    async def readable(self, *, again: bool) -> None:
        """Wait until receiving may bring something."""

    async def writable(self, peer: bytes, *, again: bool) -> None:
        """Wait until a datagram to ``peer`` may be taken."""

    def is_held_up_by(self, peer: bytes) -> bool:
        """Whether ``peer`` alone, of all destinations, has no room."""

    async def flooded(self) -> None:
        """Let a flood of reports pass by for a moment."""

    def was_refused_here(self) -> bool:
        """Whether it was this host that has just answered EMSGSIZE."""

    async def room_at(self, peer: bytes) -> None:
        """Wait until ``peer`` may have room, or the socket is closed."""

    async def error(self, *, again: bool) -> None:
        """Wait until there may be an entry in the error queue."""

    def drain(self) -> None:
        """Empty the error queue, into ``errors`` if they are wanted."""
