"""The first call of a batch of one size, which mostly is the only one.

Where it takes all, nothing is kept of the batch but its counts. Otherwise an
``EqualDispatch``, or for a queue a ``Dispatch``, goes on with the answer, so
that nothing is tried twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from triobatch._datagrams import errnos
from triobatch._datagrams.dispatch import Dispatch
from triobatch._datagrams.equal_dispatch import EqualDispatch
from triobatch._datagrams.outcomes import Outcome
from triobatch._resource import closed_socket, raise_if_closed

if TYPE_CHECKING:
    from triobatch._core import calls
    from triobatch._datagrams.kernel import AnySocket
    from triobatch._datagrams.outcomes import Observer, Outlet
    from triobatch._queues.datagrams import Directed
    from triobatch._queues.views import Chunk
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


def send_queue(
    outlet: Outlet,
    socket: AnySocket,
    first: First,
    peer: bytes,
    payloads: list[Chunk],
    addresses: list[Address | Directed],
    tags: list[int] | range,
    *,
    ignore: bool,
    observer: Observer | None = None,
) -> tuple[Dispatch, Outcome] | None:
    """Make one call for a queue that is packed; see ``send_first``.

    Args:
      outlet: The socket's.
      socket: What it goes out of.
      first: The payloads; a batch is given back.
      peer: The sockaddr of all.
      payloads: The queue's own list; what was sent is deleted.
      addresses: The queue's own, too.
      tags: What each datagram is known by; see ``Dispatch``.
      ignore: As above.
      observer: Told what went, and of the rest what becomes of it.
    """
    fd = socket.fileno()
    if fd == -1:
        raise closed_socket()
    counters = outlet.counters
    counters.calls += 1
    number = taken = runs = segment_size = 0
    count = a_run = 1
    try:
        if isinstance(first, bytes):
            outlet.kernel.send_datagram(fd, first, peer)
            taken = 1
        else:
            count, runs = first.count, first.runs
            taken = outlet.kernel.send_batch(fd, first)
    except OSError as error:
        raise_if_closed(error)
        number = error.errno or 0
        if outlet.is_fatal(number):
            raise
    if not isinstance(first, bytes):
        if taken < count:
            segment_size = first.segment_size
            a_run = min(first.run_size // segment_size, count)
            runs = taken // a_run if a_run > 1 else 0
        first.give_back()
    if taken:
        del payloads[:taken], addresses[:taken]
        counters.datagrams += taken
        counters.runs += runs
        if observer is not None:
            observer.sent(list(tags[:taken]))
        if taken == count:
            return None
    rest = Dispatch(
        outlet,
        payloads,
        addresses,
        [peer] * (count - taken),
        (),
        tags=tags[taken:],
        observer=observer,
        ignore=ignore,
    )
    rest.sent, rest.sent_bytes = taken, taken * segment_size
    if not number:
        return rest, Outcome.MORE
    if number in errnos.FULL:
        rest.peer = peer
        return rest, Outcome.FULL
    return rest, rest.judge(number, peer, a_run, segment_size)
