"""What a group receives: one call for all that have something."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

import trio
from trio.lowlevel import (
    checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._core import calls
from triobatch._core.counts import os_error
from triobatch._resource import Guard, pause_after
from triobatch._streams.group_sending import NOT_NOW

if TYPE_CHECKING:
    from triobatch._streams.group_members import Members
    from triobatch._streams.stream import BatchSocketStream

    Batch: TypeAlias = list[tuple[BatchSocketStream, bytes]]

# Batches that are waited for after one that had not come in a turn.
_DOUBTS = 16

# Seconds for which a server goes from one batch to the next before the other
# tasks have their turn. A pass of Trio's scheduler takes 7 us, and a batch of
# 10 small requests 55.
TURN = 0.0005


class GroupReceives:
    """The receiving half of a group.

    Args:
      members: The group's.
      receive_size: At most this many bytes from one stream in a batch.
    """

    def __init__(self, members: Members, receive_size: int) -> None:
        self._members = members
        self._arena = calls.GroupArena(receive_size)
        self._guard = Guard("another task is receiving from this group")
        self._doubts = 0
        # When other tasks are to have their turn, by the monotonic clock.
        self._turn_ends = 0.0
        self.batches = 0
        self.largest = 0

    # Ctrl-C comes out of the wait then, and not between the kernel's giving
    # the bytes and their being handed out.
    @enable_ki_protection
    async def next(self, count: int, turn: float = 0) -> Batch:
        """Receive from at most ``count``, and wait for one.

        Args:
          count: Streams, at least 1.
          turn: Other tasks have their turn if they had none for so many
            seconds, in each call by default. It can always be cancelled.
        """
        members = self._members
        readers = members.readers
        guard = self._guard
        if guard.busy:
            guard.check()
        guard.busy = True  # a third of a with block
        idle_wakes = 0
        try:
            while True:
                if members.closed:
                    members.check_open()
                # Who was answered a moment ago has often asked again when the
                # others have had their turn: that saves an epoll_ctl, and a
                # wait. If not, it is not expected for some batches to come.
                hopeful = self._doubts == 0
                if hopeful or readers.has_ready():
                    if turn and monotonic() < self._turn_ends:
                        await checkpoint_if_cancelled()
                    else:
                        await checkpoint()
                        self._turn_ends = monotonic() + turn
                else:
                    try:
                        await readers.wait()
                    except trio.ClosedResourceError:
                        continue
                    self._turn_ends = monotonic() + turn
                if members.closed:
                    continue
                batch = self._pull(count)
                if hopeful:
                    self._doubts = 0 if batch else _DOUBTS
                elif batch:
                    self._doubts -= 1
                if batch:
                    return batch
                idle_wakes += 1
                await pause_after(idle_wakes)
        finally:
            guard.busy = False

    @enable_ki_protection
    def _pull(self, count: int) -> Batch:
        """Receive from those that are ready; none of them may have a thing."""
        members = self._members
        fds = members.readers.take(count)
        if not fds:
            return []
        ready = members.verified(fds)
        if not ready:
            return []
        batch: Batch = []
        results = calls.receive_group(self._arena, fds)
        # The rest is named again.
        del ready[len(results) :]
        for member, result in zip(ready, results, strict=True):
            member.receive_calls += 1
            if isinstance(result, bytes):
                batch.append((member.stream, result))
                if result:
                    member.bytes_received += len(result)
                else:
                    members.end(member, None)
            elif -result not in NOT_NOW:
                members.end(member, os_error(-result))
                batch.append((member.stream, b""))
        if batch:
            self.batches += 1
            if len(batch) > self.largest:
                self.largest = len(batch)
        return batch
