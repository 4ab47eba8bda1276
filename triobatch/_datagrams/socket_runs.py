"""What a datagram socket offers to a task that passes trains on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from triobatch._datagrams.errors import Errors, ignores
from triobatch._datagrams.receiving import ReceiveHalf
from triobatch._datagrams.run import Run
from triobatch._datagrams.run_dispatch import RunDispatch
from triobatch._datagrams.run_scope import DEFAULT_SIZE, NowaitScope, RunScope
from triobatch._datagrams.sending import SendHalf
from triobatch._queues.views import list_of
from triobatch._wire.addresses import Address
from triobatch._wire.arguments import as_integer
from triobatch._wire.metadata import Metadata


class DatagramRuns:
    """The methods of ``DatagramSocket`` for runs.

    Args:
      send: The half that sends.
      receive: The half that receives.
    """

    def __init__(self, send: SendHalf, receive: ReceiveHalf) -> None:
        self._send = send
        self._receive = receive

    def receive_runs(
        self, max_bytes: int = DEFAULT_SIZE
    ) -> AbstractAsyncContextManager[list[Run]]:
        """Receive what is there where it lies, for an ``async with`` block.

        ::

            async with sock.receive_runs() as runs:
                await upstream.send_runs(runs)

        Args:
          max_bytes: How many at most, at least 1; but there is always one
            run, of up to 64 KiB. What the kernel hands over beyond that is
            kept for the next call.

        Returns:
          A context manager of a list of ``Run``, at least one, in the order
          in which they came: as the kernel has put them together, and
          elsewhere than on Linux, and on a Unix socket, of one datagram each.
          Entering waits if nothing is there. Leaving does not, and ends the
          views; to use them after that is a ValueError.

        Raises:
          TruncatedDatagramError, OSError, ClosedResourceError: on entering;
            see ``receive_batch``.
          ValueError: ``max_bytes`` is not positive.
          BusyResourceError: another task is receiving, or a block has the
            runs of this socket: nobody receives on it before that ends.

        Nothing is lost if entering is cancelled. A block that is left by an
        exception, or cancelled, loses the runs that it has, and nothing else.
        The socket may be closed within; the views end with the block all the
        same. A slice that a program makes of a view keeps its bytes for as
        long as it lives; that costs the socket new receive memory, so copy
        what is to be kept (``bytes(run.data)``). See udp(7), UDP_GRO.
        """
        return RunScope(self._receive, _checked(max_bytes))

    def receive_runs_nowait(
        self, max_bytes: int = DEFAULT_SIZE
    ) -> AbstractContextManager[list[Run]]:
        """Receive what is there for a ``with`` block, or raise ``WouldBlock``.

        See ``receive_runs``.
        """
        return NowaitScope(self._receive, _checked(max_bytes))

    async def send_runs(
        self,
        runs: Iterable[Run],
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send runs on to one address, without a copy; see ``send_batch``.

        Args:
          runs: As ``receive_runs`` gives them, of any sockets, or made by
            hand.
          address: Where to; ``None`` is the connected peer. Who the runs came
            from does not matter.
          metadata: What the IP header of each datagram shall say.
          errors: What becomes of refused datagrams; see ``send_batch``.

        Returns:
          How many datagrams were sent: all of them, but for the ignored.

        Raises:
          ValueError: the scope of a run has ended. Nothing was sent.
          TypeError, ValueError: an argument is impossible. Nothing was done.
          DatagramErrorGroup: some datagrams were refused; all others were
            sent. The index counts the datagrams of all runs.
          OSError: the socket has failed.
          BusyResourceError: another task is sending.
          ClosedResourceError: the socket is closed.

        The kernel takes each run as it has put it together, up to 64 with one
        system call; one that it refuses is sent again, datagram by datagram.
        If it is cancelled, some may have been sent, from the first on. See
        sendmmsg(2), udp(7), UDP_SEGMENT.
        """
        dispatch = self._dispatch(runs, address, metadata, errors)
        try:
            return await self._send.send(dispatch)
        finally:
            dispatch.release()

    def send_runs_nowait(
        self,
        runs: Iterable[Run],
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send what goes now, from the first on; see ``send_runs``.

        Returns:
          How many datagrams were sent; see ``send_batch_nowait``.

        Raises:
          WouldBlock: none can be sent now.
        """
        dispatch = self._dispatch(runs, address, metadata, errors)
        try:
            return self._send.send_nowait(dispatch)
        finally:
            dispatch.release()

    def _dispatch(
        self,
        runs: Iterable[Run],
        address: Address,
        metadata: Metadata | None,
        errors: Errors,
    ) -> RunDispatch:
        ignore = ignores(errors)
        listed = list_of(runs, "runs", "Run objects")
        exported: list[tuple[memoryview, int]] = []
        try:
            for run in listed:
                if not isinstance(run, Run):
                    raise TypeError(
                        f"run {len(exported)} must be a Run, "
                        f"not {type(run).__name__}"
                    )
                try:
                    exported.append(run.export())
                except ValueError as error:
                    raise ValueError(f"run {len(exported)}: {error}") from None
            return self._send.dispatch_runs(
                exported, address, metadata, ignore=ignore
            )
        except BaseException:
            for view, _ in exported:
                view.release()
            raise


def _checked(size: int) -> int:
    size = as_integer(size, "max_bytes")
    if size < 1:
        raise ValueError(f"max_bytes must be at least 1, not {size}")
    # More than there is memory for is all that there are.
    return min(size, sys.maxsize)
