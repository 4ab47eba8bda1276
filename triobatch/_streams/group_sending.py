"""What a group sends: one call for all, and a queue for what does not fit."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._core import calls
from triobatch._core.counts import os_error
from triobatch._core.messages import as_pieces
from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.views import list_of
from triobatch._resource import closed_socket
from triobatch._streams.sending import sent_eof
from triobatch._wire.arguments import must_be

if TYPE_CHECKING:
    from collections.abc import Iterable

    from triobatch._core.messages import Message
    from triobatch._streams.group_members import Member, Members
    from triobatch._streams.group_statistics import Member as InGroup
    from triobatch._streams.stream import BatchSocketStream

    Refused: TypeAlias = list[tuple[BatchSocketStream, Exception]]

# What a call that would wait answers. (EINTR: the core has given up.)
NOT_NOW = frozenset((errno.EAGAIN, errno.EINTR))


def broken(error: OSError) -> trio.BrokenResourceError:
    """Return what a stream raises for it."""
    result = trio.BrokenResourceError(f"socket connection broken: {error}")
    result.__cause__ = error
    return result


def _no_pair(offered: list[Any], error: Exception) -> TypeError:
    """Return what to say of messages of which one is no pair."""
    for index, item in enumerate(offered):
        if not isinstance(item, tuple | list) or len(item) != 2:
            what = f"message {index} must be a (stream, message) pair"
            return TypeError(must_be(what, item))
    return TypeError(f"messages must be of streams: {error}")


def not_a_member(stream: object) -> ValueError:
    """Return the error for what is no member of a group."""
    return ValueError(must_be("stream must be a member of this group", stream))


class GroupSends:
    """The sending half of a group.

    Args:
      members: The group's.
      max_queued: A stream's queue is no longer than this and one message.
    """

    def __init__(self, members: Members, max_queued: int) -> None:
        self._members = members
        self._max_queued = max_queued

    @enable_ki_protection
    def send(
        self, offered: Iterable[tuple[BatchSocketStream, Message]]
    ) -> Refused:
        """Send; return the streams of messages not accepted, and why."""
        if type(offered) is list:
            offered = offered.copy()
        else:
            offered = list_of(offered, "messages", "(stream, message) pairs")
        # The rule is one message for each stream.
        try:
            by_stream = dict(offered)
        # The first for a view of several dimensions.
        except (NotImplementedError, TypeError, ValueError) as error:
            raise _no_pair(offered, error) from error
        several: dict[BatchSocketStream, list[Message]] = {}
        if len(by_stream) != len(offered):
            for stream, message in offered:
                several.setdefault(stream, []).append(message)
            by_stream = {
                stream: [
                    piece for message in each for piece in as_pieces(message)
                ]
                for stream, each in several.items()
            }
        home = self._members
        sent_to: list[InGroup] = []
        fds: list[int] = []
        messages: list[Message] = []
        others: list[BatchSocketStream] = []
        for stream, message in by_stream.items():
            try:
                member = stream._member
            except AttributeError:
                raise TypeError(
                    "stream must be a BatchSocketStream, "
                    f"not {type(stream).__name__}"
                ) from None
            # A socket that was shut down for sending says so with EPIPE.
            if (
                member is None
                or member.free_in is not home
                or member.guard.busy
                or member.fileno() != member.fd
            ):
                as_pieces(message)
                others.append(stream)
                continue
            if member.sending._lifted:
                member.sending._put_back_before(
                    sum(map(len, as_pieces(message)))
                )
            sent_to.append(member)
            fds.append(member.fd)
            messages.append(message)
        refused: Refused = []
        if fds:
            results, all_whole = calls.send_group(fds, messages)
            if all_whole:
                for member, result in zip(sent_to, results, strict=True):
                    member.send_calls += 1
                    member.bytes_sent += result
            else:
                for fd, result in zip(fds, results, strict=True):
                    stream = home.by_fd[fd].stream
                    self._account(
                        stream,
                        several.get(stream) or [by_stream[stream]],
                        result,
                        refused,
                    )
        for stream in others:
            self._obstructed(
                stream, several.get(stream) or [by_stream[stream]], refused
            )
        return refused

    def _account(
        self,
        stream: BatchSocketStream,
        messages: list[Message],
        result: int,
        refused: Refused,
    ) -> None:
        """Account for one of some of which not all were taken whole."""
        member = self._members.get(stream)
        assert member is not None
        member.send_calls += 1
        size = sum(
            len(piece) for each in messages for piece in as_pieces(each)
        )
        if result == size:
            member.bytes_sent += size
            return
        if result >= 0:
            member.bytes_sent += result
            member.sending.partial_writes += 1
        elif -result in NOT_NOW:
            result = 0
        elif stream.socket.did_shutdown_SHUT_WR:
            refused += [(stream, sent_eof())] * len(messages)
            return
        else:
            error = os_error(-result)
            self._members.fail(member, error)
            refused += [(stream, broken(error))] * len(messages)
            return
        self._queue(member, messages, result, refused)

    def _obstructed(
        self,
        stream: BatchSocketStream,
        messages: list[Message],
        refused: Refused,
    ) -> None:
        """Queue behind what is queued, or say what is in the way."""
        member = self._members.get(stream)
        error: Exception
        if stream.socket.fileno() == -1:
            if member is not None:
                self._members.forget(member)
            error = closed_socket()
        elif member is None:
            error = not_a_member(stream)
        elif member.error is not None:
            error = broken(member.error)
        elif stream.socket.did_shutdown_SHUT_WR:
            error = sent_eof()
        elif member.queue is not None:
            self._queue(member, messages, 0, refused)
            return
        else:
            error = trio.BusyResourceError(
                "another task is currently sending data on this "
                "BatchSocketStream"
            )
        refused += [(stream, error)] * len(messages)

    def _queue(
        self,
        member: Member,
        messages: list[Message],
        taken: int,
        refused: Refused,
    ) -> None:
        """Queue messages, of which the kernel has taken the first bytes."""
        queue = Buffers() if member.queue is None else member.queue
        for i, message in enumerate(messages):
            pieces = as_pieces(message)
            size = sum(map(len, pieces))
            if taken >= size:
                taken -= size
                continue
            if queue and queue.nbytes + size > self._max_queued:
                full = trio.WouldBlock(
                    f"{queue.nbytes} bytes are queued on this stream already"
                )
                refused += [(member.stream, full)] * (len(messages) - i)
                break
            queue.extend(pieces)
            drop(queue, taken)
            taken = 0
        if member.queue is None and queue:
            self._members.fall_behind(member, queue)
