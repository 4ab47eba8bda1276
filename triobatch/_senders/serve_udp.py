"""Serving UDP: batches in, batches out."""

from __future__ import annotations

import errno
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import trio
from trio import socket as tsocket

from triobatch._datagrams.socket import DatagramSocket
from triobatch._senders.open import open_batch_sender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from triobatch._senders.datagram_sender import DatagramBatchSender
    from triobatch._wire.addresses import Address

Handler: TypeAlias = (
    "Callable[[list[tuple[bytes, Address]], DatagramBatchSender], "
    "Awaitable[object]]"
)


async def serve_udp(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    max_datagrams: int = 64,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[
        list[DatagramSocket]
    ] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve UDP for ever, in the conventions of ``trio.serve_tcp``.

    ::

        async def echo(datagrams, sender):
            await sender.send_batch(datagrams)

        await triobatch.serve_udp(echo, 7)

    Args:
      handler: Called with a list of ``(payload, address)`` pairs, and with
        the ``DatagramBatchSender`` of the socket that they came to, in a task
        of its own for each batch: whatever has arrived makes one, so batches
        grow with load. An exception that it lets out ends the server.
      port: 0 to 65535; 0 lets the kernel choose.
      host: An address or a name; None for all interfaces.
      max_datagrams: How many datagrams a batch has at most.
      handler_nursery: Where the handlers run; a nursery of the server's own
        by default. Those that outlive the server cannot answer any more.
      task_status: For ``await nursery.start(serve_udp, ...)``, which returns
        the sockets once they are bound.

    Raises:
      OSError: an address could not be bound.

    Nothing holds back a peer that sends without end. A handler that waits for
    something else should count how many wait already, and drop its batch when
    they are too many.
    """
    async with AsyncExitStack() as stack:
        sockets = await _bound_sockets(port, host, stack)
        async with trio.open_nursery() as nursery:
            for sock in sockets:
                nursery.start_soon(
                    _serve,
                    handler,
                    sock,
                    max_datagrams,
                    handler_nursery or nursery,
                )
            task_status.started(sockets)
    raise AssertionError("serve_udp should never complete")


async def _serve(
    handler: Handler,
    sock: DatagramSocket,
    max_datagrams: int,
    handlers: trio.Nursery,
) -> None:
    async with open_batch_sender(sock) as sender:
        while True:
            datagrams = await sock.receive_batch(max_datagrams)
            handlers.start_soon(handler, datagrams, sender)


async def _bound_sockets(
    port: int, host: str | bytes | None, stack: AsyncExitStack
) -> list[DatagramSocket]:
    """Bind a socket for each address that ``host`` stands for."""
    found = await tsocket.getaddrinfo(
        host, port, type=tsocket.SOCK_DGRAM, flags=tsocket.AI_PASSIVE
    )
    sockets: list[DatagramSocket] = []
    unsupported: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            sock = tsocket.socket(family, kind, protocol)
        except OSError as error:
            # As trio.open_tcp_listeners does: a host without IPv6, say, may
            # still have the addresses in its files.
            if error.errno != errno.EAFNOSUPPORT:
                raise
            unsupported = error
            continue
        stack.enter_context(sock)
        if family == tsocket.AF_INET6:
            # Or it would take the IPv4 socket's port too.
            sock.setsockopt(tsocket.IPPROTO_IPV6, tsocket.IPV6_V6ONLY, 1)
        await sock.bind(address)
        sockets.append(DatagramSocket(sock))
    if not sockets and unsupported is not None:
        raise unsupported
    return sockets
