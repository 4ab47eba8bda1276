"""Driving a batch of datagrams: what to wait for between its steps."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from triobatch._datagrams.batching import Batching
from triobatch._datagrams.errnos import FIRST_PAUSE, MAX_CONGESTED
from triobatch._datagrams.gso import Segmentation
from triobatch._datagrams.outcomes import Outcome, Outlet
from triobatch._resource import (
    Guard,
    closed_socket,
    pause_after,
    raise_if_closed,
)
from triobatch._wire.addresses import AF_INET, AF_INET6

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from triobatch._datagrams.kernel import AnyReadiness, AnySocket, Kernel
    from triobatch._datagrams.outcomes import AnyDispatch

# A long batch lets other tasks run after so many system calls, or bytes,
# without a wait: about 3 ms of plain datagrams, and less than 1 ms of runs.
STEPS_BETWEEN_CHECKPOINTS = 16
BYTES_BETWEEN_CHECKPOINTS = 2**20
# And one that cannot let them run ends, after twice that: on loopback no
# socket is ever full.
NOWAIT_STEPS = 2 * STEPS_BETWEEN_CHECKPOINTS
NOWAIT_BYTES = 2 * BYTES_BETWEEN_CHECKPOINTS


class Driving(Batching):
    """One socket's way out, as far as it is waited for.

    Args:
      socket: The socket.
      readiness: What is waited for.
      segments: What the kernel cuts a message into at most.
      kernel: What makes its calls.
      clock: Returns seconds.
    """

    __slots__ = ("_guard", "_readiness", "_socket", "_turn")

    def __init__(
        self,
        socket: AnySocket,
        readiness: AnyReadiness,
        segments: int,
        kernel: Kernel,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        family = int(socket.family)
        outlet = Outlet(
            Segmentation(segments, clock),
            internet=family in {AF_INET, AF_INET6},
            kernel=kernel,
            ipv4=family == AF_INET,
        )
        super().__init__(outlet, family)
        if readiness.keep_errors:
            self.outlet.refused_here = readiness.was_refused_here
        self._socket = socket
        self._readiness = readiness
        self._guard = Guard("another task is sending on this socket")
        # While a batch sender is there.
        self._turn: trio.Lock | None = None

    async def room_at(self, peer: bytes) -> None:
        """Wait until ``peer`` may have room, or the socket is closed."""
        await self._readiness.room_at(peer)

    def check_idle(self) -> None:
        """Raise ``BusyResourceError`` if a task is sending."""
        self._guard.check()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Take turns with a batch sender, for a block.

        A task that sends on the socket itself then waits for the end of the
        batch in hand, and the sender for the end of that task's call, as
        Trio lets one task wait for a socket. What does not wait needs no turn.

        Raises:
          BusyResourceError: a task is sending, or another batch sender is
            there.
        """
        if self._turn is not None:
            raise trio.BusyResourceError(
                "another batch sender is sending on this socket"
            )
        self._guard.check()
        self._turn = trio.Lock()
        try:
            yield
        finally:
            self._turn = None

    async def drive(self, dispatch: AnyDispatch) -> None:
        """Send the batch, and leave what was refused in ``refusals``."""
        try:
            with self._guard:
                if self._turn is None:
                    await self._drive(dispatch)
                else:
                    await self._drive_in_turn(dispatch, self._turn)
        except BaseException:
            # The traceback has it, and would keep the payloads exported.
            dispatch.close()
            raise

    async def drive_shared(
        self, dispatch: AnyDispatch, outcome: Outcome | None
    ) -> None:
        """As ``drive``, for the batch sender of ``shared``.

        Args:
          dispatch: The batch.
          outcome: What its first call has come to, if there was one.
        """
        assert self._turn is not None
        await self._drive_in_turn(dispatch, self._turn, outcome)

    # Ctrl-C between taking the turn and passing it on would keep it for ever;
    # in a wait it is raised all the same.
    @trio.lowlevel.enable_ki_protection
    async def _drive_in_turn(
        self,
        dispatch: AnyDispatch,
        turn: trio.Lock,
        outcome: Outcome | None = None,
    ) -> None:
        try:
            # The lock's own way costs a checkpoint more.
            turn.acquire_nowait()
        except trio.WouldBlock:
            await turn.acquire()
        try:
            await self._drive(dispatch, outcome)
        finally:
            turn.release()

    async def _drive(
        self, dispatch: AnyDispatch, outcome: Outcome | None = None
    ) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._go_on(dispatch, outcome or self._step(dispatch))
        except (OSError, trio.ClosedResourceError):
            # A loop that goes on after the error must not starve other tasks.
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise

    async def _go_on(self, dispatch: AnyDispatch, outcome: Outcome) -> None:
        """Go on from what the first call has come to."""
        yielded = False
        steps = pauses = seen = idle = moved = 0
        again = False
        while outcome is not Outcome.DONE:
            settled = dispatch.sent + len(dispatch.refusals) + dispatch.ignored
            if settled > moved:
                # Before it stopped, the call came further.
                moved, again, idle, pauses = settled, False, 0, 0
            if outcome is Outcome.FULL and not self._hold_up(dispatch):
                await self._readiness.writable(dispatch.peer, again=again)
                await pause_after(idle)
                idle += 1
                yielded = again = True
                outcome = self._step(dispatch)
                continue
            again, idle = False, 0
            if outcome is Outcome.CONGESTED:
                # Not writability: on some systems that stays set, and
                # on others it never comes back.
                await trio.sleep(FIRST_PAUSE * 2**pauses)
                yielded = True
                # Where the first in line is withdrawn again and again,
                # there are more of them than one datagram has tries.
                pauses = min(pauses + 1, MAX_CONGESTED - 1)
                outcome = self._step(dispatch)
                continue
            pauses = 0
            steps += 1
            if (
                steps == STEPS_BETWEEN_CHECKPOINTS
                or dispatch.sent_bytes - seen >= BYTES_BETWEEN_CHECKPOINTS
            ):
                steps, seen = 0, dispatch.sent_bytes
                await trio.lowlevel.checkpoint()
                yielded = True
            outcome = self._step(dispatch)
        if not yielded:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _hold_up(self, dispatch: AnyDispatch) -> bool:
        """Let only the datagrams wait whose destination has no room.

        Returns:
          Whether the others can go on.
        """
        peer = dispatch.peer
        return self._readiness.is_held_up_by(peer) and dispatch.hold(peer)

    @trio.lowlevel.enable_ki_protection
    def _send_nowait(self, dispatch: AnyDispatch) -> None:
        self._guard.check()
        self._guard.busy = True
        try:
            self._go_on_nowait(dispatch, self._step(dispatch))
        except BaseException:
            # See ``drive``.
            dispatch.close()
            raise
        finally:
            self._guard.busy = False

    def _go_on_nowait(self, dispatch: AnyDispatch, outcome: Outcome) -> None:
        for _ in range(NOWAIT_STEPS - 1):
            if (
                outcome is not Outcome.MORE
                or dispatch.sent_bytes >= NOWAIT_BYTES
            ):
                break
            outcome = self._step(dispatch)
        if outcome is not Outcome.DONE and not (
            dispatch.sent or dispatch.refusals or dispatch.ignored
        ):
            raise trio.WouldBlock

    @trio.lowlevel.enable_ki_protection
    def _step(self, dispatch: AnyDispatch) -> Outcome:
        fd = self._socket.fileno()
        if fd == -1:
            raise closed_socket()
        try:
            return dispatch.step(fd)
        except OSError as exc:
            raise_if_closed(exc)
            # The frames of the failed call hold the payload.
            raise exc.with_traceback(None)  # noqa: B904 (itself)
