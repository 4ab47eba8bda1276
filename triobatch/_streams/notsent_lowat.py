"""TCP_NOTSENT_LOWAT: short queues between batches, long ones within.

Trio's ``SocketStream`` sets TCP_NOTSENT_LOWAT to 16 KiB, so that little waits
in the kernel that could still be reordered or taken back
(https://github.com/python-trio/trio/issues/72). But Linux applies the value to
``send`` itself, not only to readiness (tcp(7), sk_stream_memory_free() in
include/net/sock.h), so a large batch is cut into many writes, each with a
wait: 16 x 64 KiB over loopback took 3.8-5.4 system calls and 315-404 us with
16 KiB, 2.6-7.7 calls and 313-500 us with 128 KiB, and 1 call and 228-261 us
with 1 MiB, level with Go's net.Buffers (225-267) and C (266-361).

A batch that is being sent is decided: nothing in it will be reordered. So the
value is lifted for a batch larger than it, in proportion: what waits stays
within about two such batches. It is put back before what Trio wants of it can
matter again: before a much smaller batch, which it then holds back as Trio's
stream would be, and before ``wait_send_all_might_not_block``. It is neither
lifted before the kernel has refused part of such a batch, nor put back after
each, because the option calls are not cheap: they took 8 us of 100 for
64 x 4 KiB, most of it in sk_write_space(). A value that the user set is left
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio import socket as tsocket

if TYPE_CHECKING:
    from trio.socket import SocketType

# What trio.SocketStream sets.
DEFAULT: Final = 2**14

# The option is an int.
_MOST: Final = 2**31 - 1

_OPTION: Final[int | None] = getattr(tsocket, "TCP_NOTSENT_LOWAT", None)


def set_default(socket: SocketType) -> bool:
    """Set Trio's default; return whether the socket has the option."""
    if _OPTION is None:
        return False
    try:
        socket.setsockopt(tsocket.IPPROTO_TCP, _OPTION, DEFAULT)
    except OSError:
        return False
    return True


def lifted_for(size: int) -> int:
    """Return the value for a batch of ``size`` bytes.

    Two batches and the default may wait: the next is there when the last one
    leaves, and what waits stays in proportion to what is sent at a time.
    """
    return min(2 * size + DEFAULT, _MOST)


def change(socket: SocketType, before: int, after: int) -> bool:
    """Set the value, if it is ``before`` and not the user's own.

    Returns:
      Whether it was set.
    """
    assert _OPTION is not None
    try:
        if socket.getsockopt(tsocket.IPPROTO_TCP, _OPTION) != before:
            return False
        socket.setsockopt(tsocket.IPPROTO_TCP, _OPTION, after)
    except OSError:
        # The socket is closed; sending will say so.
        return False
    return True


def is_meant(level: int, option: int) -> bool:
    """Return whether these name TCP_NOTSENT_LOWAT."""
    return level == tsocket.IPPROTO_TCP and option == _OPTION
