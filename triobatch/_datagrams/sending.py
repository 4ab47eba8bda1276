"""The sending half of a datagram socket: a call for each kind of batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import current_task

from triobatch._datagrams.driving import Driving
from triobatch._datagrams.errors import ignores
from triobatch._datagrams.first_call import (
    dispatch_of,
    send_first,
    send_queue,
)
from triobatch._datagrams.outcomes import (
    Outcome,
    raise_only_error,
    result_of,
)
from triobatch._resource import Claim

if TYPE_CHECKING:
    from triobatch._datagrams.dispatch import Dispatch
    from triobatch._datagrams.errors import Errors
    from triobatch._datagrams.first_call import First
    from triobatch._datagrams.outcomes import AnyDispatch, Observer
    from triobatch._queues.datagrams import Datagrams, Directed
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.metadata import Metadata


class SendHalf(Driving):
    """One socket's way out; see ``Driving``."""

    __slots__ = ()

    async def send(self, dispatch: AnyDispatch) -> int:
        """Send the batch; return how many datagrams went."""
        await self.drive(dispatch)
        return result_of(dispatch)

    async def send_one(self, dispatch: AnyDispatch) -> None:
        """Send a batch of one, whose error is raised without a group."""
        await self.drive(dispatch)
        raise_only_error(dispatch)

    def send_nowait(self, dispatch: AnyDispatch) -> int:
        """Send what goes now; return how many datagrams went.

        Raises:
          WouldBlock: nothing went, and nothing was refused.
        """
        self._send_nowait(dispatch)
        return result_of(dispatch)

    def send_one_nowait(self, dispatch: AnyDispatch) -> None:
        """Send a batch of one now; see ``send_one``, ``send_nowait``."""
        self._send_nowait(dispatch)
        raise_only_error(dispatch)

    # The guard by hand here and below, and no dispatch until one is needed: a
    # lone datagram took 56 frames, of which the checkpoints are 15.
    @trio.lowlevel.enable_ki_protection
    async def send_at_once(
        self, first: First, address: Address, peer: bytes, *, ignore: bool
    ) -> AnyDispatch | None:
        """Send a datagram or a batch that the first call mostly takes whole.

        Returns:
          None if it did; otherwise what it has come to in the end.
        """
        if self._turn is not None:
            dispatch: AnyDispatch = dispatch_of(
                self.outlet, first, address, peer, ignore=ignore
            )
            await self.drive(dispatch)
            return dispatch
        guard = self._guard
        if guard.busy:
            guard.check()
        guard.task = current_task()
        guard.busy = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            rest = send_first(
                self.outlet, self._socket, first, address, peer, ignore=ignore
            )
            if rest is None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return None
            dispatch, outcome = rest
            await self._go_on(dispatch, outcome)
        except (OSError, trio.ClosedResourceError):
            # As in ``_drive``.
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        finally:
            guard.busy = False
            guard.task = None
        return dispatch

    @trio.lowlevel.enable_ki_protection
    def send_at_once_nowait(
        self, first: First, address: Address, peer: bytes, *, ignore: bool
    ) -> AnyDispatch | None:
        """Send now what goes; see ``send_at_once`` and ``send_nowait``."""
        guard = self._guard
        if guard.busy:
            guard.check()
        guard.busy = True
        try:
            rest = send_first(
                self.outlet, self._socket, first, address, peer, ignore=ignore
            )
            if rest is None:
                return None
            dispatch, outcome = rest
            self._go_on_nowait(dispatch, outcome)
        finally:
            guard.busy = False
        return dispatch

    @trio.lowlevel.enable_ki_protection
    async def send_queue(
        self, queue: Datagrams, metadata: Metadata | None, errors: Errors
    ) -> int:
        """Send a queue, and consume it; return how many datagrams went."""
        if self._turn is not None:
            with Claim(queue):
                return await self.send(self.queued(queue, metadata, errors))
        first, peer = None, b""
        payloads, addresses = queue._columns()
        if metadata is None:
            first, peer = self.pack_queue(payloads, addresses)
        ignore = errors != "raise" and ignores(errors)
        dispatch = None
        if first is None:
            dispatch = self.dispatch(
                payloads, addresses, metadata, ignore=ignore
            )
        guard, count = self._guard, len(payloads)
        guard.take(queue)
        guard.task = current_task()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if dispatch is not None:
                outcome = self._step(dispatch)
            else:
                assert first is not None
                rest = send_queue(
                    self.outlet,
                    self._socket,
                    first,
                    peer,
                    payloads,
                    addresses,
                    range(count),
                    ignore=ignore,
                )
                if rest is None:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    return count
                dispatch, outcome = rest
            await self._go_on(dispatch, outcome)
        except BaseException as error:
            if dispatch is not None:
                # As in ``drive``: what was refused is put in order.
                dispatch.close()
            if isinstance(error, OSError | trio.ClosedResourceError):
                # As in ``_drive``.
                await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        finally:
            guard.let_go(queue)
            guard.task = None
        return result_of(dispatch)

    @trio.lowlevel.enable_ki_protection
    def send_queue_nowait(
        self, queue: Datagrams, metadata: Metadata | None, errors: Errors
    ) -> int:
        """Send now what goes of a queue; see ``send_queue``."""
        first, peer = None, b""
        payloads, addresses = queue._columns()
        if metadata is None:
            first, peer = self.pack_queue(payloads, addresses)
        ignore = errors != "raise" and ignores(errors)
        dispatch = None
        if first is None:
            dispatch = self.dispatch(
                payloads, addresses, metadata, ignore=ignore
            )
        guard, count = self._guard, len(payloads)
        guard.take(queue)
        try:
            if dispatch is not None:
                outcome = self._step(dispatch)
            else:
                assert first is not None
                rest = send_queue(
                    self.outlet,
                    self._socket,
                    first,
                    peer,
                    payloads,
                    addresses,
                    range(count),
                    ignore=ignore,
                )
                if rest is None:
                    return count
                dispatch, outcome = rest
            self._go_on_nowait(dispatch, outcome)
        except BaseException:
            if dispatch is not None:
                # As in ``send_queue``.
                dispatch.close()
            raise
        finally:
            guard.let_go(queue)
        return result_of(dispatch)

    def begin_shared(
        self,
        payloads: list[Chunk],
        addresses: list[Address | Directed],
        metadata: Metadata | None,
        tags: list[int],
        observer: Observer,
    ) -> tuple[Dispatch, Outcome | None] | None:
        """Begin a batch of the batch sender of ``shared``; see ``dispatch``.

        Call it with Ctrl-C held off. Where nobody has the turn, it makes the
        first call, which mostly is the only one: a lock and a cancel scope
        were a fifth of a batch of four.

        Returns:
          None, if each has an outcome. Otherwise what to drive, and what its
          first call has come to, None if there was none.
        """
        assert self._turn is not None
        is_free = not self._turn.locked()
        if is_free and metadata is None:
            first, peer = self.pack_queue(payloads, addresses)
            if first is not None:
                return send_queue(
                    self.outlet,
                    self._socket,
                    first,
                    peer,
                    payloads,
                    addresses,
                    tags,
                    ignore=False,
                    observer=observer,
                )
        rest = self.dispatch(
            payloads, addresses, metadata, observer=observer, tags=tags
        )
        outcome = self._step(rest) if is_free else None
        return None if outcome is Outcome.DONE else (rest, outcome)
