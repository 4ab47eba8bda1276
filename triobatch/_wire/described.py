"""Who an object says it is: its addresses, its descriptor, what is left in it.

A repr is asked for where things went wrong: of what is closed, of what its
constructor has refused, of a socket that somebody else has made. So none of
them raises.
"""

from __future__ import annotations

import errno
from functools import wraps
from typing import TYPE_CHECKING, Any

from triobatch._wire.addresses import own_address

if TYPE_CHECKING:
    from collections.abc import Callable


def described(say: Callable[[Any], str]) -> Callable[[Any], str]:
    """Make a ``__repr__`` of a method that says what an object is."""

    @wraps(say)
    def describe(self: object) -> str:
        try:
            what = say(self)
        except Exception:  # noqa: BLE001 - whatever the reason is
            what = "not usable"
        # A private subclass is nothing that a user knows.
        names = [cls.__name__ for cls in type(self).__mro__]
        name = next(name for name in names if not name.startswith("_"))
        return f"<{name}: {what}>"

    return describe


def errno_text(number: int | None) -> str:
    """Return the name of an errno, as the manual pages have it."""
    return errno.errorcode.get(number or 0, str(number))


def address_text(address: object) -> str:
    """Return an address as it is written: ``host:port``, or a path."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(address, bytes) and address.startswith(b"\0"):
        # As ss(8) writes an abstract name.
        address = "@" + address[1:].decode("ascii", "backslashreplace")
    if not address:
        return "unnamed"
    text = address if isinstance(address, str) else repr(address)
    return text if text.isprintable() else ascii(text)


def socket_text(socket: Any) -> str:
    """Return whose socket it is: ``local -> remote, descriptor``."""
    descriptor = socket.fileno()
    if descriptor == -1:
        return "closed"
    name = address_text(own_address(socket))
    try:
        name = f"{name} -> {address_text(socket.getpeername())}"
    except OSError:
        # Not connected, or no longer.
        pass
    return f"{name}, descriptor {descriptor}"


@described
def socket_repr(resource: Any) -> str:
    """For what has its socket in ``socket``."""
    return socket_text(resource.socket)
