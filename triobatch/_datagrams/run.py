"""Runs: trains of datagrams that stay whole, where they lie.

A network card, or a sender on this machine, hands over datagrams of one size
as one piece (UDP_GRO, udp(7)), which the kernel can take back as one piece
(UDP_SEGMENT). Whoever only passes them on needs none of them by itself: what
costs is a ``bytes`` object for each, and putting them together again. So a
``Run`` is a view of the memory that the kernel wrote to. quinn calls its size
``len``, and the segment size ``stride``.

**A view is for a scope.** The kernel will write to that memory again, and then
a view would show other bytes, which is the fault to be ruled out here: it
corrupts what is sent or stored, and nobody notices. So, at the end of the
scope:

* Every view that was handed out is released, the pieces that iterating over a
  run has made included. To use one is a ValueError from then on.
* A view that is exported itself, as by a write in another thread, refuses to
  be released (BufferError). ``Run.data`` is replaced, so that it is a
  ValueError all the same.
* Who has sliced a view, or called ``memoryview()`` on it as NumPy does, has
  one that knows nothing of its parent, and cannot be found. All of them keep
  alive what they are views of, though. That is not the arena's memory itself,
  but a ``Loan`` of it, made anew for each filling, to which nothing else
  refers: it is gone if, and only if, no view is left.

Before the socket receives again, the loan is looked at. If it is there still,
the arena is not given back (``Inbox.reclaim``): it belongs to those views,
with the bytes that they had, and goes with the last of them. That costs 4 MiB
of address space, and its pages; it is no error, and no leak, unless the
program collects them.

Where objects are not freed at once (PyPy), there is a fresh arena for each
filling that runs were taken from.

Sans-IO.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

from triobatch._queues.views import kept_view, view_of_bytes
from triobatch._wire.addresses import Address
from triobatch._wire.arguments import as_integer
from triobatch._wire.described import described
from triobatch._wire.hints import Buffer

# What UDP_SEGMENT holds (16 bits); no datagram is larger.
MAX_SEGMENT_SIZE = 65535

# To use it is a ValueError.
_RELEASED = memoryview(b"")
_RELEASED.release()


class Run:
    """Datagrams of one size, side by side, from one sender.

    ``receive_runs`` makes them, and ``send_runs`` takes them. Iterating over
    one yields a view of each datagram.

    Args:
      data: The datagrams; not copied. No bytes are one empty datagram.
      segment_size: Bytes a datagram; the last may be shorter. 1 to 65535, or
        the size of ``data`` where that is one datagram.
      address: The sender.

    Raises:
      TypeError, BufferError: ``data`` is not bytes-like, or not contiguous.
      ValueError: ``segment_size`` is none.

    Attributes:
      data: As above, and a view of bytes. Of a received run it can be written
        to, within the scope; after that, using it is a ValueError.
      segment_size: As above; of a received run that is one datagram, its size,
        which may be 0.
      address: As above, as from ``recvfrom``.
    """

    __slots__ = ("_lent", "address", "data", "segment_size")

    def __init__(
        self, data: Buffer, segment_size: int, address: Address = None
    ) -> None:
        self.segment_size: int = as_integer(segment_size, "segment_size")
        self.data: memoryview = view_of_bytes(data, "data")
        self.address: Address = address
        self._lent: list[memoryview] | None = None
        self.check()

    def check(self) -> None:
        """Raise ValueError if its scope has ended, or the size is none."""
        segment_size = self.segment_size
        try:
            size = len(self.data)
        except ValueError:
            raise ValueError("its scope has ended") from None
        if not 1 <= segment_size <= MAX_SEGMENT_SIZE and segment_size != size:
            raise ValueError(
                f"segment_size must be in 1..{MAX_SEGMENT_SIZE}, or the size "
                f"of the data ({size}), not {segment_size}"
            )

    def export(self) -> tuple[memoryview, int]:
        """Return a view of the data to be released, and the segment size.

        Raises:
          ValueError: the data was released, or the size is none for it.
        """
        self.check()
        # Whatever a program has put in its place: sizes are in bytes.
        return kept_view(self.data, "data"), self.segment_size

    @property
    def count(self) -> int:
        """How many datagrams it has, at least one."""
        size = len(self.data)
        return -(-size // self.segment_size) if size else 1

    def __iter__(self) -> Iterator[memoryview]:
        data, step = self.data, self.segment_size
        for start in range(0, len(data) or 1, step or 1):
            datagram = data[start : start + step]
            if self._lent is not None:
                self._lent.append(datagram)
            yield datagram

    @described
    def __repr__(self) -> str:
        try:
            what = f"{len(self.data)} bytes by {self.segment_size}"
        except ValueError:
            what = "released"
        return f"{what}, of {self.address!r}"


@cache
def _octets(size: int) -> type[ctypes.Array[ctypes.c_ubyte]]:
    # ctypes lets go of a type that nobody uses, and makes it anew: 3.5 KB.
    return ctypes.c_ubyte * size


class Loan:
    """The memory of one filling, as long as somebody may look at it.

    Args:
      memory: The arena's.
    """

    def __init__(self, memory: Any) -> None:
        # An object that all slices keep alive, and only they.
        lent = _octets(len(memory)).from_buffer(memory)
        self._left = weakref.ref(lent)
        # Its own format, "<B", is not that of bytes.
        self._view = memoryview(lent).cast("B")

    def end(self) -> bool:
        """Let go of it, and return whether nobody looks at it any more."""
        self._view.release()
        return self._left() is None

    def lend(
        self,
        start: int,
        size: int,
        segment_size: int,
        address: Address,
        lent: list[memoryview],
    ) -> Run:
        """Return what lies at ``start``, and add its view to ``lent``."""
        run = Run.__new__(Run)
        run.data = view = self._view[start : start + size]
        run.segment_size = segment_size
        run.address = address
        run._lent = lent
        lent.append(view)
        return run


def release(runs: list[Run], lent: list[memoryview]) -> None:
    """Take back what was lent in a scope, in which ``runs`` were made."""
    for view in lent:
        try:
            view.release()
        except BufferError:
            # Exported itself: the loan is not over.
            continue
    lent.clear()
    for run in runs:
        run.data = _RELEASED
        run._lent = None
