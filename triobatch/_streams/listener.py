"""Listeners that accept, and functions that open, batch streams."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias

import trio
from trio import socket as tsocket
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)
from trio.socket import SocketType

from triobatch._core import calls
from triobatch._names import bound_sockets, check_backlog, check_host
from triobatch._resource import (
    only_async,
    open_fd,
    pause_after,
    raise_if_closed,
)
from triobatch._streams.stream import BatchSocketStream
from triobatch._unix_name import UnixName, bind, check_mode, checked_name
from triobatch._wire.addresses import check_port
from triobatch._wire.arguments import (
    as_seconds,
    check_callable,
    check_is,
    check_nursery,
    must_be,
)
from triobatch._wire.described import socket_repr

# What is called with each connection.
StreamHandler: TypeAlias = Callable[[BatchSocketStream], Awaitable[object]]

# How often to try to connect where the backlog is full, and for how long to
# wait first, in seconds: each wait is twice the last, all are one second.
_CONNECT_AGAIN = 10
_FIRST_PAUSE = 0.001

# What accept(2) says of one connection, and not of the listener: as Trio's
# listener has it (trio/_highlevel_socket.py). Not all systems have all.
_IGNORED = {
    getattr(errno, name, errno.ECONNABORTED)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "ENOSR",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
        "EPROTONOSUPPORT",
        "ESOCKTNOSUPPORT",
        "ETIMEDOUT",
    )
}


@only_async
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
        if not isinstance(socket, tsocket.SocketType):
            raise TypeError(must_be("socket must be a Trio socket", socket))
        # Trio's checks of its state, and its way to accept from a socket that
        # a program made up, and that has no descriptor.
        self._listener = trio.SocketListener(socket)
        self.socket = socket

    __repr__ = socket_repr

    # Or Ctrl-C could come between a connection and its stream.
    @enable_ki_protection
    async def accept(self) -> BatchSocketStream:
        """Accept a connection; a call that is cancelled has taken none.

        Raises:
          trio.ClosedResourceError: this listener was closed.
          trio.BusyResourceError: another task is waiting to accept.
          OSError: ``accept(2)`` failed for want of resources, as with
            EMFILE. The errors of single connections are ignored.
        """
        try:
            closed = self.socket.fileno() == -1
        except NotImplementedError:
            return _as_batch_stream(await self._listener.accept())
        await (checkpoint if closed else checkpoint_if_cancelled)()
        waits = 0
        while (accepted := await self._try_accept()) is None:
            await trio.lowlevel.wait_readable(open_fd(self.socket))
            await pause_after(waits)
            waits += 1
        if not waits:
            await cancel_shielded_checkpoint()
        return BatchSocketStream(accepted)

    async def _try_accept(self) -> SocketType | None:
        """Return a connection, None if there is none."""
        while True:
            fd = open_fd(self.socket)
            # Asked first, so that the mode matters only if another process
            # both changes it and takes the connection, just then.
            if not self.socket.is_readable():
                return None
            try:
                accepted = calls.accept(fd)
            except BlockingIOError:
                return None
            except OSError as error:
                raise_if_closed(error)
                if error.errno not in _IGNORED:
                    await cancel_shielded_checkpoint()
                    raise
            else:
                return tsocket.from_stdlib_socket(accepted)
            await checkpoint()

    async def aclose(self) -> None:
        """Close the socket; a task that waits in ``accept`` gets an error."""
        await self._listener.aclose()


class _UnixListener(BatchSocketListener):
    """A listener that takes its name out of the file system when closed."""

    def __init__(self, socket: SocketType, name: UnixName) -> None:
        super().__init__(socket)
        self._name = name

    async def aclose(self) -> None:
        """Close the socket, and unlink its name if it is still ours."""
        try:
            if self.socket.fileno() != -1:
                self._name.remove()
        finally:
            await super().aclose()


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
    port = check_port(port)
    if local_address is not None:
        check_is(local_address, str, "local_address")
    if happy_eyeballs_delay is not None:
        happy_eyeballs_delay = as_seconds(
            happy_eyeballs_delay, "happy_eyeballs_delay"
        )
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
      filename: Where it is in the file system; or an abstract name, which
        begins with a NUL (unix(7)).

    Returns:
      A connected stream.

    Raises:
      OSError: there is no such socket, or nothing listens on it; or its
        backlog is full (EAGAIN), and still is after a second.
      ValueError: ``filename`` is empty, or has a NUL in it.
      RuntimeError: this system has no Unix sockets.
    """
    name = checked_name(filename)
    for attempt in range(_CONNECT_AGAIN + 1):
        if attempt:
            await trio.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        stream = await trio.open_unix_socket(name)
        if _is_connected(stream.socket):
            return _as_batch_stream(stream)
        stream.socket.close()
    raise OSError(errno.EAGAIN, "the listener's backlog is full", name)


def _is_connected(socket: SocketType) -> bool:
    """Whether ``connect`` has connected.

    A full backlog is EAGAIN on a Unix socket (connect(2)), which Trio takes
    for a connection that is being made.
    """
    try:
        socket.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        socket.close()
        raise
    return True


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
    backlog = check_backlog(backlog)

    def configure(socket: SocketType) -> None:
        # As Trio does: Windows would let another process steal the port.
        option = getattr(tsocket, "SO_EXCLUSIVEADDRUSE", tsocket.SO_REUSEADDR)
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
            socket.listen(backlog)
        return [BatchSocketListener(socket) for socket in sockets]
    except BaseException:
        for socket in sockets:
            socket.close()
        raise


# Or Ctrl-C could come between the socket and its listener.
@enable_ki_protection
async def open_unix_listener(
    filename: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: int | None = None,
    backlog: int | None = None,
) -> BatchSocketListener:
    """Listen on a Unix socket.

    A socket that a process left behind, on which nothing listens any more, is
    replaced. Whether one does is found out by connecting to it. Of servers
    that start at once, one gets the name; a file beside it,
    ``<filename>.triobatch-lock``, exists while one of them does.

    Closing the listener removes its name again, also after ``chdir``: in the
    process that made it. What a forked worker closes stays for the others.

    Args:
      filename: Where it is to be in the file system; or an abstract name,
        which begins with a NUL and is in none (unix(7)).
      mode: Its permissions, as for ``os.chmod``; the umask's by default.
      backlog: How many connections may wait to be accepted; as many as the
        system allows by default.

    Returns:
      A listener.

    Raises:
      OSError: ``filename`` is in use (EADDRINUSE), by a server or something
        else, such as a symbolic link; or could not be bound.
      TypeError: ``mode`` or ``backlog`` is not an integer.
      ValueError: ``filename`` is empty, or has a NUL in it; or it is abstract
        and ``mode`` is given; or that is more than permissions.
      RuntimeError: this system has no Unix sockets.
    """
    name = checked_name(filename)
    check_mode(mode)
    listener, owned = await trio.to_thread.run_sync(
        bind, name, tsocket.SOCK_STREAM, mode, check_backlog(backlog)
    )
    socket = tsocket.from_stdlib_socket(listener)
    if owned is None:
        return BatchSocketListener(socket)
    return _UnixListener(socket, owned)


async def serve_tcp(
    handler: StreamHandler,
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
        by default, which is cancelled with it.
      task_status: For ``await nursery.start(serve_tcp, ...)``, which returns
        the listeners once they listen.

    Raises:
      OSError: an address could not be bound.
    """
    check_callable(handler, "handler")
    check_nursery(handler_nursery, "handler_nursery")
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog)
    await trio.serve_listeners(
        handler,
        listeners,
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


# SocketListener is final, so this is how code that asks isinstance(listener,
# trio.SocketListener), as trio-websocket does, comes to accept ours.
trio.SocketListener.register(BatchSocketListener)
