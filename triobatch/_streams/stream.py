"""A socket stream that sends many buffers at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import overload

import trio
from trio import socket as tsocket
from trio.lowlevel import checkpoint, enable_ki_protection
from trio.socket import SocketType

from triobatch._core import calls
from triobatch._core.chunks import IOV_MAX
from triobatch._queues.buffers import Buffers
from triobatch._queues.file_slice import File, FileSlice
from triobatch._queues.views import kept_view, writable_views
from triobatch._resource import Guard, only_async, raise_stream_error
from triobatch._streams import notsent_lowat
from triobatch._streams.group_statistics import Member
from triobatch._streams.receiving import ReceiveHalf
from triobatch._streams.send_file import send_file_on_socket
from triobatch._streams.sending import SendHalf, sent_eof
from triobatch._wire.arguments import at_least, must_be
from triobatch._wire.described import socket_repr
from triobatch._wire.hints import Buffer

# As in trio.SocketStream.
DEFAULT_RECEIVE_SIZE = 65536


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """What a ``BatchSocketStream`` has done so far, counted as it happens.

    Attributes:
      bytes_sent: Bytes that the kernel took.
      send_calls: System calls that sent, or tried to.
      partial_writes: Those of them that took less than they were offered.
      send_waits: How often a task waited until the socket was writable.
      bytes_received: Bytes that the kernel gave.
      receive_calls: System calls that received, or tried to.
      receive_waits: How often a task waited until the socket was readable.
    """

    bytes_sent: int
    send_calls: int
    partial_writes: int
    send_waits: int
    bytes_received: int
    receive_calls: int
    receive_waits: int


@only_async
class BatchSocketStream(trio.abc.HalfCloseableStream):
    """A stream over a socket, as ``trio.SocketStream``, that gathers writes.

    It has all that ``trio.SocketStream`` has, and ``isinstance(stream,
    trio.SocketStream)`` is true of it.

    Args:
      socket: The Trio socket to wrap, of type ``SOCK_STREAM``, connected, with
        a file descriptor. The stream takes ownership of it.

    Raises:
      TypeError: ``socket`` is not a Trio socket.
      ValueError: its type is not ``SOCK_STREAM``.

    As ``trio.SocketStream`` does, it sets TCP_NODELAY and, where there is one,
    TCP_NOTSENT_LOWAT to 16 KiB. A larger batch lifts the latter when it is in
    its way, and the next smaller one puts it back; a value of your own is left
    alone.

    Attributes:
      socket: The Trio socket that this stream wraps.
    """

    __repr__ = socket_repr

    def __init__(self, socket: SocketType) -> None:
        if not isinstance(socket, tsocket.SocketType):
            raise TypeError(must_be("socket must be a Trio socket", socket))
        if socket.type != tsocket.SOCK_STREAM:
            raise ValueError(f"socket must be a SOCK_STREAM, not {socket!r}")
        self.socket = socket
        self._send_guard = Guard(
            "another task is currently sending data on this BatchSocketStream"
        )
        self._send = SendHalf(socket)
        self._receive = ReceiveHalf(socket)
        self._member: Member | None = None
        # Not on Unix sockets.
        with suppress(OSError):
            socket.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_NODELAY, True)

    async def send_buffers(self, buffers: Buffers | Iterable[Buffer]) -> int:
        """Send chunks with as few system calls as the kernel allows.

        Args:
          buffers: A ``Buffers``, consumed in place as the kernel takes its
            bytes; or any iterable of bytes-like objects, which is left as it
            is. Chunks appended to a ``Buffers`` while it is being sent are
            sent too.

        Returns:
          The bytes sent, which is all that there was.

        Raises:
          TypeError: a chunk does not have the buffer protocol.
          BufferError: a chunk is not contiguous.
          trio.BusyResourceError: another task is sending on this stream, or
            sending these buffers.
          trio.ClosedResourceError: this stream was closed, by another task
            perhaps, or ``send_eof`` was called.
          trio.BrokenResourceError: the connection broke.

        After any exception, ``Cancelled`` included, a ``Buffers`` holds
        exactly the bytes that the kernel did not take: passing it again goes
        on where the stream stopped, with nothing lost or repeated. The call is
        atomic against other senders. It is always a checkpoint.

        See ``sendmsg(2)``.
        """
        if self.socket.did_shutdown_SHUT_WR:
            raise sent_eof()
        if type(buffers) is list:
            return await self._send.send_list(buffers, self._send_guard)
        with self._send_guard:
            if isinstance(buffers, Buffers):
                return await self._send.send(buffers)
            return await self._send.send_iterable(buffers)

    @enable_ki_protection
    def send_buffers_nowait(self, buffers: Buffers | Sequence[Buffer]) -> int:
        """Send what fits now, and consume it.

        Args:
          buffers: A ``Buffers``, consumed in place as the kernel takes its
            bytes; or a list or tuple of bytes-like objects, left as it is:
            its first bytes were sent, as many as are returned.

        Returns:
          The bytes taken; 0 when there was nothing to send. They are fewer
          than there were when the socket's buffer filled up, and after 2 to
          6 MiB, so that other tasks run beside a peer that keeps up.

        Raises:
          TypeError: ``buffers`` is neither, or a chunk does not have the
            buffer protocol.
          BufferError: a chunk is not contiguous.
          trio.WouldBlock: nothing was taken: the socket's buffer is full.
          trio.BusyResourceError: another task is sending on this stream, or
            sending these buffers.
          trio.ClosedResourceError: this stream was closed, or ``send_eof``
            was called.
          trio.BrokenResourceError: the connection broke. What the kernel took
            before is consumed, of a ``Buffers``.

        Synchronous, and not a checkpoint.
        """
        if self.socket.did_shutdown_SHUT_WR:
            raise sent_eof()
        guard = self._send_guard
        if not isinstance(buffers, Buffers):
            guard.check()
            if not isinstance(buffers, list | tuple):
                # The rest of an iterator would be lost.
                kind = type(buffers).__name__
                raise TypeError(
                    "send_buffers_nowait requires a Buffers, a list or a "
                    f"tuple, not {kind}"
                )
            guard.busy = True
            try:
                return self._send.send_list_nowait(buffers)
            finally:
                guard.busy = False
        guard.take(buffers)
        try:
            sent = self._send.send_nowait(buffers)
        finally:
            guard.let_go(buffers)
        if not sent and buffers:
            raise trio.WouldBlock
        return sent

    async def send_file(
        self,
        file: File | FileSlice,
        offset: int = 0,
        size: int | None = None,
        *,
        header: Buffers | Iterable[Buffer] = (),
        trailer: Buffers | Iterable[Buffer] = (),
    ) -> int:
        """Send a part of a file, not copied; see ``triobatch.send_file``."""
        if self.socket.did_shutdown_SHUT_WR:
            raise sent_eof()
        return await send_file_on_socket(
            self._send, self._send_guard, file, offset, size, header, trailer
        )

    async def send_all(self, data: Buffer) -> None:
        """Send all of ``data``.

        Args:
          data: A bytes-like object, of items of any size.

        Raises:
          TypeError: ``data`` does not have the buffer protocol.
          BufferError: ``data`` is not contiguous.
          trio.BusyResourceError: another task is sending on this stream.
          trio.ClosedResourceError: this stream was closed, or ``send_eof``
            was called.
          trio.BrokenResourceError: the connection broke.

        After an exception, ``Cancelled`` included, some, all or none of the
        data may have been sent; ``send_buffers`` of a ``Buffers`` tells which.
        """
        if self.socket.did_shutdown_SHUT_WR:
            raise sent_eof()
        if type(data) is bytes:
            await self._send.send_list([data], self._send_guard)
            return
        with self._send_guard, kept_view(data, "data") as view:
            await self._send.send_iterable((view,))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block.

        Raises:
          trio.BusyResourceError: another task is sending on this stream.
          trio.ClosedResourceError: this stream was closed.

        It returns when the connection broke, too: sending will say so.
        """
        with self._send_guard:
            await self._send.wait_might_not_block()

    async def send_eof(self) -> None:
        """Send an end-of-file, after which nothing can be sent.

        Raises:
          trio.BusyResourceError: another task is sending on this stream.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.
        """
        with self._send_guard:
            await checkpoint()
            # macOS refuses a second shutdown with ENOTCONN.
            if self.socket.did_shutdown_SHUT_WR:
                return
            try:
                self.socket.shutdown(tsocket.SHUT_WR)
            except OSError as error:
                raise_stream_error(error)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there, and wait for it if nothing is.

        Args:
          max_bytes: At most this many; 64 KiB by default.

        Returns:
          At least one byte; ``b""`` at the end of the stream. A call that is
          cancelled has taken none.

        Raises:
          ValueError: ``max_bytes`` is below 1.
          trio.BusyResourceError: another task is waiting to receive.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.
        """
        most = DEFAULT_RECEIVE_SIZE
        if max_bytes is not None:
            if type(max_bytes) is not int or max_bytes < 1:
                max_bytes = at_least(1, max_bytes, "max_bytes")
            # recv(2) brings no more.
            most = min(max_bytes, 0x7FFFF000)
        half = self._receive
        return await half.take(calls.receive, most, half.large)

    async def receive_into(self, buffers: Buffer | Sequence[Buffer]) -> int:
        """Receive what is there into your own memory; wait if nothing is.

        Args:
          buffers: A writable bytes-like object, or a sequence of them, which
            are filled in order. Of more than IOV_MAX
            (``capabilities().iov_max``) the first IOV_MAX are filled.

        Returns:
          The bytes received, at least 1; 0 at the end of the stream.

        Raises:
          TypeError: a buffer is read-only, or not a buffer.
          BufferError: a buffer is not contiguous.
          ValueError: the buffers have no room at all.
          trio.BusyResourceError: another task is waiting to receive.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.

        The buffers stay exported until the call returns. See ``recvmsg(2)``.
        """
        if type(buffers) is bytearray and buffers:
            with memoryview(buffers) as view:
                return await self._receive.take(calls.receive_into, [view])
        with writable_views(buffers) as views:
            return await self._receive.take(
                calls.receive_into, views[:IOV_MAX]
            )

    async def aclose(self) -> None:
        """Close the socket; tasks that wait on it get an error at once.

        A member of a stream group leaves it first.
        """
        if self._member is not None:
            self._member.leave()
        self.socket.close()
        await checkpoint()

    @overload
    def setsockopt(
        self, level: int, option: int, value: int | Buffer
    ) -> None: ...

    @overload
    def setsockopt(
        self, level: int, option: int, value: None, length: int
    ) -> None: ...

    def setsockopt(
        self,
        level: int,
        option: int,
        value: int | Buffer | None,
        length: int | None = None,
    ) -> None:
        """Set a socket option; see ``socket.socket.setsockopt``."""
        if length is None:
            if value is None:
                raise TypeError("value must not be None without a length")
            self.socket.setsockopt(level, option, value)
        elif value is not None:
            raise TypeError(
                f"value must be None when length is given, not {value!r}"
            )
        else:
            self.socket.setsockopt(level, option, value, length)
        if notsent_lowat.is_meant(level, option):
            self._send.may_lift = False

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...

    @overload
    def getsockopt(
        self, level: int, option: int, buffersize: int
    ) -> bytes: ...

    def getsockopt(
        self, level: int, option: int, buffersize: int = 0
    ) -> int | bytes:
        """Return a socket option; see ``socket.socket.getsockopt``."""
        if buffersize:
            return self.socket.getsockopt(level, option, buffersize)
        return self.socket.getsockopt(level, option)

    def statistics(self) -> StreamStatistics:
        """Return what this stream has done so far."""
        if self._member is not None:
            self._member.hand_over_counts()
        return StreamStatistics(
            bytes_sent=self._send.bytes_sent,
            send_calls=self._send.calls,
            partial_writes=self._send.partial_writes,
            send_waits=self._send.waits,
            bytes_received=self._receive.bytes_received,
            receive_calls=self._receive.calls,
            receive_waits=self._receive.waits,
        )

    def _prepare_send(self, size: int) -> int:
        """Return the descriptor, for one send of ``size`` bytes."""
        if self.socket.did_shutdown_SHUT_WR:
            raise sent_eof()
        if self._send_guard.busy:
            self._send_guard.check()
        return self._send.prepare(size)


# SocketStream is final, so this is how code that asks isinstance(stream,
# trio.SocketStream), as httpcore does, comes to accept ours.
trio.SocketStream.register(BatchSocketStream)
