"""A datagram that waits to be sent, and somebody who waits for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from triobatch._datagrams.errors import DatagramError
    from triobatch._wire.addresses import Address


class Waiter:
    """Somebody who waits for the outcome of one datagram, or of a few.

    Attributes:
      left: How many have no outcome yet.
      sent: How many the kernel has taken.
      errors: Why the kernel refused the others.
    """

    __slots__ = ("errors", "left", "sent", "token")

    def __init__(self, token: Hashable, count: int) -> None:
        self.token = token
        self.left = count
        self.sent = 0
        self.errors: list[DatagramError] = []


class QueuedDatagram:
    """A datagram that has no outcome yet.

    Args:
      payload: Exported for as long as it is queued.
      address: Where to.
      waiter: Who wants to know what becomes of it, if anybody.
      index: Its place in what the waiter sends.

    Attributes:
      sent: Whether the kernel has taken it.
      place: The queue that it is in, or the lane.
      position: In the batch that is on its way; -1 if it is not in that.
      number: The datagrams of one outbox are numbered as they come.
      epoch: The flushes that wait for it are those from this one on.
    """

    __slots__ = (
        "address",
        "epoch",
        "index",
        "number",
        "payload",
        "place",
        "position",
        "sent",
        "waiter",
    )

    def __init__(
        self,
        payload: bytes | memoryview,
        address: Address,
        waiter: Waiter | None = None,
        index: int = 0,
    ) -> None:
        self.payload = payload
        self.address = address
        self.waiter = waiter
        self.index = index
        self.sent = False
        self.place: Queue | None = None
        self.position = -1
        self.number = self.epoch = 0


class Queue(dict[QueuedDatagram, None]):
    """Datagrams in order; a withdrawn one is deleted, which takes no time.

    Attributes:
      since: When the first one was queued.
    """

    __slots__ = ("since",)

    def __init__(self) -> None:
        super().__init__()
        self.since = 0.0
