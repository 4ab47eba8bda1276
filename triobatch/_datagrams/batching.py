"""What a call is given, made into a batch that is ready to go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from triobatch._core import calls
from triobatch._core.chunks import COPY_SIZE
from triobatch._datagrams.dispatch import Dispatch
from triobatch._datagrams.equal_dispatch import EqualDispatch
from triobatch._datagrams.errors import ignores
from triobatch._datagrams.mixed_dispatch import MixedDispatch
from triobatch._datagrams.run_dispatch import RunDispatch
from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.datagrams import (
    Datagrams,
    Directed,
    check_metadata,
)
from triobatch._queues.views import as_payload, as_payloads, release
from triobatch._wire.addresses import SockaddrCache
from triobatch._wire.arguments import as_integer
from triobatch._wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from triobatch._datagrams.errors import Errors
    from triobatch._datagrams.first_call import First
    from triobatch._datagrams.outcomes import AnyDispatch, Observer, Outlet
    from triobatch._queues.datagrams import Datagram
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control
    from triobatch._wire.hints import Buffer
    from triobatch._wire.metadata import Metadata

# What UDP_SEGMENT holds (16 bits); no datagram is larger.
MAX_SEGMENT_SIZE = 65535
# How many metadata are remembered with what asks for them: as many as there
# are addresses and traffic classes to answer with.
MAX_CONTROLS = 1024


class Batching:
    """What one socket makes batches of.

    Args:
      outlet: What they share.
      family: The socket's.

    Attributes:
      outlet: As above.
    """

    __slots__ = ("_controls", "_family", "_sockaddrs", "outlet")

    def __init__(self, outlet: Outlet, family: int) -> None:
        self.outlet: Outlet = outlet
        self._family = family
        self._sockaddrs = SockaddrCache(family)
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
            return self._sockaddrs.encoded(address)

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
        # Neighbours often go to the same: two frames less for each.
        last: object = self
        peer, own = b"", control
        for index, address in enumerate(addresses):
            if address is not last:
                try:
                    if isinstance(address, Directed):
                        peer = self.peer_of(address.address)
                        own = self.control_of(address.metadata)
                    else:
                        peer, own = self.peer_of(address), control
                except (TypeError, ValueError) as error:
                    raise type(error)(f"datagram {index}: {error}") from None
                last = address
            peers.append(peer)
            controls.append(own)
        return peers, controls

    def one(
        self,
        data: Buffer | Buffers,
        address: Address,
        metadata: Metadata | None,
        errors: Errors,
    ) -> AnyDispatch:
        """Return a batch of the one datagram; a ``Buffers`` is consumed."""
        if not isinstance(data, Buffers):
            return self._lone(data, address, metadata, errors)
        # Joined, not one iovec a chunk: above IOV_MAX there is no other way,
        # and the largest datagram is copied in 3 us.
        payload = bytes(data)
        return self.dispatch(
            [payload],
            [address],
            metadata,
            partial(drop, data, len(payload)),
            ignore=ignores(errors),
        )

    def _lone(
        self,
        data: Buffer,
        address: Address,
        metadata: Metadata | None,
        errors: Errors,
        name: str = "data",
    ) -> AnyDispatch:
        """Return a batch of one, by the shortest way.

        At low load this is the rule: 14 us, and 33 as one of a list.
        """
        # Before there is a view of the payload, which the traceback of an
        # error that is kept would keep.
        peer, control = self.peer_of(address), self.control_of(metadata)
        ignore = ignores(errors)
        payload = as_payload(data, name)
        if payload:
            return EqualDispatch(
                self.outlet,
                payload,
                len(payload),
                address,
                peer,
                control,
                ignore=ignore,
            )
        return self.dispatch([payload], [address], metadata, ignore=ignore)

    def many(
        self,
        payloads: list[Buffer],
        batch: First | None,
        address: Address,
        metadata: Metadata | None,
        errors: Errors,
    ) -> AnyDispatch:
        """Return a batch of payloads, which may be packed already."""
        ignore = ignores(errors)
        if isinstance(batch, calls.Batch):
            return self.dispatch_equal(
                batch.data,
                batch.segment_size,
                address,
                metadata,
                batch.give_back,
                ignore=ignore,
            )
        taken = as_payloads(payloads)
        try:
            return self.dispatch(
                taken, [address] * len(taken), metadata, ignore=ignore
            )
        except BaseException:
            # Or an error that is kept would keep its views.
            release(taken)
            raise

    def cut(
        self,
        data: Buffer,
        segment_size: int,
        address: Address,
        metadata: Metadata | None,
        errors: Errors,
    ) -> AnyDispatch:
        """Return a batch of segments of ``data``."""
        size = as_integer(segment_size, "segment_size")
        if not 1 <= size <= MAX_SEGMENT_SIZE:
            raise ValueError(
                f"segment_size must be in 1..{MAX_SEGMENT_SIZE}, not {size}"
            )
        # As in ``_lone``.
        peer, control = self.peer_of(address), self.control_of(metadata)
        ignore = ignores(errors)
        return EqualDispatch(
            self.outlet,
            as_payload(data, "data"),
            size,
            address,
            peer,
            control,
            ignore=ignore,
        )

    def gathered(
        self,
        datagrams: Iterable[Datagram],
        metadata: Metadata | None,
        errors: Errors,
    ) -> AnyDispatch:
        """Return a batch of what nobody else holds."""
        queue = Datagrams(datagrams)
        try:
            return self.queued(queue, metadata, errors)
        except BaseException:
            # Or an error that is kept would keep its views.
            queue.clear()
            raise

    def queued(
        self, queue: Datagrams, metadata: Metadata | None, errors: Errors
    ) -> AnyDispatch:
        """Return a batch that consumes a queue."""
        payloads, addresses = queue._columns()
        return self.dispatch(
            payloads, addresses, metadata, ignore=ignores(errors)
        )

    def pack(
        self, payloads: list[Buffer], address: Address
    ) -> tuple[First | None, bytes]:
        """Return what one call may take of payloads, and their sockaddr.

        Returns:
          A lone payload as it is, those of one size as a batch, None for any
          others.
        """
        try:
            peer = self._sockaddrs[address]
        except TypeError:
            peer = self.peer_of(address)
        if len(payloads) == 1:
            lone = payloads[0]
            if type(lone) is bytes and lone:
                return lone, peer
        limit = self.outlet.segmentation.limit(peer)
        return calls.pack(payloads, peer, limit), peer

    def pack_pairs(self, pairs: list[Datagram]) -> calls.Batch | None:
        """Return pairs with one address as a batch, None if it cannot be."""
        first = pairs[0]
        if type(first) is not tuple or len(first) != 2:
            return None
        address = first[1]
        try:
            peer = self._sockaddrs[address]
        except (TypeError, ValueError):
            # Which says it with the datagram's index, the other way.
            return None
        limit = self.outlet.segmentation.limit(peer)
        return calls.pack_pairs(pairs, address, peer, limit)

    def pack_queue(
        self, payloads: list[Chunk], addresses: list[Address | Directed]
    ) -> tuple[First | None, bytes]:
        """Return what one call may take of a queue; see ``pack``.

        None, if it is not of one size to one address, or one is no address.
        """
        if not payloads or self.outlet.plain:
            return None, b""
        to, count = addresses[0], len(payloads)
        if len(payloads[0]) * count > COPY_SIZE:
            return None, b""
        try:
            if addresses[-1] != to or addresses.count(to) < count:
                return None, b""
            if type(to) is bytes and {*map(type, addresses)} != {bytes}:
                # A bytearray equals it, and is no address.
                return None, b""
            return self.pack(payloads, to)  # type: ignore[arg-type]
        except (TypeError, ValueError, BytesWarning):
            # Which say it with the datagram's index, the other way.
            return None, b""

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
        control = self.control_of(metadata) if metadata is not None else ()
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
