"""The sending half of a datagram socket: what to wait for between steps."""

import time
from collections.abc import Callable
from typing import TypeAlias

import trio

from triobatch._datagrams.dispatch import Dispatch, Observer, Outcome
from triobatch._datagrams.equal_dispatch import SegmentDispatch
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.outlet import Outlet
from triobatch._datagrams.readiness import Readiness
from triobatch._datagrams.segmentation import Segmentation
from triobatch._resource import Guard, pause_after, raise_if_closed
from triobatch._wire.addresses import AF_INET, AF_INET6, Address, SockaddrCache
from triobatch._wire.metadata import ControlMessage, Metadata, encode_metadata

AnyDispatch: TypeAlias = Dispatch | SegmentDispatch

# A long batch lets other tasks run after so many system calls, or bytes,
# without a wait: about 3 ms of plain datagrams, and less than 1 ms of runs.
STEPS_BETWEEN_CHECKPOINTS = 16
BYTES_BETWEEN_CHECKPOINTS = 2**20
# And one that cannot let them run ends, after twice that: on loopback no
# socket is ever full.
NOWAIT_STEPS = 2 * STEPS_BETWEEN_CHECKPOINTS
NOWAIT_BYTES = 2 * BYTES_BETWEEN_CHECKPOINTS
# The first wait for a congested interface, in seconds; each one is twice the
# last, so five of them take 31 ms.
FIRST_PAUSE = 0.001


class Sending:
    """One socket's way out.

    Args:
      readiness: What is waited for.
      family: The socket's.
      segments: What the kernel cuts a message into at most.
    """

    def __init__(
        self, readiness: Readiness, family: int, segments: int
    ) -> None:
        self.outlet = Outlet(
            Segmentation(segments, time.monotonic),
            internet=family in {AF_INET, AF_INET6},
        )
        self._readiness = readiness
        self._family = family
        self._guard = Guard("another task is sending on this socket")
        self._sockaddrs = SockaddrCache()

    def peer_of(self, address: Address) -> bytes:
        """Return the sockaddr for an address.

        Raises:
          TypeError, ValueError: it is none for this socket.
        """
        return self._sockaddrs[address]

    async def room_at(self, peer: bytes) -> None:
        """Wait until ``peer`` may have room, or the socket is closed."""
        await self._readiness.room_at(peer)

    def dispatch(
        self,
        payloads: list[bytes | memoryview],
        addresses: list[Address],
        metadata: Metadata | None,
        on_sent: Callable[[], object] | None = None,
        observer: Observer | None = None,
    ) -> Dispatch:
        """Return a batch that is ready to go.

        Sent datagrams are deleted from both lists. With an observer, no
        destination that has no room holds up the others.

        Raises:
          TypeError: an address is no address.
          ValueError: an address or the metadata is impossible.
        """
        return Dispatch(
            self.outlet,
            payloads,
            addresses,
            list(map(self._sockaddrs.__getitem__, addresses)),
            self._control(metadata),
            on_sent=on_sent,
            observer=observer,
        )

    def segments(
        self,
        data: bytes | memoryview,
        segment_size: int,
        address: Address,
        metadata: Metadata | None,
        done: Callable[[], None] | None = None,
    ) -> SegmentDispatch:
        """Return a batch of one size to one address; see ``dispatch``.

        ``done`` is called when ``data`` is no longer needed.
        """
        return SegmentDispatch(
            self.outlet,
            data,
            segment_size,
            address,
            self._sockaddrs[address],
            self._control(metadata),
            done,
        )

    def _control(
        self, metadata: Metadata | None
    ) -> tuple[ControlMessage, ...]:
        return encode_metadata(metadata, self._family) if metadata else ()

    async def send(self, dispatch: AnyDispatch) -> int:
        """Send the batch; return how many datagrams went."""
        await self.drive(dispatch)
        return _result(dispatch)

    async def send_one(self, dispatch: AnyDispatch) -> None:
        """Send a batch of one, whose error is raised without a group."""
        await self.drive(dispatch)
        _raise_only_error(dispatch)

    async def drive(self, dispatch: AnyDispatch) -> None:
        """Send the batch, and leave what was refused in ``errors``."""
        with self._guard:
            await trio.lowlevel.checkpoint_if_cancelled()
            yielded = False
            steps = pauses = seen = idle = 0
            again = False
            while (outcome := self._step(dispatch)) is not Outcome.DONE:
                if outcome is Outcome.FULL and not self._goes_on(dispatch):
                    await self._readiness.writable(
                        dispatch.stalled, again=again
                    )
                    await pause_after(idle)
                    idle += 1
                    yielded = again = True
                    continue
                again = False
                idle = 0
                if outcome is Outcome.CONGESTED:
                    # Not writability: on some systems that stays set, and
                    # on others it never comes back.
                    await trio.sleep(FIRST_PAUSE * 2**pauses)
                    yielded = True
                    pauses += 1
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
            if not yielded:
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _goes_on(self, dispatch: AnyDispatch) -> bool:
        """Let only the datagrams wait whose destination has no room."""
        if (
            isinstance(dispatch, SegmentDispatch)
            or dispatch.observer is None
            or not self._readiness.is_held_up_by(dispatch.stalled)
        ):
            return False
        dispatch.hold(dispatch.stalled)
        return True

    def send_nowait(self, dispatch: AnyDispatch) -> int:
        """Send what goes now; return how many datagrams went.

        Raises:
          WouldBlock: nothing went, and nothing was refused.
        """
        self._send_nowait(dispatch)
        return _result(dispatch)

    def send_one_nowait(self, dispatch: AnyDispatch) -> None:
        """Send a batch of one now; see ``send_one``, ``send_nowait``."""
        self._send_nowait(dispatch)
        _raise_only_error(dispatch)

    def _send_nowait(self, dispatch: AnyDispatch) -> None:
        with self._guard:
            for _ in range(NOWAIT_STEPS):
                outcome = self._step(dispatch)
                if (
                    outcome is not Outcome.MORE
                    or dispatch.sent_bytes >= NOWAIT_BYTES
                ):
                    break
        if outcome is not Outcome.DONE and not (
            dispatch.sent or dispatch.errors
        ):
            raise trio.WouldBlock

    @trio.lowlevel.enable_ki_protection
    def _step(self, dispatch: AnyDispatch) -> Outcome:
        fd = self._readiness.fileno()
        try:
            return dispatch.step(fd)
        except OSError as exc:
            raise_if_closed(exc)
            raise


def _result(dispatch: AnyDispatch) -> int:
    sent = dispatch.sent
    if not dispatch.errors:
        return sent
    # The exception's traceback has this frame, so nothing here may lead back
    # to the exception: a cycle would keep the payloads exported.
    errors, left = dispatch.close()
    raise DatagramErrorGroup(errors, sent, left)


def _raise_only_error(dispatch: AnyDispatch) -> None:
    if dispatch.errors:
        errors, _ = dispatch.close()
        raise errors.pop()
