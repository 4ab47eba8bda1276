"""A queue of datagrams: what ``Buffers`` is to a stream.

Sans-IO: no event loop and no socket in this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

from triobatch._queues.views import as_payload, as_payloads, list_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address

    Datagram: TypeAlias = tuple[Buffer, Address]


class Datagrams:
    """A queue of ``(payload, address)`` pairs, consumed as they are sent.

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
      TypeError: an item is no pair, or a payload has no buffer.
      ValueError: an item has another length than two.
      BufferError: a payload is not contiguous.
    """

    __slots__ = ("_addresses", "_claimed", "_payloads")

    KIND: ClassVar[str] = "datagrams"

    def __init__(self, datagrams: Iterable[Datagram] = ()) -> None:
        self._payloads: list[Chunk] = []
        self._addresses: list[Address] = []
        self._claimed = False
        self.extend(datagrams)

    def __len__(self) -> int:
        return len(self._payloads)

    def __iter__(self) -> Iterator[tuple[Chunk, Address]]:
        return zip(self._payloads, self._addresses, strict=True)

    def __repr__(self) -> str:
        return f"<Datagrams: {len(self)} left, {self.nbytes} bytes>"

    @property
    def nbytes(self) -> int:
        """The sum of the payloads' sizes, in bytes."""
        return sum(map(len, self._payloads))

    def append(self, datagram: Datagram) -> None:
        """Add one ``(payload, address)`` pair at the end."""
        self.extend([datagram])

    def extend(self, datagrams: Iterable[Datagram]) -> None:
        """Add pairs at the end: all of them, or after an error none."""
        listed = list_of(datagrams, "datagrams", "(payload, address) pairs")
        if not listed:
            return
        try:
            payloads, addresses = zip(*listed, strict=True)
            accepted = as_payloads(payloads)
        except (TypeError, ValueError):
            _check_pairs(listed)
            raise
        self._payloads += accepted
        self._addresses += addresses

    def consume(self, count: int) -> None:
        """Drop ``count`` datagrams from the front.

        Raises:
          ValueError: ``count`` is negative, or more than there are.
          BufferError: a call is sending them.
        """
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

    def copy(self) -> Datagrams:
        """Return a queue of the same payloads with its own position."""
        other = Datagrams()
        other._payloads = self._payloads.copy()
        other._addresses = self._addresses.copy()
        return other

    def _check_not_claimed(self) -> None:
        if self._claimed:
            raise BufferError("another call is sending these datagrams")

    # What the rest of the package uses, and nobody else: `_claimed`, which
    # `Claim` sets for as long as a call sends the queue, and this for that
    # call.

    def _columns(self) -> tuple[list[Chunk], list[Address]]:
        """Return the payloads and the addresses, to delete what was sent."""
        return self._payloads, self._addresses


def _check_pairs(datagrams: list[Datagram]) -> None:
    """Say which item is no pair."""
    for index, pair in enumerate(datagrams):
        name = f"datagram {index}"
        if not isinstance(pair, tuple | list):
            raise TypeError(
                f"{name} must be a (payload, address) pair, "
                f"not {type(pair).__name__}"
            )
        if len(pair) != 2:
            raise ValueError(
                f"{name} must be a (payload, address) pair, "
                f"not {len(pair)} items"
            )
        as_payload(pair[0], f"the payload of {name}")


def as_datagrams(
    datagrams: Datagrams | Iterable[Datagram],
) -> Datagrams:
    """Return the queue itself, or a new one of those pairs."""
    if isinstance(datagrams, Datagrams):
        return datagrams
    return Datagrams(datagrams)
