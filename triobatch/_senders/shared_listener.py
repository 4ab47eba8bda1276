"""Listeners that accept connections as shared streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._queues.views import list_of
from triobatch._resource import async_scope, only_async
from triobatch._senders.open import (
    DEFAULT_GRACE,
    DEFAULT_MAX_BUFFERED,
    check_room,
)
from triobatch._senders.shared_stream import SharedStream, open_shared_stream
from triobatch._wire.described import described


@only_async
class SharedListener(trio.abc.Listener[SharedStream]):
    """A listener that accepts shared streams; see ``open_shared_listeners``.

    ``isinstance(listener, trio.SocketListener)`` is true of it, as servers
    ask that to find the port.

    Attributes:
      listener: The listener that it accepts from.
    """

    def __init__(
        self,
        listener: trio.abc.Listener[trio.abc.Stream],
        nursery: trio.Nursery,
        max_buffered: int,
        grace: float,
    ) -> None:
        self.listener = listener
        self._nursery = nursery
        self._max_buffered = max_buffered
        self._grace = grace

    @described
    def __repr__(self) -> str:
        return f"on {self.listener!r}"

    @property
    def socket(self) -> Any:
        """The listener's socket, or that of the one below TLS."""
        listener = self.listener
        if isinstance(listener, trio.SSLListener):
            listener = listener.transport_listener
        return cast("Any", listener).socket

    # Or Ctrl-C could come between a connection and its task.
    @enable_ki_protection
    async def accept(self) -> SharedStream:
        """Accept a connection, shared; see the listener's own ``accept``."""
        stream = await self.listener.accept()
        try:
            # A call that is cancelled has taken none. What is behind it waits
            # for nobody but the scheduler.
            with trio.CancelScope(shield=True):
                shared: SharedStream = await self._nursery.start(
                    self._share, stream
                )
        except BaseException:
            await _close(stream)
            raise
        return shared

    async def aclose(self) -> None:
        """Close the listener; the streams go on."""
        await self.listener.aclose()

    async def _share(
        self,
        stream: trio.abc.Stream,
        task_status: trio.TaskStatus[SharedStream],
    ) -> None:
        try:
            # Its sender tells what was not sent, when the peer has gone.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with open_shared_stream(
                    stream, max_buffered=self._max_buffered, grace=self._grace
                ) as shared:
                    task_status.started(shared)
                    await shared.wait_closed()
        finally:
            await _close(stream)


# Or Ctrl-C would leave open what comes behind the one that it came in. The
# block itself can be interrupted.
@async_scope
@enable_ki_protection
async def open_shared_listeners(
    listeners: Iterable[trio.abc.Listener[Any]],
    *,
    max_buffered: int = DEFAULT_MAX_BUFFERED,
    grace: float = DEFAULT_GRACE,
) -> AsyncIterator[list[SharedListener]]:
    """Give a server that takes listeners streams that it shares.

    The sending tasks of the streams run in a nursery of the block's own, each
    until its stream is closed. ::

        listeners = await triobatch.open_tcp_listeners(443)
        tls = [trio.SSLListener(one, context) for one in listeners]
        async with triobatch.open_shared_listeners(tls) as shared:
            await trio.serve_listeners(handler, shared)

    Args:
      listeners: ``BatchSocketListener``, ``trio.SSLListener``, or any other
        listener of streams. The shared ones take ownership of them.
      max_buffered: Bytes; see ``open_shared_stream``.
      grace: Seconds; see ``open_shared_stream``.

    Returns:
      A context manager, for a list with a ``SharedListener`` for each.

    When the block is left, the listeners are closed, and the streams that are
    still open, after the grace time for a message that is part-way out.
    """
    max_buffered, grace = check_room(max_buffered, grace)
    listeners = list_of(listeners, "listeners", "Trio's listeners")
    for listener in listeners:
        _check_listener(listener)
    shared: list[SharedListener] = []
    left_by: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            shared += [
                SharedListener(listener, nursery, max_buffered, grace)
                for listener in listeners
            ]
            yield shared.copy()
        except BaseException as error:
            left_by = error
            if nursery.cancel_scope.cancel_called:
                # A stream's task crashed: the nursery groups the two errors.
                raise
        finally:
            nursery.cancel_scope.cancel()
            async with AsyncExitStack() as closing:
                for one in shared:
                    closing.push_async_callback(_close, one)
    if left_by is not None:
        # Out here, so that the nursery does not wrap it in a group.
        try:
            raise left_by
        finally:
            # Its traceback holds this frame, which must not hold it.
            del left_by


@enable_ki_protection
async def _close(resource: trio.abc.AsyncResource) -> None:
    # Or a cancellation would replace what it is closed for, and leave those
    # open that come behind it.
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(resource)


def _check_listener(listener: object) -> None:
    if not isinstance(listener, trio.abc.Listener):
        raise TypeError(
            f"listeners must be of Trio's, not {type(listener).__name__}"
        )


# As for BatchSocketListener.
trio.SocketListener.register(SharedListener)
