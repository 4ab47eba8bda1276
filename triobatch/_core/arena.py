"""The memory that datagrams are received into.

An arena is filled by one system call at a time, copied out as ``bytes``
(``_datagrams/inbox.py``), and then goes to the next socket that receives
(``receive_memory.py``).

Sans-IO: a core fills the slots and the columns (core.h, ``tb_arena``).
"""

from __future__ import annotations

import mmap
import socket
import sys
from array import array
from typing import Any, Final

from triobatch._wire.addresses import (
    AF_INET,
    AF_INET6,
    SOCKADDR_IN6_SIZE,
    SOCKADDR_IN_SIZE,
    SOCKADDR_UN_SIZE,
)

# Windows has none; the Python core sets it there.
MSG_TRUNC = int(getattr(socket, "MSG_TRUNC", 0x20))

# Any UDP datagram and any train fits (a 16-bit length); what a smaller slot
# cuts off is lost.
SLOT_SIZE = 65536
# Enough for every control message that the metadata asks for (136 bytes for
# IPv4, 216 on a dual-stack socket), the segment size, and what a program turns
# on itself: timestamps of all kinds, drops, the original destination.
CONTROL_SIZE = 512

# What ``filling`` holds (core.h, ``tb_filling``): the slots that were filled,
# the datagrams in them, the next slot to be handed out, and the bytes of it
# that are handed out already.
MESSAGES: Final = 0
DATAGRAMS: Final = 1
NEXT: Final = 2
OFFSET: Final = 3


class Arena:
    """Slots for received messages, and a column for each of their facts.

    4 MiB of address space at the usual 64 slots; the kernel backs only the
    pages that a datagram has reached. The columns are 4 KiB, and are made
    with the memory when they are first looked at: many sockets only send.

    Args:
      slots: Messages that one call may bring.
      family: The socket's, which sets the room for a name. A Unix socket
        gets no room for control messages: file descriptors that a peer
        passes are closed by the kernel, and not left open here.
      slot_size: Bytes a message.
      memory: A writable buffer for the slots, for a caller that reads only
        the columns. By default it is memory whose slices are ``bytes``, which
        is what an ``Inbox`` hands out.
      control_size: Bytes for the control messages of each, if not as above.
    """

    memory: Any
    names: bytearray
    control: Any
    sizes: array[int]
    flags: array[int]
    name_sizes: array[int]
    control_sizes: array[int]
    segment_sizes: array[int]

    def __init__(
        self,
        slots: int,
        family: int,
        slot_size: int = SLOT_SIZE,
        memory: Any = None,
        *,
        control_size: int | None = None,
    ) -> None:
        if control_size is None:
            internet = family in {AF_INET, AF_INET6}
            control_size = CONTROL_SIZE if internet else 0
        self.slots = slots
        self.slot_size = slot_size
        self.name_size: int = {
            AF_INET: SOCKADDR_IN_SIZE,
            AF_INET6: SOCKADDR_IN6_SIZE,
        }.get(family, SOCKADDR_UN_SIZE)
        self.control_size = control_size
        if memory is not None:
            self.memory = memory
        self.filling: array[int] = array("I", bytes(16))
        # The C core keeps its pointers here.
        self.exports: Any = None

    def __getattr__(self, name: str) -> Any:
        if name not in Arena.__annotations__:
            raise AttributeError(name)
        self._make()
        return getattr(self, name)

    def _make(self) -> None:
        slots = self.slots
        if "memory" not in vars(self):
            self.memory = _private_memory(slots * self.slot_size)
        self.names = bytearray(slots * self.name_size)
        self.control = (
            _private_memory(slots * self.control_size)
            if self.control_size
            else bytearray()
        )
        for column in (
            "sizes",
            "flags",
            "name_sizes",
            "control_sizes",
            "segment_sizes",
        ):
            setattr(self, column, array("I", bytes(4 * slots)))

    @property
    def left(self) -> int:
        """The messages, not the datagrams, that are not used up."""
        return self.filling[MESSAGES] - self.filling[NEXT]

    def give_pages_back(self) -> None:
        """Let the system have the memory, until something is received."""
        for memory in (self.memory, self.control):
            # Not Windows' mappings, nor an empty bytearray. Of a private one
            # Linux drops the pages at once (madvise(2)).
            if _MADV_DONTNEED is not None and isinstance(memory, mmap.mmap):
                memory.madvise(_MADV_DONTNEED)

    def name(self, slot: int) -> bytes:
        """Return the sockaddr of the sender of a message."""
        start = slot * self.name_size
        # The kernel reports the size before it was cut (recvmsg(2)).
        size = min(self.name_sizes[slot], self.name_size)
        return bytes(self.names[start : start + size])

    def is_truncated(self, slot: int) -> bool:
        """Whether the end of a message is lost."""
        # Not MSG_CTRUNC: where the control messages did not fit, the datagram
        # is whole. Nor is the segment size missing then: the kernel puts it
        # behind what all sockets have, which fits, and before what IP has
        # (udp_recvmsg in net/ipv4/udp.c).
        return self.sizes[slot] > self.slot_size or bool(
            self.flags[slot] & MSG_TRUNC
        )

    def note_filled(self, count: int) -> None:
        """Begin ``filling`` anew, with slots 0 to ``count - 1``."""
        datagrams = sum(
            -(-size // segment_size) if size and segment_size else 1
            for size, segment_size in zip(
                self.sizes[:count], self.segment_sizes, strict=False
            )
        )
        self.filling[:] = array("I", (count, datagrams, 0, 0))

    def describe(
        self,
        slot: int,
        size: int,
        flags: int,
        name: bytes,
        control: bytes,
        segment_size: int = 0,
    ) -> None:
        """Fill the columns of a slot whose memory has been filled."""
        control = control[: self.control_size]
        at_name, at_control = slot * self.name_size, slot * self.control_size
        self.names[at_name : at_name + len(name)] = name
        self.control[at_control : at_control + len(control)] = control
        self.sizes[slot] = size
        self.flags[slot] = flags
        self.name_sizes[slot] = len(name)
        self.control_sizes[slot] = len(control)
        self.segment_sizes[slot] = segment_size


def slot_size_error(slot_size: int, room: int) -> ValueError:
    """Return what refuses slots of a size, in a buffer of ``room`` bytes."""
    return ValueError(f"slot_size must be in 1..{room}, not {slot_size}")


_MADV_DONTNEED: int | None = getattr(mmap, "MADV_DONTNEED", None)


def _private_memory(size: int) -> mmap.mmap:
    """Return zeroed memory whose slices are bytes, and not copies first."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Shared is the default: after a fork two processes would receive into
    # the same slots.
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
