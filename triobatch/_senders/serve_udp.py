"""Serving UDP: batches in, batches out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import NoReturn, TypeAlias, TypeVar

import trio
from trio import socket as tsocket
from trio.lowlevel import enable_ki_protection

from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.open import check_buffer_size, configure
from triobatch._datagrams.socket import DatagramSocket
from triobatch._datagrams.socket_receives import check_limit
from triobatch._names import bound_sockets, check_host
from triobatch._queues.datagrams import ReceivedDatagram
from triobatch._queues.views import list_of
from triobatch._senders.asked import AskedReceiver, ask
from triobatch._senders.datagram_sender import DatagramBatchSender
from triobatch._senders.open import open_batch_sender
from triobatch._wire.addresses import check_port
from triobatch._wire.arguments import check_callable, check_nursery

# What is called with the datagrams that have arrived at one socket.
Handler: TypeAlias = Callable[
    [list[ReceivedDatagram], DatagramBatchSender], Awaitable[object]
]

Socket = TypeVar("Socket", bound=AbstractDatagramSocket)


# Or Ctrl-C would leave open what comes behind the socket that it came in. It
# comes at the checkpoints; the handlers themselves can be interrupted.
@enable_ki_protection
async def serve_udp(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    reuse_port: bool = False,
    receive_buffer_size: int | None = None,
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
      reuse_port: Let several processes share the port: the kernel spreads the
        peers over them (SO_REUSEPORT, socket(7)).
      receive_buffer_size: Bytes that the kernel keeps for each socket; see
        ``open_udp_socket``.
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

    Cancelling it closes the sockets, and cancels the handlers that are in its
    own nursery.

    Nothing holds back a peer that sends without end. A handler that waits for
    something else should count how many wait already, and drop its batch when
    they are too many.

    While datagrams come faster than they are answered, up to 640 of each
    socket, or 1 MiB, are taken over from the kernel, whose buffer holds less
    than its size says.
    """
    _check(handler, handler_nursery)
    port = check_port(port)
    check_host(host)
    receive_buffer_size = check_buffer_size(receive_buffer_size)
    max_datagrams = check_limit(max_datagrams)

    def prepare(sock: trio.socket.SocketType) -> None:
        configure(sock, reuse_port, receive_buffer_size)
        ask(sock)

    sockets = await bound_sockets(
        host, port, tsocket.SOCK_DGRAM, configure=prepare
    )
    await serve_datagrams(
        handler,
        [DatagramSocket(sock) for sock in sockets],
        max_datagrams=max_datagrams,
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


@enable_ki_protection
async def serve_datagrams(
    handler: Handler,
    sockets: Iterable[Socket],
    *,
    max_datagrams: int = 64,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[Socket]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve on sockets for ever, in the conventions of ``serve_listeners``.

    For sockets that systemd has opened, that are in a multicast group, or
    that are Unix sockets. ::

        sock = await triobatch.open_unix_datagram_socket("/run/log.sock")
        await triobatch.serve_datagrams(handler, [sock])

    A datagram of more than 64 KiB, which only a Unix peer can send, is counted
    (``statistics().truncated``), and dropped.

    Args:
      handler: See ``serve_udp``.
      sockets: ``DatagramSocket`` objects, or any other
        ``AbstractDatagramSocket``; they are closed when this ends, in any way.
      max_datagrams: How many datagrams a batch has at most.
      handler_nursery: Where the handlers run; a nursery of the server's own
        by default. Those that outlive the server cannot answer any more.
      task_status: For ``await nursery.start(serve_datagrams, ...)``, which
        returns a list of the sockets once they are being served. They may be
        sent on beside it: such a call and the handlers' answers take turns.

    Raises:
      OSError: one of the sockets has failed.
      TypeError: one of them is no such socket; none was closed.
      ValueError: there is none, or ``max_datagrams`` is not positive.
      RuntimeError: a handler has cancelled the server's own nursery.
      trio.ClosedResourceError: one of them was closed.
    """
    _check(handler, handler_nursery)
    sockets = _checked(sockets)
    max_datagrams = check_limit(max_datagrams)
    async with AsyncExitStack() as stack:
        for sock in sockets:
            stack.push_async_callback(_close, sock)
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
    # A handler has cancelled the nursery that it was started in.
    raise RuntimeError("the server's own nursery was cancelled")


@enable_ki_protection
async def _close(sock: AbstractDatagramSocket) -> None:
    # Or a late cancellation would replace what has ended the server.
    with trio.CancelScope(shield=True):
        await sock.aclose()


def _check(handler: object, handler_nursery: object) -> None:
    check_callable(handler, "handler")
    check_nursery(handler_nursery, "handler_nursery")


def _checked(sockets: Iterable[Socket]) -> list[Socket]:
    sockets = list_of(sockets, "sockets", "DatagramSockets")
    for sock in sockets:
        if not isinstance(sock, AbstractDatagramSocket):
            raise TypeError(
                "sockets must be DatagramSockets, "
                f"not {type(sock).__name__}: {sock!r}"
            )
    if not sockets:
        raise ValueError("sockets must not be empty")
    return sockets


async def _serve(
    handler: Handler,
    sock: AbstractDatagramSocket,
    max_datagrams: int,
    handlers: trio.Nursery,
) -> None:
    async with open_batch_sender(sock) as sender:
        sender.errors = "ignore"
        receiver = AskedReceiver(sock, sender, max_datagrams)
        while True:
            for datagrams, answering in await receiver.receive():
                handlers.start_soon(handler, datagrams, answering)
