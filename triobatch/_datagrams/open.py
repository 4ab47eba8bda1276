"""Opening a UDP socket: names are looked up here, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from array import array
from typing import TypeAlias, cast

import trio

from triobatch._datagrams.socket import DatagramSocket
from triobatch._datagrams.statistics import kernel_drops
from triobatch._names import check_host, looking_up
from triobatch._wire.addresses import Address, check_port, check_scope
from triobatch._wire.arguments import at_least
from triobatch._wire.peer_filter import peer_filter

_Sockaddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
# What another socket says of itself is one, for a type checker too.
LocalAddress: TypeAlias = "tuple[str | None, int] | Address"
_Found: TypeAlias = list[tuple[int, _Sockaddr]] | None
_Attempt: TypeAlias = tuple[int, _Sockaddr | None, _Sockaddr | None]


async def open_udp_socket(
    *,
    local_address: LocalAddress = None,
    remote_address: Address = None,
    family: int | None = None,
    reuse_port: bool = False,
    receive_buffer_size: int | None = None,
    error_queue: bool = False,
    allow_broadcast: bool = False,
) -> DatagramSocket:
    """Open a UDP socket, bound or connected or both.

    Args:
      local_address: ``(host, port)`` to bind to, the host a name, a numeric
        address or ``None`` or ``""`` for every one: every IPv4 address, unless
        ``family`` says otherwise or only IPv6 can be used. Port 0 is any
        free port. Without it the kernel binds at the first send; on Windows
        the socket is bound at once, or it could not receive before.
      remote_address: ``(host, port)`` to connect to: the peer for datagrams
        without an address, and the only one to receive from, from the first
        moment on. An address as
        received is one, too; the scope of IPv6 is kept, here and above.
      family: ``AF_INET`` or ``AF_INET6``. Without it, that of the first
        address found that can be used; ``AF_INET`` if there is neither.
      reuse_port: Let several sockets, one a process, share the local port;
        the kernel spreads the peers over them (SO_REUSEPORT).
      receive_buffer_size: Bytes that the kernel keeps for the socket; it
        takes net.core.rmem_max of them at most, and doubles the number for
        its own needs (SO_RCVBUF, socket(7)).
      error_queue: See ``DatagramSocket``.
      allow_broadcast: Let datagrams go to broadcast addresses, which are
        refused with EACCES otherwise (SO_BROADCAST, socket(7)).

    Raises:
      TypeError: an address is no ``(host, port)`` tuple, or its port no int.
      ValueError: ``family`` is another one, or a port not in 0..65535.
      OSError: a name was not found (``socket.gaierror``), or the last of the
        addresses found could not be used.

    If it is cancelled, nothing stays open.
    """
    if family not in (None, socket.AF_INET, socket.AF_INET6):
        raise ValueError(f"family must be AF_INET or AF_INET6, not {family!r}")
    receive_buffer_size = check_buffer_size(receive_buffer_size)
    _check(local_address, "local_address")
    _check(remote_address, "remote_address")
    await trio.lowlevel.checkpoint()
    wanted = family or socket.AF_UNSPEC
    attempts: list[_Attempt] = [(family or socket.AF_INET, None, None)]
    if local_address is not None or remote_address is not None:
        attempts = _attempts(
            await _look_up(local_address, wanted, socket.AI_PASSIVE),
            await _look_up(remote_address, wanted, 0),
        )
        # From here on nothing can be cancelled.
        await trio.lowlevel.checkpoint_if_cancelled()
    failure = OSError(
        errno.EAFNOSUPPORT,
        f"{local_address!r} and {remote_address!r} have no family in common",
    )
    for found, local, remote in attempts:
        sock = socket.socket(found, socket.SOCK_DGRAM)
        try:
            configure(sock, reuse_port, receive_buffer_size)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            await _bind_and_connect(sock, local, remote)
            opened = DatagramSocket(
                trio.socket.from_stdlib_socket(sock), error_queue=error_queue
            )
            # What a filter has kept out is counted with what has no room.
            opened._drops_before = kernel_drops(sock.getsockopt) or 0
            return opened
        except OSError as exc:
            sock.close()
            failure = exc
        except BaseException:
            sock.close()
            raise
    raise failure


def _check(address: object, name: str) -> None:
    if address is None:
        return
    if not isinstance(address, tuple) or len(address) not in {2, 4}:
        raise TypeError(
            f"{name} must be a (host, port) tuple, "
            f"not {type(address).__name__}: {address!r}"
        )
    check_host(address[0], f"the host of {name}")
    port = check_port(address[1], f"the port of {name}")
    check_scope(address, name)
    if name == "remote_address" and port == 0:
        # connect(2) says it is done, and is not.
        raise ValueError(f"the port of {name} must be in 1..65535, not 0")


async def _look_up(address: LocalAddress, family: int, flags: int) -> _Found:
    if address is None:
        return None
    host, port, *rest = cast("_Sockaddr", address)
    with looking_up(host):
        # "" is every interface, as for bind() of the standard library.
        found = await trio.socket.getaddrinfo(
            host or None,
            check_port(port),
            family,
            socket.SOCK_DGRAM,
            flags=flags,
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


# What an unconnected socket's buffer may hold, of the smallest datagrams.
_MAX_DISCARDED = 2**16

_SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)
_SO_DETACH_FILTER = getattr(socket, "SO_DETACH_FILTER", 27)


async def _bind_and_connect(
    sock: socket.socket, local: _Sockaddr | None, remote: _Sockaddr | None
) -> None:
    """Bind, connect, and hear nobody but the peer from the first moment.

    Between bind(2) and connect(2) a socket takes what anybody sends it: under
    a flood over loopback 1781 of 2000 had strangers' datagrams. So a filter
    keeps them out, and stays for a pass of the scheduler: when connect(2)
    returns, one may be on its way to the socket that another processor found
    before (1 of 2000 on a busy machine). In a SO_REUSEPORT group the kernel
    may pick the socket for another's peer before it is connected, and that
    datagram is dropped.
    """
    sock.setblocking(False)
    if local is None or remote is None:
        if local is not None:
            sock.bind(local)
        if remote is not None:
            sock.connect(remote)
        elif local is None and sys.platform == "win32":
            # There recvfrom(2) fails for a socket without a name (WSAEINVAL).
            sock.bind(("", 0))
        return
    filtered = _hear_only(sock, remote)
    sock.bind(local)
    sock.connect(remote)
    if filtered:
        await trio.lowlevel.cancel_shielded_checkpoint()
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    else:
        _discard(sock)


def _hear_only(sock: socket.socket, peer: _Sockaddr) -> bool:
    if sys.platform != "linux":
        return False
    instructions = array("B", peer_filter(peer))
    # struct sock_fprog: how many, of 8 bytes each, and where.
    at, size = instructions.buffer_info()
    program = struct.pack("HP", size // 8, at)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        # A sandbox that forbids filters (seccomp(2)).
        return False
    return True


def _discard(sock: socket.socket) -> None:
    """Drop what has come until now, whoever sent it."""
    with contextlib.suppress(OSError):
        for _ in range(_MAX_DISCARDED):
            sock.recv(1)


def check_buffer_size(size: int | None) -> int | None:
    """Return it; raise TypeError or ValueError if it is no size, nor None."""
    if size is None:
        return None
    return at_least(0, size, "receive_buffer_size")


def configure(
    sock: socket.socket | trio.socket.SocketType,
    reuse_port: bool,
    receive_buffer_size: int | None,
) -> None:
    """Set what has to be set before a socket is bound."""
    if reuse_port:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise OSError(errno.ENOPROTOOPT, "this system has no SO_REUSEPORT")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if receive_buffer_size is not None:
        sock.setsockopt(
            socket.SOL_SOCKET,
            socket.SO_RCVBUF,
            # The system's limit is below; the option is an int.
            min(receive_buffer_size, 2**31 - 1),
        )
