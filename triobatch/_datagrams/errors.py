"""What can be wrong with one datagram of a batch."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from triobatch._wire.addresses import Address
from triobatch._wire.described import described, errno_text
from triobatch._wire.hints import Self

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


# What becomes of the datagrams that the kernel refuses.
Errors: TypeAlias = Literal["raise", "ignore"]

# What an unconnected internet, and Unix, socket says without an address.
_NO_PEER = frozenset({errno.EDESTADDRREQ, errno.ENOTCONN})


def ignores(errors: Errors) -> bool:
    """Return whether refused datagrams are dropped.

    Raises:
      ValueError: ``errors`` is no such choice.
    """
    if errors not in ("raise", "ignore"):
        raise ValueError(f"errors must be 'raise' or 'ignore', not {errors!r}")
    return errors == "ignore"


_new = OSError.__new__


@lru_cache(maxsize=64)
def _strerror(number: int) -> str:
    return os.strerror(number)


class DatagramError(OSError):
    """The kernel refused one datagram.

    Attributes:
      errno: Why.
      index: Its position in the batch that the call was given.
      address: Where it was to go, ``None`` for the connected peer.
    """

    # OSError's own may be None.
    errno: int
    index: int
    address: Address
    # Set where it was given without a batch, so that it needs no number.
    _alone: bool

    __slots__ = ("_alone", "address", "index")

    # Not __init__: OSError then takes its arguments in __new__ (`use_init` in
    # Objects/exceptions.c), and `errors_of` needs no frame for each.
    def __new__(
        cls,
        number: int,
        index: int,
        address: Address,
        alone: bool = False,
    ) -> Self:
        """Name the errno's text."""
        error = _new(cls, number, _strerror(number))
        error.index, error.address = index, address
        if alone:
            error._alone = True
        return error

    def as_lone(self) -> Self:
        """Return the error of a datagram that was given without a batch."""
        return type(self)(self.errno, self.index, self.address, True)

    def __str__(self) -> str:
        which = "" if self._is_alone() else f"datagram {self.index} "
        if self.address is not None:
            peer = f"to {self.address!r}"
        elif self.errno in _NO_PEER:
            peer = "without an address, on a socket that is not connected"
        else:
            peer = "to the connected peer"
        return f"{super().__str__()}: {which}{peer}"

    @described
    def __repr__(self) -> str:
        which = "a datagram" if self._is_alone() else f"datagram {self.index}"
        return f"{errno_text(self.errno)}, {which} to {self.address!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = self.errno, self.index, self.address, self._is_alone()
        return type(self), fields

    def _is_alone(self) -> bool:
        return getattr(self, "_alone", False)


def order_front(tags: list[int], columns: Iterable[list[Any]]) -> None:
    """Sort the front of columns by its tags; ``tags`` may be one of them."""
    count = len(tags)
    if tags == sorted(tags):
        return
    order = sorted(range(count), key=tags.__getitem__)
    for column in columns:
        column[:count] = [column[i] for i in order]


def errors_of(
    numbers: list[int], indices: list[int], addresses: list[Address]
) -> list[DatagramError]:
    """Return an error for each item of the columns: 0.2 us, not 0.45."""
    texts = map(_strerror, numbers)
    errors = list(map(_new, repeat(DatagramError), numbers, texts))
    for error, index, address in zip(errors, indices, addresses, strict=True):
        error.index, error.address = index, address
    return errors


class DatagramErrorGroup(ExceptionGroup[DatagramError]):
    """The datagrams of one batch that were refused, in the batch's order.

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
        errors = _in_order(errors)
        offered = _offered(errors, sent, left, offered)
        summary = _summary(errors, sent, left, offered)
        group = super().__new__(cls, summary, errors)
        group.offered, group.sent, group.left = offered, sent, left
        return group

    def __init__(self, *_arguments: object, **_options: object) -> None:
        # The backport for Python 3.10 looks for its message in `args`.
        super().__init__(self.message, self.exceptions)

    @described
    def __repr__(self) -> str:
        # Not each of thousands.
        return f"{self.message}, first {self.exceptions[0]!r}"

    def derive(  # type: ignore[override]
        self, excs: Sequence[DatagramError], /
    ) -> DatagramErrorGroup:
        """Keep the batch's numbers in what ``except*`` splits off."""
        return type(self)(excs, self.sent, self.left, self.offered)

    def __reduce__(self) -> tuple[Any, ...]:
        numbers = self.sent, self.left, self.offered
        return type(self), (self.exceptions, *numbers)


def _in_order(errors: Sequence[DatagramError]) -> Sequence[DatagramError]:
    # Destinations are put side by side on their way, and refused in turn.
    # What is no sequence, or empty, the group itself refuses.
    if isinstance(errors, list | tuple):
        indices = list(map(attrgetter("index"), errors))
        if indices != sorted(indices):
            return sorted(errors, key=attrgetter("index"))
    return errors


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
      size: Bytes that it had; one more than fitted where the system does
        not tell (macOS, Windows).
    """

    def __init__(self, payload: bytes, address: Address, size: int) -> None:
        super().__init__(
            errno.EMSGSIZE,
            f"a datagram of {size} bytes was cut to {len(payload)}",
        )
        self.payload = payload
        self.address = address
        self.size = size

    @described
    def __repr__(self) -> str:
        return f"{self.strerror}, from {self.address!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.payload, self.address, self.size)
