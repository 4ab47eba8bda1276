"""Listeners that accept, and functions that open, batch streams."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NoReturn

import trio
from trio import socket as tsocket

from triobatch._names import bound_sockets, check_host, check_port
from triobatch._streams.stream import BatchSocketStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.socket import SocketType

# Trio's own, for open_tcp_listeners: as many as the
# system allows (Linux cuts it to net.core.somaxconn).
_BACKLOG = 0xFFFF


class BatchSocketListener(trio.abc.Listener[BatchSocketStream]):
    """A listener that accepts connections as ``BatchSocketStream``.

    Args:
      socket: The Trio socket to wrap, of type ``SOCK_STREAM``, listening. The
        listener takes ownership of it.

    Raises:
      TypeError: ``socket`` is not a Trio socket.
      ValueError: its type is not ``SOCK_STREAM``, or it does not listen.

    Attributes:
      socket: The Trio socket that this listener wraps.
    """

    def __init__(self, socket: SocketType) -> None:
        # Trio's listener knows which errors of accept(2) to ignore.
        self._listener = trio.SocketListener(socket)
        self.socket = socket

    async def accept(self) -> BatchSocketStream:
        """Accept a connection.

        Raises:
          trio.ClosedResourceError: this listener was closed.
          trio.BusyResourceError: another task is waiting to accept.
          OSError: ``accept(2)`` failed for want of resources, as with
            EMFILE. The errors of single connections are ignored.
        """
        return _as_batch_stream(await self._listener.accept())

    async def aclose(self) -> None:
        """Close the socket; a task that waits in ``accept`` gets an error."""
        await self._listener.aclose()


class _UnixListener(BatchSocketListener):
    """A listener that takes its name out of the file system when closed."""

    def __init__(self, socket: SocketType, filename: str | bytes) -> None:
        super().__init__(socket)
        self._filename = filename
        self._identity = _identity(filename)

    async def aclose(self) -> None:
        """Close the socket, and unlink its name if it is still ours."""
        try:
            if (
                self.socket.fileno() != -1
                and _identity(self._filename) == self._identity
            ):
                os.unlink(self._filename)
        except FileNotFoundError:
            pass
        finally:
            await super().aclose()


def _identity(filename: str | bytes) -> tuple[int, int]:
    status = os.stat(filename)
    return status.st_dev, status.st_ino


def _as_batch_stream(stream: trio.SocketStream) -> BatchSocketStream:
    try:
        return BatchSocketStream(stream.socket)
    except BaseException:
        stream.socket.close()
        raise


async def open_tcp_stream(
    host: str | bytes,
    port: int,
    *,
    happy_eyeballs_delay: float | None = 0.25,
    local_address: str | None = None,
) -> BatchSocketStream:
    """Connect to a TCP server; the arguments are ``trio.open_tcp_stream``'s.

    Args:
      host: A name or an address.
      port: 1 to 65535.
      happy_eyeballs_delay: Seconds to wait for one address before trying the
        next beside it (RFC 6555).
      local_address: The address to connect from.

    Returns:
      A connected stream.

    Raises:
      OSError: no address could be connected to.
    """
    return _as_batch_stream(
        await trio.open_tcp_stream(
            host,
            port,
            happy_eyeballs_delay=happy_eyeballs_delay,
            local_address=local_address,
        )
    )


async def open_unix_socket(
    filename: str | bytes | os.PathLike[str] | os.PathLike[bytes],
) -> BatchSocketStream:
    """Connect to a Unix socket.

    Args:
      filename: Where it is in the file system.

    Returns:
      A connected stream.

    Raises:
      OSError: there is no such socket, or nothing listens on it.
      RuntimeError: this system has no Unix sockets.
    """
    return _as_batch_stream(await trio.open_unix_socket(filename))


async def open_tcp_listeners(
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
) -> list[BatchSocketListener]:
    """Listen for TCP connections, as ``trio.open_tcp_listeners`` does.

    Args:
      port: 0 to 65535; 0 lets the kernel choose, for each address another.
      host: An address or a name; None for all interfaces.
      backlog: How many connections may wait to be accepted; as many as the
        system allows by default.
      reuse_port: Let several sockets, one a process, share the port; the
        kernel spreads the connections over them (SO_REUSEPORT, socket(7)).
        Each must ask for it, and have the same user.

    Returns:
      A listener for each address that ``host`` stands for and this host has;
      with None one for IPv4 and one for IPv6.

    Raises:
      OSError: an address could not be bound, or there was none that could.
      TypeError: ``port`` or ``backlog`` is not an integer, or ``host`` no
        string.
      ValueError: ``port`` is out of range.
    """
    check_host(host)
    port = check_port(port)
    if backlog is not None and not isinstance(backlog, int):
        raise TypeError(f"backlog must be an int or None, not {backlog!r}")

    def configure(socket: SocketType) -> None:
        # As Trio does: Windows would let another process steal the port.
        if hasattr(tsocket, "SO_EXCLUSIVEADDRUSE"):
            option = tsocket.SO_EXCLUSIVEADDRUSE
        else:
            option = tsocket.SO_REUSEADDR
        socket.setsockopt(tsocket.SOL_SOCKET, option, True)
        if reuse_port:
            if not hasattr(tsocket, "SO_REUSEPORT"):
                raise OSError(
                    errno.ENOPROTOOPT, "this system has no SO_REUSEPORT"
                )
            socket.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_REUSEPORT, True)

    sockets = await bound_sockets(host, port, tsocket.SOCK_STREAM, configure)
    try:
        for socket in sockets:
            socket.listen(
                _BACKLOG if backlog is None else min(backlog, _BACKLOG)
            )
        return [BatchSocketListener(socket) for socket in sockets]
    except BaseException:
        for socket in sockets:
            socket.close()
        raise


async def open_unix_listener(
    filename: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: int | None = None,
    backlog: int | None = None,
) -> BatchSocketListener:
    """Listen on a Unix socket.

    A socket that a process left behind, on which nothing listens any more, is
    replaced. Closing the listener removes its name again.

    Args:
      filename: Where it is to be in the file system.
      mode: Its permissions, as for ``os.chmod``; the umask's by default.
      backlog: How many connections may wait to be accepted; as many as the
        system allows by default.

    Returns:
      A listener.

    Raises:
      OSError: ``filename`` is in use (EADDRINUSE), or could not be bound.
    """
    name = os.fspath(filename)
    with tsocket.socket(tsocket.AF_UNIX, tsocket.SOCK_STREAM) as probe:
        if _is_socket(name):
            try:
                await probe.connect(name)
            except ConnectionRefusedError:
                os.unlink(name)
            except BlockingIOError as error:
                # Somebody listens, and has no room for more (unix(7)).
                raise _address_in_use(name) from error
            else:
                raise _address_in_use(name)
    socket = tsocket.socket(tsocket.AF_UNIX, tsocket.SOCK_STREAM)
    try:
        await socket.bind(name)
        try:
            if mode is not None:
                os.chmod(name, mode)
            socket.listen(_BACKLOG if backlog is None else backlog)
            return _UnixListener(socket, name)
        except BaseException:
            os.unlink(name)
            raise
    except BaseException:
        socket.close()
        raise


def _address_in_use(filename: str | bytes) -> OSError:
    return OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), filename)


def _is_socket(filename: str | bytes) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(filename).st_mode)
    except FileNotFoundError:
        return False


async def serve_tcp(
    handler: Callable[[BatchSocketStream], Awaitable[object]],
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[
        list[BatchSocketListener]
    ] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve TCP connections for ever, as ``trio.serve_tcp`` does.

    Args:
      handler: Called with a ``BatchSocketStream`` for each connection, in a
        task of its own. The stream is closed when it returns. An exception
        that it lets out ends the server.
      port: 0 to 65535; 0 lets the kernel choose.
      host: An address or a name; None for all interfaces.
      backlog: How many connections may wait to be accepted.
      handler_nursery: Where the handlers run; a nursery of the server's own
        by default.
      task_status: For ``await nursery.start(serve_tcp, ...)``, which returns
        the listeners once they listen.

    Raises:
      OSError: an address could not be bound.
    """
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog)
    await trio.serve_listeners(
        handler,
        listeners,
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


# As for the stream: SocketListener is final, and trio-websocket, say, asks
# isinstance(listener, trio.SocketListener) to find the port.
trio.SocketListener.register(BatchSocketListener)
