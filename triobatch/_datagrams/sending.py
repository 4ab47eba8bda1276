"""The sending half of a datagram socket: what to wait for between steps."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from triobatch._datagrams.dispatch import Dispatch
from triobatch._datagrams.equal_dispatch import EqualDispatch
from triobatch._datagrams.errnos import FIRST_PAUSE, MAX_CONGESTED
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.gso import Segmentation
from triobatch._datagrams.mixed_dispatch import MixedDispatch
from triobatch._datagrams.outcomes import Outcome, Outlet
from triobatch._datagrams.run_dispatch import RunDispatch
from triobatch._queues.datagrams import Directed, check_metadata, undirected
from triobatch._resource import Guard, open_fd, pause_after, raise_if_closed
from triobatch._wire.addresses import (
    AF_INET,
    AF_INET6,
    SockaddrCache,
    encode_address,
)
from triobatch._wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from triobatch._datagrams.kernel import AnyReadiness, AnySocket, Kernel
    from triobatch._datagrams.outcomes import AnyDispatch, Observer
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control
    from triobatch._wire.metadata import Metadata

# A long batch lets other tasks run after so many system calls, or bytes,
# without a wait: about 3 ms of plain datagrams, and less than 1 ms of runs.
STEPS_BETWEEN_CHECKPOINTS = 16
BYTES_BETWEEN_CHECKPOINTS = 2**20
# And one that cannot let them run ends, after twice that: on loopback no
# socket is ever full.
NOWAIT_STEPS = 2 * STEPS_BETWEEN_CHECKPOINTS
NOWAIT_BYTES = 2 * BYTES_BETWEEN_CHECKPOINTS


# How many metadata are remembered with what asks for them: as many as there
# are addresses and traffic classes to answer with.
MAX_CONTROLS = 1024


class SendHalf:
    """One socket's way out.

    Args:
      socket: The socket.
      readiness: What is waited for.
      segments: What the kernel cuts a message into at most.
      kernel: What makes its calls.

    Attributes:
      outlet: What its batches share.
    """

    def __init__(
        self,
        socket: AnySocket,
        readiness: AnyReadiness,
        segments: int,
        kernel: Kernel,
    ) -> None:
        self._family = int(socket.family)
        self.outlet = Outlet(
            Segmentation(segments, time.monotonic),
            internet=self._family in {AF_INET, AF_INET6},
            kernel=kernel,
            ipv4=self._family == AF_INET,
        )
        if readiness.keep_errors:
            self.outlet.refused_here = readiness.was_refused_here
        self._socket = socket
        self._readiness = readiness
        self._guard = Guard("another task is sending on this socket")
        # While a batch sender is there.
        self._turn: trio.Lock | None = None
        self._sockaddrs = SockaddrCache()
        # They are kept, so that no other object has that identity.
        self._controls: dict[int, tuple[Metadata, Control]] = {}

    def peer_of(self, address: Address) -> bytes:
        """Return the sockaddr for an address.

        Raises:
          TypeError, ValueError: it is none for this socket.
        """
        try:
            return self._sockaddrs[address]
        except TypeError:
            # A list cannot be looked up, and is told why it is no address.
            return encode_address(address)

    def check_all(self, addresses: list[Address | Directed]) -> None:
        """Raise TypeError or ValueError if one is none for this socket."""
        self._columns_of(addresses, ())

    def _columns_of(
        self, addresses: list[Address | Directed], control: Control
    ) -> tuple[list[bytes], list[Control]]:
        """Return the sockaddr of each, and what goes with each.

        Args:
          addresses: With metadata or not.
          control: What goes with those that have none.
        """
        peers, controls = [], []
        for index, address in enumerate(addresses):
            own = control
            try:
                peers.append(self.peer_of(undirected(address)))
                if isinstance(address, Directed):
                    own = self.control_of(address.metadata)
            except (TypeError, ValueError) as error:
                raise type(error)(f"datagram {index}: {error}") from None
            controls.append(own)
        return peers, controls

    async def room_at(self, peer: bytes) -> None:
        """Wait until ``peer`` may have room, or the socket is closed."""
        await self._readiness.room_at(peer)

    def dispatch(
        self,
        payloads: list[Chunk],
        addresses: list[Address | Directed],
        metadata: Metadata | None,
        on_sent: Callable[[], object] | None = None,
        observer: Observer | None = None,
        tags: Iterable[int] | None = None,
        *,
        ignore: bool = False,
    ) -> Dispatch:
        """Return a batch that is ready to go.

        Sent datagrams are deleted from both lists. With an observer, no
        destination that has no room holds up the others. With ``ignore``
        refused datagrams are counted and dropped. Metadata of a datagram's
        own stand in place of ``metadata``.

        Raises:
          TypeError: an address is no address.
          ValueError: an address or metadata are impossible.
        """
        make: Callable[..., Dispatch] = Dispatch
        control = self.control_of(metadata)
        try:
            peers = list(map(self._sockaddrs.__getitem__, addresses))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            # One has metadata, or is no address, or cannot be looked up.
            peers, controls = self._columns_of(addresses, control)
            make = partial(MixedDispatch, controls=controls)
        return make(
            self.outlet,
            payloads,
            addresses,
            peers,
            control,
            on_sent=on_sent,
            observer=observer,
            tags=tags,
            ignore=ignore,
        )

    def dispatch_equal(
        self,
        data: Chunk,
        segment_size: int,
        address: Address,
        metadata: Metadata | None,
        give_back: Callable[[], None] | None = None,
        *,
        ignore: bool = False,
    ) -> EqualDispatch:
        """Return a batch of one size to one address; see ``dispatch``.

        ``give_back`` is called when ``data`` is no longer needed.
        """
        return EqualDispatch(
            self.outlet,
            data,
            segment_size,
            address,
            self.peer_of(address),
            self.control_of(metadata),
            give_back,
            ignore=ignore,
        )

    def dispatch_runs(
        self,
        runs: Sequence[tuple[Chunk, int]],
        address: Address,
        metadata: Metadata | None,
        *,
        ignore: bool,
    ) -> RunDispatch:
        """Return a batch of runs to one address; see ``dispatch``."""
        return RunDispatch(
            self.outlet,
            runs,
            address,
            self.peer_of(address),
            self.control_of(metadata),
            ignore=ignore,
        )

    def control_of(self, metadata: Metadata | None) -> Control:
        """Return the control messages that ask for ``metadata``.

        Raises:
          TypeError: they are no ``Metadata``.
          ValueError: they are impossible.
        """
        if metadata is None:
            return ()
        check_metadata(metadata)
        # By identity: hashing them costs as much as what is spared.
        known = self._controls.get(id(metadata))
        if known is not None:
            return known[1]
        control = encode_metadata(metadata, self._family)
        if len(self._controls) == MAX_CONTROLS:
            self._controls.clear()
        self._controls[id(metadata)] = metadata, control
        return control

    def check_idle(self) -> None:
        """Raise ``BusyResourceError`` if a task is sending."""
        self._guard.check()

    async def send(self, dispatch: AnyDispatch) -> int:
        """Send the batch; return how many datagrams went."""
        await self.drive(dispatch)
        return _result(dispatch)

    async def send_one(self, dispatch: AnyDispatch) -> None:
        """Send a batch of one, whose error is raised without a group."""
        await self.drive(dispatch)
        _raise_only_error(dispatch)

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

    async def drive_shared(self, dispatch: AnyDispatch) -> None:
        """As ``drive``, for the batch sender of ``shared``."""
        assert self._turn is not None
        await self._drive_in_turn(dispatch, self._turn)

    # Ctrl-C between taking the turn and passing it on would keep it for ever;
    # in a wait it is raised all the same.
    @trio.lowlevel.enable_ki_protection
    async def _drive_in_turn(
        self, dispatch: AnyDispatch, turn: trio.Lock
    ) -> None:
        try:
            # The lock's own way costs a checkpoint more.
            turn.acquire_nowait()
        except trio.WouldBlock:
            await turn.acquire()
        try:
            await self._drive(dispatch)
        finally:
            turn.release()

    async def _drive(self, dispatch: AnyDispatch) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        yielded = False
        steps = pauses = seen = idle = 0
        again = False
        while (outcome := self._step(dispatch)) is not Outcome.DONE:
            if outcome is Outcome.FULL and not self._hold_up(dispatch):
                await self._readiness.writable(dispatch.peer, again=again)
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
                # Where the first in line is withdrawn again and again,
                # there are more of them than one datagram has tries.
                pauses = min(pauses + 1, MAX_CONGESTED - 1)
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

    def _hold_up(self, dispatch: AnyDispatch) -> bool:
        """Let only the datagrams wait whose destination has no room.

        Returns:
          Whether the others can go on.
        """
        peer = dispatch.peer
        return self._readiness.is_held_up_by(peer) and dispatch.hold(peer)

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

    # The guard by hand: five of the 31 frames that a lone datagram took.
    @trio.lowlevel.enable_ki_protection
    def _send_nowait(self, dispatch: AnyDispatch) -> None:
        self._guard.check()
        self._guard.busy = True
        try:
            for _ in range(NOWAIT_STEPS):
                outcome = self._step(dispatch)
                if (
                    outcome is not Outcome.MORE
                    or dispatch.sent_bytes >= NOWAIT_BYTES
                ):
                    break
        finally:
            self._guard.busy = False
        if outcome is not Outcome.DONE and not (
            dispatch.sent or dispatch.refusals or dispatch.ignored
        ):
            raise trio.WouldBlock

    @trio.lowlevel.enable_ki_protection
    def _step(self, dispatch: AnyDispatch) -> Outcome:
        fd = open_fd(self._socket)
        try:
            return dispatch.step(fd)
        except OSError as exc:
            raise_if_closed(exc)
            raise


def _result(dispatch: AnyDispatch) -> int:
    sent = dispatch.sent
    if not dispatch.refusals:
        return sent
    # The exception's traceback has this frame, so nothing here may lead back
    # to the exception: a cycle would keep the payloads exported.
    errors, left = dispatch.close()
    raise DatagramErrorGroup(errors, sent, left)


def _raise_only_error(dispatch: AnyDispatch) -> None:
    if dispatch.refusals:
        errors, _ = dispatch.close()
        raise errors.pop().as_lone()
