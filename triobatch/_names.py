"""Hosts and ports: what they may be, and binding to all that one stands for.

``getaddrinfo`` takes a port modulo 65536, a service's name, None for 0 and
True for 1, and lets the errors of its codecs out. Here they are refused,
before anything is done, with the value.
"""

from __future__ import annotations

import errno
import operator
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.socket import SocketType

# Trio's own, for open_tcp_listeners: as many as the system allows (Linux cuts
# it to net.core.somaxconn).
_BACKLOG = 0xFFFF


def check_host(host: object, name: str = "host") -> None:
    """Raise ``TypeError`` if ``host`` is no name, no address and not None."""
    if host is not None and not isinstance(host, str | bytes):
        raise TypeError(
            f"{name} must be a str, bytes or None, "
            f"not {type(host).__name__}: {host!r}"
        )


def check_backlog(backlog: int | None) -> int:
    """Return how many connections may wait, as many as there can be for None.

    Raises:
      TypeError: it is no integer; True and False are none.
    """
    if backlog is None:
        return _BACKLOG
    if isinstance(backlog, bool) or not hasattr(backlog, "__index__"):
        raise TypeError(f"backlog must be an int or None, not {backlog!r}")
    return max(0, min(operator.index(backlog), _BACKLOG))


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


async def bound_sockets(
    host: str | bytes | None,
    port: int,
    kind: int,
    configure: Callable[[SocketType], object] | None = None,
) -> list[SocketType]:
    """Bind a socket to each address that ``host`` stands for.

    To as many of them as can be: a name may stand for an address that this
    host lacks (``::1`` of localhost, where there is no IPv6), or twice for the
    same one, as the hosts files that Docker writes have it.

    Args:
      host: A name or an address; None or ``""`` for every interface.
      port: 0 to 65535.
      kind: ``SOCK_STREAM`` or ``SOCK_DGRAM``.
      configure: Called with each socket before it is bound.

    Raises:
      OSError: an address could not be bound, or there was none that could;
        then nothing is left open.
    """
    with looking_up(host):
        found = await trio.socket.getaddrinfo(
            host or None, port, type=kind, flags=socket.AI_PASSIVE
        )
    sockets: list[SocketType] = []
    lacking: OSError | None = None
    with ExitStack() as stack:
        for family, protocol, address in dict.fromkeys(
            (row[0], row[2], row[4]) for row in found
        ):
            try:
                sock = trio.socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                lacking = error
                continue
            stack.enter_context(sock)
            try:
                if family == socket.AF_INET6:
                    # Or it would take the IPv4 socket's port too.
                    sock.setsockopt(
                        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True
                    )
                if configure is not None:
                    configure(sock)
                await sock.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                lacking = error
                sock.close()
            else:
                sockets.append(sock)
        if sockets:
            stack.pop_all()
    if lacking is not None and not sockets:
        raise lacking
    return sockets
