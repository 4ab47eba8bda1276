"""What can be wrong with one datagram of a batch."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from triobatch._wire.addresses import Address

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class DatagramError(OSError):
    """The kernel refused one datagram.

    Attributes:
      errno: Why.
      index: Its position in the batch that the call was given.
      address: Where it was to go, ``None`` for the connected peer.
    """

    def __init__(self, number: int, index: int, address: Address) -> None:
        super().__init__(number, os.strerror(number))
        self.index = index
        self.address = address

    def __str__(self) -> str:
        peer = repr(self.address) if self.address else "the connected peer"
        return f"{super().__str__()}: datagram {self.index} to {peer}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.index, self.address)


class DatagramErrorGroup(ExceptionGroup[DatagramError]):
    """The datagrams of one batch that were refused.

    All others were sent, except by a method that does not wait: it may leave
    some which can be sent later.

    Attributes:
      offered: How many datagrams the batch had.
      sent: How many of them the kernel took.
      left: How many were neither sent nor refused.
    """

    offered: int
    sent: int
    left: int

    if TYPE_CHECKING:

        @property
        def exceptions(self) -> tuple[DatagramError, ...]: ...

    def __new__(
        cls,
        errors: Sequence[DatagramError],
        sent: int,
        left: int = 0,
        offered: int | None = None,
    ) -> Self:
        """Name the numbers in the message."""
        offered = _offered(errors, sent, left, offered)
        summary = _summary(errors, sent, left, offered)
        group = super().__new__(cls, summary, errors)
        group.offered, group.sent, group.left = offered, sent, left
        return group

    def __init__(
        self,
        errors: Sequence[DatagramError],
        sent: int,
        left: int = 0,
        offered: int | None = None,
    ) -> None:
        # The backport for Python 3.10 looks for its message in `args`.
        offered = _offered(errors, sent, left, offered)
        super().__init__(_summary(errors, sent, left, offered), errors)

    def derive(  # type: ignore[override]
        self, excs: Sequence[DatagramError], /
    ) -> DatagramErrorGroup:
        """Keep the batch's numbers in what ``except*`` splits off."""
        return type(self)(excs, self.sent, self.left, self.offered)

    def __reduce__(self) -> tuple[Any, ...]:
        numbers = self.sent, self.left, self.offered
        return type(self), (self.exceptions, *numbers)


def _offered(
    errors: Sequence[DatagramError], sent: int, left: int, offered: int | None
) -> int:
    return len(errors) + sent + left if offered is None else offered


def _summary(
    errors: Sequence[DatagramError], sent: int, left: int, offered: int
) -> str:
    rest = f", {left} left" if left else ""
    return f"{len(errors)} of {offered} datagrams refused, {sent} sent{rest}"


class TruncatedDatagramError(OSError):
    """A datagram was larger than the room for it; its end is lost.

    Its ``errno`` is ``EMSGSIZE``, which Windows reports in this case.

    Attributes:
      payload: The front that fitted.
      address: The sender.
      size: Bytes that it had.
    """

    def __init__(self, payload: bytes, address: Address, size: int) -> None:
        super().__init__(
            errno.EMSGSIZE,
            f"a datagram of {size} bytes was cut to {len(payload)}",
        )
        self.payload = payload
        self.address = address
        self.size = size

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.payload, self.address, self.size)
