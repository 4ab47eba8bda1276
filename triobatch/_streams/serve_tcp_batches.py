"""Serving TCP: all that has arrived in, all answers out."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias

import trio
from trio import socket as tsocket
from trio.lowlevel import enable_ki_protection

from triobatch._core import calls
from triobatch._streams.group import StreamGroup, open_stream_group
from triobatch._streams.group_receiving import TURN
from triobatch._streams.listener import BatchSocketListener, open_tcp_listeners
from triobatch._streams.stream import BatchSocketStream
from triobatch._wire.arguments import at_least, check_callable

# What is called with all that has arrived.
BatchHandler: TypeAlias = Callable[
    [StreamGroup, list[tuple[BatchSocketStream, bytes]]], Awaitable[object]
]

# Connections that are accepted before the others have their turn.
_ACCEPTED_A_TURN = 64

# As trio.serve_listeners has it, its logger and its pause in seconds too; and
# what epoll_ctl(2) says where no more can be watched.
_CAPACITY_ERRNOS = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC)
)
_PAUSE = 0.1
_LOGGER = logging.getLogger("trio.serve_listeners")


async def serve_tcp_batches(
    handler: BatchHandler,
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    max_streams: int = 128,
    receive_size: int = 16384,
    max_queued: int = 2**20,
    task_status: trio.TaskStatus[
        list[BatchSocketListener]
    ] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve TCP connections for ever, as one stream group.

    ::

        async def echo(group, batch):
            group.send_batch_nowait(batch)

        await triobatch.serve_tcp_batches(echo, 7)

    Args:
      handler: Called as ``await handler(group, batch)`` for each batch that
        ``StreamGroup.receive_batch`` returns. While it awaits, no connection
        is served: what takes time goes to a nursery of the handler's own, and
        answers with ``group.send_batch_nowait`` when it is done. An exception
        that it lets out ends the server.
      port: 0 to 65535; 0 lets the kernel choose.
      host: An address or a name; None for all interfaces.
      backlog: How many connections may wait to be accepted.
      max_streams: At most this many streams in a batch.
      receive_size: Bytes, at most this many from one stream in a batch.
      max_queued: Bytes, as for ``open_stream_group``.
      task_status: For ``await nursery.start(serve_tcp_batches, ...)``, which
        returns the listeners once they listen.

    Raises:
      OSError: an address could not be bound.
      TypeError: an argument is not an integer.
      ValueError: it is too small.

    After its ``b""`` a stream is closed, once what is queued on it has left,
    unless the handler has removed it from the group. When the server is
    cancelled, or its handler raises, all are closed.

    From one batch to the next it goes on for half a millisecond before the
    other tasks have their turn, and can be cancelled before each.

    It pays for handlers that answer without awaiting. With a task for each
    request ``serve_tcp`` is no slower, and simpler.
    """
    check_callable(handler, "handler")
    max_streams = at_least(1, max_streams, "max_streams")
    opening = open_stream_group(
        receive_size=receive_size, max_queued=max_queued
    )
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog)
    try:
        async with (
            opening as group,
            trio.open_nursery() as nursery,
        ):
            for listener in listeners:
                nursery.start_soon(_accept, listener, group)
            task_status.started(listeners.copy())
            receives = group._receives
            while True:
                batch = await receives.next(max_streams, TURN)
                # Before the handler has the list, which it may consume.
                ended = [stream for stream, data in batch if not data]
                await handler(group, batch)
                for stream in ended:
                    group._close_when_sent(stream)
    finally:
        for listener in listeners:
            listener.socket.close()


# Ctrl-C between accepting and adding would leave a connection open.
@enable_ki_protection
async def _accept(listener: BatchSocketListener, group: StreamGroup) -> None:
    """Take new connections into the group, many at a time."""
    while True:
        try:
            await _accept_some(listener, group)
        except OSError as error:
            if error.errno not in _CAPACITY_ERRNOS:
                raise
            _LOGGER.error(
                "accept returned %s (%s); retrying in %s seconds",
                errno.errorcode[error.errno],
                os.strerror(error.errno),
                _PAUSE,
                exc_info=True,
            )
            await trio.sleep(_PAUSE)


# As above.
@enable_ki_protection
async def _accept_some(
    listener: BatchSocketListener, group: StreamGroup
) -> None:
    _add(group, await listener.accept())
    for _ in range(_ACCEPTED_A_TURN - 1):
        try:
            accepted = calls.accept(listener.socket.fileno())
        except OSError:
            # None is waiting; or accept() above meets the error again.
            break
        _add(
            group,
            BatchSocketStream(tsocket.from_stdlib_socket(accepted)),
            accepted.fileno,
        )


def _add(
    group: StreamGroup,
    stream: BatchSocketStream,
    fileno: Callable[[], int] | None = None,
) -> None:
    try:
        group._members.add(stream, fileno)
    except BaseException:
        stream.socket.close()
        raise
