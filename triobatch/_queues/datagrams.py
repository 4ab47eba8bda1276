"""A queue of datagrams: what ``Buffers`` is to a stream.

Sans-IO: no event loop and no socket in this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple, TypeAlias

from triobatch._queues.twins import bare_twin
from triobatch._queues.views import (
    Chunk,
    are_bytes,
    as_payload,
    as_payloads,
    list_of,
    release,
)
from triobatch._wire.addresses import Address
from triobatch._wire.arguments import as_integer
from triobatch._wire.described import described
from triobatch._wire.hints import Buffer, Self
from triobatch._wire.metadata import Metadata

# What a batch is made of: a payload and where to; as they are received, too.
Datagram: TypeAlias = (
    tuple[Buffer, Address] | tuple[Buffer, Address, Metadata | None]
)
ReceivedDatagram: TypeAlias = tuple[bytes, Address]
# As they are queued, and come out again.
Queued: TypeAlias = tuple[Chunk, Address] | tuple[Chunk, Address, Metadata]


class Directed(NamedTuple):
    """An address with the metadata that one datagram takes there.

    In the column of addresses, so that a queue whose datagrams have none,
    which is the rule, is the same as ever.
    """

    address: Address
    metadata: Metadata


def direct(address: Address, metadata: Metadata | None) -> Address | Directed:
    """Return what stands for both in a column of addresses."""
    return address if metadata is None else Directed(address, metadata)


def undirected(address: Address | Directed) -> Address:
    """Return the address alone."""
    return address.address if isinstance(address, Directed) else address


def as_queued(payload: Chunk, address: Address | Directed) -> Queued:
    """Return the item that a payload and its address were queued as."""
    if isinstance(address, Directed):
        return payload, address.address, address.metadata
    return payload, address


def check_metadata(metadata: object, name: str = "metadata") -> None:
    """Raise ``TypeError`` if ``metadata`` is no ``Metadata``, and not None."""
    if metadata is not None and not isinstance(metadata, Metadata):
        raise TypeError(
            f"{name} must be a Metadata, not {type(metadata).__name__}"
        )


class Datagrams:
    """A queue of ``(payload, address)`` pairs, consumed as they are sent.

    A third item of a pair, a ``Metadata`` or ``None``, is what the IP header
    of this datagram shall say.

    Sending calls take it in place of a list of pairs, and consume it as the
    kernel takes the datagrams: after an error or a cancellation it holds
    exactly those that were not sent, and it can be passed again.

    A payload is any contiguous object with the buffer protocol; one without
    bytes is a datagram like the others. An address is as in ``recvfrom``,
    ``None`` for the peer that the socket is connected to. A mutable payload
    stays exported while it is queued: resizing the ``bytearray`` raises
    ``BufferError`` at the resize.

    While a call is sending it, datagrams may be added (they are left for
    the next call), but not taken away: that is a ``BufferError``.

    Args:
      datagrams: The first pairs of the queue.

    Raises:
      TypeError: an item is no pair, a payload has no buffer, or metadata are
        no ``Metadata``.
      ValueError: an item has another length than two or three.
      BufferError: a payload is not contiguous.
    """

    __slots__ = ("_addresses", "_claimed", "_payloads")

    KIND: ClassVar[str] = "datagrams"

    def __init__(self, datagrams: Iterable[Datagram] = ()) -> None:
        self._payloads: list[Chunk] = []
        self._addresses: list[Address | Directed] = []
        self._claimed = False
        self.extend(datagrams)

    def __len__(self) -> int:
        return len(self._payloads)

    def __iter__(self) -> Iterator[Queued]:
        return map(as_queued, self._payloads, self._addresses)

    @described
    def __repr__(self) -> str:
        return f"{len(self)} left, {self.nbytes} bytes"

    def __reduce__(self) -> tuple[type[Self], tuple[list[Datagram]]]:
        return type(self), ([(bytes(item[0]), *item[1:]) for item in self],)

    @property
    def nbytes(self) -> int:
        """The sum of the payloads' sizes, in bytes."""
        return sum(map(len, self._payloads))

    def append(self, datagram: Datagram) -> None:
        """Add one ``(payload, address)``, with metadata or not, at the end.

        See ``extend``.
        """
        self.extend([datagram])

    def extend(self, datagrams: Iterable[Datagram]) -> None:
        """Add pairs at the end: all of them, or after an error none.

        Args:
          datagrams: ``(payload, address)``, or ``(payload, address,
            metadata)``, as for the class.

        Raises:
          TypeError, ValueError, BufferError: an item is not one of these.
        """
        listed = list_of(datagrams, "datagrams", "(payload, address) pairs")
        if not listed:
            return
        addresses: Iterable[Address | Directed]
        try:
            payloads, addresses = zip(*listed, strict=True)
            accepted = list(payloads)
            if not are_bytes(accepted):
                accepted = as_payloads(payloads)
        # The last two are what a view of two dimensions, and one that was
        # released (CPython 3.11), say to who iterates them.
        except (TypeError, ValueError, NotImplementedError, SystemError):
            accepted, addresses = _columns_of(listed)
        self._payloads += accepted
        self._addresses += addresses

    def consume(self, count: int) -> None:
        """Drop ``count`` datagrams from the front.

        Raises:
          ValueError: ``count`` is negative, or more than there are.
          BufferError: a call is sending them.
        """
        count = as_integer(count, "count")
        self._check_not_claimed()
        if not 0 <= count <= len(self):
            raise ValueError(f"count must be in 0..{len(self)}, not {count}")
        del self._payloads[:count]
        del self._addresses[:count]

    def clear(self) -> None:
        """Drop all of them.

        Raises:
          BufferError: a call is sending them.
        """
        self.consume(len(self))

    def copy(self) -> Self:
        """Return a queue of the same payloads with its own position."""
        other = bare_twin(self)
        Datagrams.__init__(other)
        other._payloads = self._payloads.copy()
        other._addresses = self._addresses.copy()
        return other

    __copy__ = copy

    def _check_not_claimed(self) -> None:
        if self._claimed:
            raise BufferError("another call is sending these datagrams")

    # What the rest of the package uses, and nobody else: `_claimed`, which
    # `Claim` sets for as long as a call sends the queue, and this for that
    # call.

    def _columns(self) -> tuple[list[Chunk], list[Address | Directed]]:
        """Return the payloads and the addresses, to delete what was sent."""
        return self._payloads, self._addresses


def _columns_of(
    datagrams: list[Datagram],
) -> tuple[list[Chunk], list[Address | Directed]]:
    """Return the columns of a list that is not of pairs only.

    Raises:
      TypeError, ValueError: an item is neither a pair nor has metadata, and
        the error says which.
    """
    payloads: list[Chunk] = []
    addresses: list[Address | Directed] = []
    try:
        _add_columns(datagrams, payloads, addresses)
    except BaseException:
        # Or an error that is kept would keep its views.
        release(payloads)
        raise
    return payloads, addresses


def _add_columns(
    datagrams: list[Datagram],
    payloads: list[Chunk],
    addresses: list[Address | Directed],
) -> None:
    for index, item in enumerate(datagrams):
        name = f"datagram {index}"
        if not isinstance(item, tuple | list):
            raise TypeError(
                f"{name} must be a (payload, address) pair, "
                f"not {type(item).__name__}"
            )
        if len(item) not in {2, 3}:
            raise ValueError(
                f"{name} must be a (payload, address) pair, or have metadata "
                f"as a third item, not {len(item)} items"
            )
        payload, address, *rest = item
        for metadata in rest:
            check_metadata(metadata, f"the metadata of {name}")
        payloads.append(as_payload(payload, f"the payload of {name}"))
        addresses.append(direct(address, rest[0] if rest else None))


def as_datagrams(
    datagrams: Datagrams | Iterable[Datagram],
) -> Datagrams:
    """Return the queue itself, or a new one of those pairs."""
    if isinstance(datagrams, Datagrams):
        return datagrams
    return Datagrams(datagrams)
