"""What a host and a port may be, wherever they are taken to be looked up.

``getaddrinfo`` takes a port modulo 65536, a service's name, None for 0 and
True for 1, and lets the errors of its codecs out. Here they are refused,
before anything is done, with the value.
"""

from __future__ import annotations

import operator
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PORT = 65535


def check_port(port: object, name: str = "port") -> int:
    """Return ``port`` as an int.

    Args:
      port: 0 to 65535.
      name: What the caller calls it, for the errors.

    Raises:
      TypeError: it is no integer; True and False are none.
      ValueError: it is out of range.
    """
    if isinstance(port, bool) or not hasattr(port, "__index__"):
        raise TypeError(
            f"{name} must be an int, not {type(port).__name__}: {port!r}"
        )
    number = operator.index(port)
    if not 0 <= number <= MAX_PORT:
        raise ValueError(
            f"{name} must be between 0 and {MAX_PORT}, not {number}"
        )
    return number


def check_host(host: object, name: str = "host") -> None:
    """Raise ``TypeError`` if ``host`` is no name, no address and not None."""
    if host is not None and not isinstance(host, str | bytes):
        raise TypeError(
            f"{name} must be a str, bytes or None, "
            f"not {type(host).__name__}: {host!r}"
        )


@contextmanager
def looking_up(host: object) -> Iterator[None]:
    """Raise ``gaierror`` for what is no name, as for a name not found.

    Otherwise the errors of the codecs for international names show through.
    """
    try:
        if isinstance(host, str) and "\0" in host:
            raise ValueError("a zero byte")
        yield
    except (UnicodeError, ValueError) as error:
        raise socket.gaierror(
            socket.EAI_NONAME, f"{host!r} is not a name: {error}"
        ) from error
