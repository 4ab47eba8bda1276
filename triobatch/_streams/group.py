"""Many streams as one: a call in for all that is there, and a call out.

A task for each connection costs a request two trips through the scheduler, a
``recv`` that fails and an ``epoll_ctl``: 54 % of such a server's time is
Python. A group has one epoll set of its own, which one task waits on, and
receives from all that is ready with one call of the core.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager

import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from triobatch._core.messages import Message
from triobatch._queues.buffers import Buffers
from triobatch._resource import async_scope
from triobatch._streams.group_members import Member, Members, queued_size
from triobatch._streams.group_readiness import ready_sets
from triobatch._streams.group_receiving import GroupReceives
from triobatch._streams.group_sending import (
    GroupSends,
    broken,
    not_a_member,
)
from triobatch._streams.group_statistics import GroupStatistics
from triobatch._streams.plain import is_plain_both_ways
from triobatch._streams.stream import BatchSocketStream
from triobatch._wire.arguments import at_least
from triobatch._wire.described import described

# One call brings no more, and room for it is made ahead.
_LARGEST_RECEIVE = 2**24


def open_stream_group(
    *, receive_size: int = 16384, max_queued: int = 2**20
) -> AbstractAsyncContextManager[StreamGroup]:
    """Open a group of streams, which one task receives from and answers.

    ::

        async with triobatch.open_stream_group() as group:
            for stream in streams:
                group.add(stream)
            while True:
                batch = await group.receive_batch()
                group.send_batch_nowait(
                    (stream, answer(data)) for stream, data in batch if data
                )

    It pays for answers that nothing is awaited for: caches, line protocols,
    publish and subscribe, games. Where each request has a task of its own it
    gains nothing (0.9 of the requests a second of ``serve_tcp``).

    Args:
      receive_size: Bytes, at least 1: at most this many from one stream in a
        batch.
      max_queued: Bytes, at least 0: a message that would make a stream's
        queue longer than this is refused. Any message is taken where nothing
        is queued.

    Returns:
      A context manager, for a ``StreamGroup``.

    Raises:
      TypeError: an argument is not an integer.
      ValueError: it is too small.

    Leaving the block closes the streams that are still members; what is
    queued on them is lost, unless ``flush`` was called. A task in the block's
    own nursery sends what is queued.
    """
    return _running(
        min(at_least(1, receive_size, "receive_size"), _LARGEST_RECEIVE),
        at_least(0, max_queued, "max_queued"),
    )


# Ctrl-C between opening the sets and the block would leave them open. The
# block itself can be interrupted.
@async_scope
@enable_ki_protection
async def _running(
    receive_size: int, max_queued: int
) -> AsyncIterator[StreamGroup]:
    left_by: BaseException | None = None
    async with trio.open_nursery() as nursery:
        members = Members(*ready_sets(nursery))
        nursery.start_soon(members.send_queued)
        try:
            yield StreamGroup(members, receive_size, max_queued)
        except BaseException as error:  # noqa: BLE001 (raised again below)
            left_by = error
        members.close()
    if left_by is not None:
        # Out here, so that the nursery does not wrap it in a group.
        try:
            raise left_by
        finally:
            # It holds this frame, which must not hold it.
            del left_by


class StreamGroup:
    """Streams that are received from, and sent to, many at a time.

    ``len()`` is the number of members, ``in`` whether a stream is one,
    ``iter()`` goes through them in the order in which they came.

    Made by ``open_stream_group``.
    """

    def __init__(
        self, members: Members, receive_size: int, max_queued: int
    ) -> None:
        self._members = members
        self._sends = GroupSends(members, max_queued)
        self._receives = GroupReceives(members, receive_size)

    @described
    def __repr__(self) -> str:
        return self._members.text()

    def __len__(self) -> int:
        return len(self._members.by_fd)

    def __contains__(self, stream: object) -> bool:
        return (
            isinstance(stream, BatchSocketStream)
            and self._members.get(stream) is not None
        )

    def __iter__(self) -> Iterator[BatchSocketStream]:
        # A copy: who goes through them may remove them.
        return iter([member.stream for member in self._members.by_fd.values()])

    def add(self, stream: BatchSocketStream) -> None:
        """Take a stream in, which nobody else receives from any more.

        Args:
          stream: TCP or Unix, with no TLS. The group closes it at the end of
            its block, unless it is removed before.

        Raises:
          TypeError: ``stream`` is not a ``BatchSocketStream``, or a subclass
            that sends or receives in its own way.
          trio.BusyResourceError: a task is receiving from it, or it is in a
            group already.
          trio.ClosedResourceError: it, or the group, was closed.
          OSError: the kernel cannot watch it, for want of memory.
        """
        if not is_plain_both_ways(stream):
            hint = (
                ": a group reads from the socket itself, so streams with TLS "
                "cannot take part"
                if isinstance(stream, trio.SSLStream)
                else ""
            )
            raise TypeError(
                "stream must be a BatchSocketStream, "
                f"not {type(stream).__name__}{hint}"
            )
        self._members.check_open()
        self._members.add(stream)

    @enable_ki_protection
    def remove(self, stream: BatchSocketStream) -> Buffers:
        """Hand a stream back, for others to use or close.

        Returns:
          What was queued and not sent, for ``send_buffers`` to go on with.

        Raises:
          ValueError: it is not a member.
        """
        member = self._find(stream)
        self._members.forget(member)
        return member.queue or Buffers()

    # Ctrl-C comes out of the wait then, and not between the kernel's giving
    # the bytes and their being handed out.
    @enable_ki_protection
    async def receive_batch(
        self, max_streams: int = 128
    ) -> list[tuple[BatchSocketStream, bytes]]:
        """Receive from every member that has something, and wait for one.

        Args:
          max_streams: At most this many, at least 1. Those that are left out
            come first the next time.

        Returns:
          At least one pair of a stream and 1 to ``receive_size`` bytes, no
          two of one stream. ``b""`` comes once, last: the peer has ended, and
          may still be sent to; or the connection broke, and ``error`` says
          so.

        Raises:
          ValueError: ``max_streams`` is below 1.
          trio.BusyResourceError: another task is receiving from this group.
          trio.ClosedResourceError: the group was closed.

        A member that is behind (its queue has not left) is not read from.
        What is cancelled has taken nothing. It is always a checkpoint.
        """
        count = max_streams
        if type(count) is not int or count < 1:
            count = at_least(1, count, "max_streams")
        return await self._receives.next(count)

    def send_batch_nowait(
        self, messages: Iterable[tuple[BatchSocketStream, Message]]
    ) -> list[tuple[BatchSocketStream, Exception]]:
        """Send to many members, with one call, and queue what does not fit.

        Args:
          messages: Pairs of a stream and what to send on it, ``bytes`` or a
            list of them. Several for one stream keep their order, and leave
            together.

        Returns:
          A pair for each message that was not accepted, of which nothing was
          taken: its stream, and why. ``ClosedResourceError``: closed by us,
          or ``send_eof`` was called. ``BrokenResourceError``: the connection
          broke. ``BusyResourceError``: a task is sending on it itself.
          ``WouldBlock``: its queue would be longer than ``max_queued``.
          ``ValueError``: it is not a member. Of several messages for one
          stream all after the first that was not accepted are not either.

        Raises:
          TypeError: a message is neither ``bytes`` nor a list of them, or its
            stream not a ``BatchSocketStream``. Nothing was sent.
          trio.ClosedResourceError: the group was closed.

        What the kernel does not take is queued, and leaves by itself.
        Synchronous, and not a checkpoint.
        """
        self._members.check_open()
        return self._sends.send(messages)

    def queued(self, stream: BatchSocketStream) -> int:
        """Return the bytes that are queued on a member, and not sent.

        Raises:
          ValueError: it is not a member.
        """
        queue = self._find(stream).queue
        return 0 if queue is None else queue.nbytes

    def error(self, stream: BatchSocketStream) -> OSError | None:
        """Return what broke a member's connection, or None if it has not.

        Raises:
          ValueError: it is not a member.
        """
        return self._find(stream).error

    async def flush(self, stream: BatchSocketStream | None = None) -> None:
        """Wait until nothing is queued, on one member or on any.

        Args:
          stream: The member; all of them by default.

        Raises:
          ValueError: it is not a member.
          trio.BrokenResourceError: its connection broke, with bytes queued.
            Those that break are not waited for when all are.
          trio.ClosedResourceError: it was closed or removed meanwhile, or the
            group was closed.

        It is always a checkpoint.
        """
        self._members.check_open()
        members = self._members
        if stream is None:
            await checkpoint()
            while members.behind:
                await members.settled.park()
                self._members.check_open()
            return
        member = self._find(stream)
        await checkpoint()
        while member in members.behind:
            await members.settled.park()
        self._members.check_open()
        if self._members.get(stream) is not member:
            raise trio.ClosedResourceError("the stream has left its group")
        if member.queue is not None:
            assert member.error is not None
            raise broken(member.error) from member.error

    def statistics(self) -> GroupStatistics:
        """Return what this group has, and has done so far."""
        members = self._members
        return GroupStatistics(
            members=len(members.by_fd),
            behind=len(members.behind),
            queued_size=queued_size(members.behind),
            batches=self._receives.batches,
            largest=self._receives.largest,
        )

    @enable_ki_protection
    def _close_when_sent(self, stream: BatchSocketStream) -> None:
        """Close a member once nothing is queued on it; for the server."""
        member = self._members.get(stream)
        if member is not None:
            self._members.close_when_sent(member)

    def _find(self, stream: BatchSocketStream) -> Member:
        member = self._members.get(stream)
        if member is None:
            raise not_a_member(stream)
        return member
