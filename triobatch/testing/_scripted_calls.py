"""System calls that do what a test wants, on one socket.

A loopback connection never takes 3 bytes of 10, and no machine runs out of
buffers on demand. So the calls on one socket are made to: what a script does
not say, the kernel still does. What is patched is ``triobatch._core.calls``,
through which every call is made, so no normal call pays for it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from unittest import mock

import trio

from triobatch._core import calls
from triobatch._core.chunks import COPY_SIZE, front, locate
from triobatch._core.tries import Tried, go_past
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.views import list_of
from triobatch._streams.stream import BatchSocketStream
from triobatch._wire.arguments import as_integer
from triobatch._wire.described import described

# At most so many bytes or messages; or an error; or what the kernel will.
Step: TypeAlias = "int | OSError | None"


class ScriptedCalls:
    """What is left of a script, and what was done of it.

    Attributes:
      log: The steps that were taken, in order.
      left: The steps that were not.
      offered: What each call on the socket offered, an item a call, those
        after the last step included: the sizes in bytes of the chunks or
        messages that it was to send, or of the rooms that it was to fill.
    """

    def __init__(self, fileno: Callable[[], int], steps: list[Step]) -> None:
        self.log: list[Step] = []
        self.left = steps
        self.offered: list[list[int]] = []
        self._fileno = fileno

    @described
    def __repr__(self) -> str:
        return f"{len(self.log)} steps taken, {len(self.left)} left"

    def _next(self, fd: int, offered: list[int]) -> int | None:
        """Return the limit for a call on ``fd``, or raise its error."""
        if fd != self._fileno():
            return None
        self.offered.append(offered)
        while self.left:
            step = self.left.pop(0)
            self.log.append(step)
            if isinstance(step, InterruptedError):
                # The call is repeated, and nobody hears of it.
                continue
            if isinstance(step, OSError):
                raise step
            return step
        return None


@contextmanager
def scripted_calls(
    target: BatchSocketStream
    | DatagramSocket
    | trio.socket.SocketType
    | socket.socket,
    *,
    sending: Iterable[int | OSError | None] = (),
    receiving: Iterable[int | OSError | None] = (),
) -> Iterator[tuple[ScriptedCalls, ScriptedCalls]]:
    """Say what the next system calls on a socket come to, for a block.

    Each item of a script is for one call: a number lets it take at most so
    many bytes of a stream, or messages of a datagram socket (where a run of
    datagrams that the kernel cuts up is one message); an OSError, such as
    ``os_error(errno.EIO)``, is raised in its place; None leaves it to the
    kernel, as are the calls after the last item. EAGAIN is waited for, which
    ends at once on a socket that is ready, and EINTR is never seen: the call
    is repeated. ::

        with scripted_calls(
            stream,
            sending=[3, os_error(errno.EAGAIN), os_error(errno.ECONNRESET)],
        ):
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"message")

    Args:
      target: The stream or the datagram socket, or a socket itself.
      sending: What the calls that send come to.
      receiving: What the calls that receive come to.

    Returns:
      What has become of the two scripts, and what the calls offered.

    Raises:
      ValueError: a number is less than 1.
      TypeError: an item, or ``target``, is something else.

    For one thread: two blocks of different threads must not overlap.
    """
    sock: Any = getattr(target, "socket", target)
    if not hasattr(sock, "fileno"):
        raise TypeError(f"target must be a stream or a socket, not {target!r}")
    sent = ScriptedCalls(sock.fileno, _as_steps(sending, "sending"))
    received = ScriptedCalls(sock.fileno, _as_steps(receiving, "receiving"))
    with mock.patch.multiple(
        calls,
        **_stream_sends(sent),
        **_stream_receives(sent, received),
        **_datagrams(sent, received),
    ):
        yield sent, received


def _as_steps(script: Iterable[Step], name: str) -> list[Step]:
    steps = list_of(script, name, "steps")
    for step in steps:
        if isinstance(step, int):
            if step < 1:
                raise ValueError(f"a step must be at least 1, not {step}")
        elif step is not None and not isinstance(step, OSError):
            raise TypeError(
                "a step must be a number, an OSError or None, "
                f"not {type(step).__name__}"
            )
    return steps


def os_error(number: int) -> OSError:
    """Return the OSError that a system call raises for an errno."""
    number = as_integer(number, "number")
    return OSError(number, os.strerror(number))


def _sizes(chunks: Iterable[bytes | memoryview]) -> list[int]:
    return [len(chunk) for chunk in chunks]


def _stream_sends(script: ScriptedCalls) -> dict[str, Any]:
    send_copied, send_pointed = calls.send_copied, calls.send_pointed
    send_list = calls.send_list

    def send_front(
        fd: int, offered: list[bytes | memoryview], limit: int
    ) -> tuple[int, bool]:
        sent = calls.send(fd, b"".join(front(offered, 0, 0, limit)))
        return sent, sent == sum(_sizes(offered))

    def copied(
        fd: int, chunks: list[bytes | memoryview], index: int, offset: int
    ) -> tuple[int, bool]:
        offered = front(chunks, index, offset, COPY_SIZE)
        limit = script._next(fd, _sizes(offered))
        if limit is None:
            return send_copied(fd, chunks, index, offset)
        return send_front(fd, offered, limit)

    def pointed(
        fd: int, chunks: list[bytes | memoryview], offset: int
    ) -> tuple[int, bool]:
        offered = [memoryview(chunks[0])[offset:], *chunks[1:]]
        limit = script._next(fd, _sizes(offered))
        if limit is None:
            return send_pointed(fd, chunks, offset)
        return send_front(fd, offered, limit)

    def listed(
        fd: int, chunks: list[Any], room: int
    ) -> tuple[int, bytes | memoryview | None] | None:
        offered = chunks.copy()
        if {*map(type, offered)} != {bytes}:
            return None
        joined = b"".join(offered)
        if not 0 < len(joined) <= room:
            return None
        try:
            limit = script._next(fd, _sizes(offered))
            if limit is None:
                return send_list(fd, chunks, room)
            sent = calls.send(fd, joined[:limit])
        except BlockingIOError:
            sent = 0
        return sent, joined[sent:] or None

    class ScriptedVector:
        def __init__(
            self, chunks: list[bytes | memoryview], offset: int
        ) -> None:
            self._chunks = chunks
            self._offset = offset

        def send(self, fd: int) -> tuple[int, bool]:
            chunks, offset = self._chunks, self._offset
            sent, whole = pointed(fd, chunks, offset)
            index, self._offset = locate(chunks, 0, offset, sent)
            self._chunks = chunks[index:]
            return sent, whole

    return {
        "Vector": ScriptedVector,
        "send_copied": copied,
        "send_list": listed,
        "send_pointed": pointed,
    }


def _stream_receives(
    sent: ScriptedCalls, received: ScriptedCalls
) -> dict[str, Any]:
    receive, receive_into = calls.receive, calls.receive_into
    send = calls.send

    def scripted_receive(fd: int, size: int, *rest: Any) -> bytes | None:
        try:
            limit = received._next(fd, [size])
        except BlockingIOError:
            return None
        return receive(fd, size if limit is None else min(size, limit), *rest)

    def scripted_receive_into(
        fd: int, buffers: list[memoryview]
    ) -> int | None:
        try:
            limit = received._next(fd, _sizes(buffers))
        except BlockingIOError:
            return None
        if limit is not None:
            buffers = [
                memoryview(part) for part in front(list(buffers), 0, 0, limit)
            ]
        return receive_into(fd, buffers)

    def broadcast(fds: list[int], data: bytes) -> list[int]:
        results: list[int] = []
        for fd in fds:
            try:
                limit = sent._next(fd, [len(data)])
                results.append(send(fd, data[:limit]))
            except OSError as error:
                results.append(-(error.errno or errno.EIO))
        return results

    return {
        "receive": scripted_receive,
        "receive_into": scripted_receive_into,
        "broadcast": broadcast,
    }


def _datagrams(sent: ScriptedCalls, received: ScriptedCalls) -> dict[str, Any]:
    send_datagram = calls.send_datagram
    send_datagrams = calls.send_datagrams
    send_runs = calls.send_runs
    send_segments = calls.send_segments
    receive_datagrams = calls.receive_datagrams

    def scripted_send(
        fd: int,
        joined: bytes,
        sizes: list[int],
        segment_sizes: list[int],
        peers: list[bytes],
        *rest: Any,
    ) -> int:
        limit = sent._next(fd, list(sizes[: calls.MAX_MESSAGES]))
        return send_datagrams(
            fd,
            joined,
            sizes[:limit],
            segment_sizes[:limit],
            peers if len(peers) == 1 else peers[:limit],
            *rest,
        )

    def scripted_past(
        fd: int,
        payloads: list[Any],
        sizes: list[int],
        segment_sizes: list[int],
        peers: list[bytes],
        control: Any,
        tries: bytes,
        controls: Any = None,
    ) -> Tried:
        joined = b"".join(payloads)
        count = min(len(sizes), calls.MAX_MESSAGES)

        def send_front(first: int, last: int) -> int:
            several = slice(first, last)
            return scripted_send(
                fd,
                joined[sum(sizes[:first]) : sum(sizes[:last])],
                sizes[several],
                segment_sizes[several],
                peers if len(peers) == 1 else peers[several],
                control,
                controls if controls is None else controls[several],
            )

        return go_past(send_front, segment_sizes[:count], tries)

    def scripted_segments(
        fd: int,
        data: bytes | memoryview,
        segment_size: int,
        run_size: int,
        *rest: Any,
    ) -> int:
        most = min(len(data), calls.MAX_MESSAGES * run_size)
        runs = [
            min(run_size, most - start) for start in range(0, most, run_size)
        ]
        limit = sent._next(fd, runs)
        if limit is not None:
            data = data[: limit * run_size]
        return send_segments(fd, data, segment_size, run_size, *rest)

    def scripted_batch(fd: int, batch: calls.Batch) -> int:
        size = batch.segment_size
        taken = scripted_segments(
            fd, batch.data, size, batch.run_size, batch.peer
        )
        return -(-taken // size)

    def scripted_datagram(fd: int, data: bytes, peer: bytes) -> None:
        sent._next(fd, [len(data)])
        send_datagram(fd, data, peer)

    def scripted_runs(
        fd: int,
        runs: list[bytes | memoryview],
        segment_sizes: list[int],
        *rest: Any,
    ) -> int:
        limit = sent._next(fd, _sizes(runs[: calls.MAX_MESSAGES]))
        return send_runs(fd, runs[:limit], segment_sizes[:limit], *rest)

    def scripted_receive(fd: int, arena: Any, slots: int) -> int:
        slots = min(slots, arena.slots)
        try:
            limit = received._next(fd, [arena.slot_size] * slots)
        except BlockingIOError:
            return 0
        return receive_datagrams(
            fd, arena, slots if limit is None else min(slots, limit)
        )

    return {
        "send_batch": scripted_batch,
        "send_datagram": scripted_datagram,
        "send_datagrams": scripted_send,
        "send_past": scripted_past,
        "send_runs": scripted_runs,
        "send_segments": scripted_segments,
        "receive_datagrams": scripted_receive,
    }
