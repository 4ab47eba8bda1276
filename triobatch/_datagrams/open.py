"""Opening a UDP socket: names are looked up here, and nowhere else."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, TypeAlias, cast

import trio

from triobatch._datagrams.socket import DatagramSocket

if TYPE_CHECKING:
    from triobatch._wire.addresses import Address

_Sockaddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
_Local: TypeAlias = tuple[str | None, int] | tuple[str, int, int, int]
_Found: TypeAlias = list[tuple[int, _Sockaddr]] | None
_Attempt: TypeAlias = tuple[int, _Sockaddr | None, _Sockaddr | None]


async def open_udp_socket(
    *,
    local_address: _Local | None = None,
    remote_address: Address = None,
    family: int | None = None,
    reuse_port: bool = False,
    receive_buffer_size: int | None = None,
    error_queue: bool = False,
) -> DatagramSocket:
    """Open a UDP socket, bound or connected or both.

    Args:
      local_address: ``(host, port)`` to bind to, the host a name, a numeric
        address or ``None`` for every one: every IPv4 address, unless
        ``family`` says otherwise or only IPv6 can be used. Port 0 is any
        free port. Without it the kernel binds at the first send.
      remote_address: ``(host, port)`` to connect to: the peer for datagrams
        without an address, and the only one to receive from. An address as
        received is one, too; the scope of IPv6 is kept, here and above.
      family: ``AF_INET`` or ``AF_INET6``. Without it, that of the first
        address found that can be used; ``AF_INET`` if there is neither.
      reuse_port: Let several sockets, one a process, share the local port;
        the kernel spreads the peers over them (SO_REUSEPORT).
      receive_buffer_size: Bytes that the kernel keeps for the socket; it
        takes net.core.rmem_max of them at most, and doubles the number for
        its own needs (SO_RCVBUF, socket(7)).
      error_queue: See ``DatagramSocket``.

    Raises:
      TypeError: an address is no ``(host, port)`` tuple.
      ValueError: ``family`` is another one.
      OSError: a name was not found (``socket.gaierror``), or the last of the
        addresses found could not be used.

    If it is cancelled, nothing stays open.
    """
    if family not in {None, socket.AF_INET, socket.AF_INET6}:
        raise ValueError(f"family must be AF_INET or AF_INET6, not {family}")
    await trio.lowlevel.checkpoint()
    wanted = family or socket.AF_UNSPEC
    attempts: list[_Attempt] = [(family or socket.AF_INET, None, None)]
    if local_address is not None or remote_address is not None:
        attempts = _attempts(
            await _look_up(local_address, wanted, socket.AI_PASSIVE),
            await _look_up(remote_address, wanted, 0),
        )
    failure = OSError(
        errno.EAFNOSUPPORT,
        f"{local_address!r} and {remote_address!r} have no family in common",
    )
    for found, local, remote in attempts:
        sock = trio.socket.socket(found, socket.SOCK_DGRAM)
        try:
            _configure(sock, reuse_port, receive_buffer_size)
            if local is not None:
                await sock.bind(local)
            if remote is not None:
                await sock.connect(remote)
            return DatagramSocket(sock, error_queue=error_queue)
        except OSError as exc:
            sock.close()
            failure = exc
        except BaseException:
            sock.close()
            raise
    raise failure


async def _look_up(
    address: Address | _Local, family: int, flags: int
) -> _Found:
    if address is None:
        return None
    if not isinstance(address, tuple) or len(address) not in {2, 4}:
        raise TypeError(f"address must be (host, port), not {address!r}")
    host, port, *rest = address
    found = await trio.socket.getaddrinfo(
        host, port, family, socket.SOCK_DGRAM, flags=flags
    )
    return [
        (int(row[0]), cast("_Sockaddr", (*row[4][:2], *(rest or row[4][2:]))))
        for row in found
    ]


def _attempts(local: _Found, remote: _Found) -> list[_Attempt]:
    """Return the pairs of one family, in the order of the look-ups."""
    if remote is None:
        return [(family, address, None) for family, address in local or []]
    if local is None:
        return [(family, None, address) for family, address in remote]
    return [
        (family, near, far)
        for family, far in remote
        for own_family, near in local
        if family == own_family
    ]


def _configure(
    sock: trio.socket.SocketType,
    reuse_port: bool,
    receive_buffer_size: int | None,
) -> None:
    if reuse_port:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise OSError(errno.ENOPROTOOPT, "this system has no SO_REUSEPORT")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if receive_buffer_size is not None:
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_size
        )
