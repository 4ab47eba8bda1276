"""Serving UDP: batches in, batches out."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import trio
from trio import socket as tsocket

from triobatch._datagrams.socket import DatagramSocket
from triobatch._names import bound_sockets, check_host
from triobatch._senders.asked import AskedReceiver, ask
from triobatch._senders.open import open_batch_sender
from triobatch._wire.addresses import check_port

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
        grow with load. On all interfaces those that asked different addresses
        are batches of their own, and each has a sender that answers from the
        address asked (``sender.metadata`` tells it): keep it with the address
        of a peer. Answers that the kernel refuses are counted, and
        dropped (``sender.errors`` is ``"ignore"``): who asks decides about
        the address, and not whether the server lives. An exception that the
        handler lets out ends the server.
      port: 0 to 65535; 0 lets the kernel choose.
      host: An address or a name, or None or ``""`` for all interfaces.
      max_datagrams: How many datagrams a batch has at most.
      handler_nursery: Where the handlers run; a nursery of the server's own
        by default. Those that outlive the server cannot answer any more.
      task_status: For ``await nursery.start(serve_udp, ...)``, which returns
        the sockets once they are bound. They may be sent on beside it: such
        a call and the handlers' answers take turns.

    Raises:
      OSError: an address could not be bound, or none of those that ``host``
        stands for is this host's.
      TypeError, ValueError: ``port`` is no integer, or not in 0..65535.

    Nothing holds back a peer that sends without end. A handler that waits for
    something else should count how many wait already, and drop its batch when
    they are too many.
    """
    check_port(port)
    check_host(host)
    async with AsyncExitStack() as stack:
        sockets = [
            DatagramSocket(stack.enter_context(sock))
            for sock in await bound_sockets(
                host, port, tsocket.SOCK_DGRAM, configure=ask
            )
        ]
        for sock in sockets:
            # What it counts is kept: after closing, the kernel tells nothing.
            stack.callback(sock.statistics)
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
        sender.errors = "ignore"
        receiver = AskedReceiver(sock, sender, max_datagrams)
        while True:
            for datagrams, answering in await receiver.receive():
                handlers.start_soon(handler, datagrams, answering)
