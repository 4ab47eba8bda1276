"""The first call of a batch of one size, which mostly is the only one.

Where it takes all, nothing is kept of the batch but its counts. Otherwise an
``EqualDispatch`` goes on with the answer, so that nothing is tried twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from triobatch._datagrams.equal_dispatch import EqualDispatch
from triobatch._resource import closed_socket, raise_if_closed

if TYPE_CHECKING:
    from triobatch._core import calls
    from triobatch._datagrams.kernel import AnySocket
    from triobatch._datagrams.outcomes import Outcome, Outlet
    from triobatch._wire.addresses import Address

    # A lone payload, not empty, or many.
    First: TypeAlias = bytes | calls.Batch


def send_first(
    outlet: Outlet,
    socket: AnySocket,
    first: First,
    address: Address,
    peer: bytes,
    *,
    ignore: bool,
) -> tuple[EqualDispatch, Outcome] | None:
    """Make one call for a datagram or a batch.

    Args:
      outlet: The socket's.
      socket: What it goes out of.
      first: The payloads; a batch that went is given back.
      address: Where they go.
      peer: Its sockaddr.
      ignore: Whether refused datagrams are dropped, and are no errors.

    Returns:
      None if all of it went; otherwise what goes on, and from what outcome.

    Raises:
      ClosedResourceError: the socket is closed.
      OSError: the socket has failed.
    """
    fd = socket.fileno()
    if fd == -1:
        raise closed_socket()
    counters = outlet.counters
    counters.calls += 1
    try:
        if isinstance(first, bytes):
            outlet.kernel.send_datagram(fd, first, peer)
            counters.datagrams += 1
            return None
        taken = outlet.kernel.send_batch(fd, first)
    except OSError as error:
        raise_if_closed(error)
        if outlet.is_fatal(error.errno or 0):
            raise
        dispatch = dispatch_of(outlet, first, address, peer, ignore=ignore)
        run_size = len(first) if isinstance(first, bytes) else first.run_size
        return dispatch, dispatch.judge(error.errno or 0, run_size)
    if taken == first.count:
        counters.datagrams += taken
        if taken > 1:
            counters.runs += first.runs
        first.give_back()
        return None
    dispatch = dispatch_of(outlet, first, address, peer, ignore=ignore)
    return dispatch, dispatch.account(
        min(taken * first.segment_size, len(first.data)), first.run_size
    )


def dispatch_of(
    outlet: Outlet,
    first: First,
    address: Address,
    peer: bytes,
    *,
    ignore: bool,
) -> EqualDispatch:
    """Return what sends them in any number of calls."""
    if isinstance(first, bytes):
        return EqualDispatch(
            outlet, first, len(first), address, peer, (), ignore=ignore
        )
    return EqualDispatch(
        outlet,
        first.data,
        first.segment_size,
        address,
        peer,
        (),
        first.give_back,
        ignore=ignore,
    )
