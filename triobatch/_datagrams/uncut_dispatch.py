"""A batch to one destination whose datagrams nobody looks at one by one.

Not until the kernel refuses something: then what is left of it is taken apart
into a ``Dispatch``, which finds out what each datagram comes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from triobatch._datagrams.dispatch import Dispatch

if TYPE_CHECKING:
    from triobatch._datagrams.outcomes import Outlet
    from triobatch._queues.views import Chunk
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import Control


class UncutDispatch:
    """What the two kinds of such batches share; most of an ``AnyDispatch``.

    Args:
      outlet: The socket's.
      address: Where they go.
      peer: Its sockaddr.
      control: What goes with every datagram.
      ignore: Whether refused datagrams are dropped, and are no errors.
    """

    __slots__ = (
        "_address",
        "_control",
        "_ignore",
        "_outlet",
        "_rest",
        "_sent",
        "_sent_bytes",
        "peer",
    )

    def __init__(
        self,
        outlet: Outlet,
        address: Address,
        peer: bytes,
        control: Control,
        *,
        ignore: bool,
    ) -> None:
        self.peer: bytes = peer
        self._outlet = outlet
        self._address = address
        self._control = control
        self._ignore = ignore
        # What the kernel took before there was a `_rest`.
        self._sent = self._sent_bytes = 0
        self._rest: Dispatch | None = None

    @property
    def sent(self) -> int:
        """See ``AnyDispatch``."""
        return self._sent + (self._rest.sent if self._rest else 0)

    @property
    def sent_bytes(self) -> int:
        """See ``AnyDispatch``."""
        return self._sent_bytes + (self._rest.sent_bytes if self._rest else 0)

    @property
    def refusals(self) -> list[int]:
        """See ``AnyDispatch``."""
        return self._rest.refusals if self._rest else []

    @property
    def ignored(self) -> int:
        """See ``AnyDispatch``."""
        return self._rest.ignored if self._rest else 0

    def hold(self, peer: bytes) -> bool:  # noqa: ARG002 (the protocol's)
        """Return False: all go to one destination, and wait for it."""
        return False

    def _go_on_with(self, payloads: list[Chunk]) -> Dispatch:
        """Return what sends the rest, a payload each."""
        count = len(payloads)
        self._rest = Dispatch(
            self._outlet,
            payloads,
            [self._address] * count,
            [self.peer] * count,
            self._control,
            tags=range(self._sent, self._sent + count),
            ignore=self._ignore,
        )
        return self._rest
