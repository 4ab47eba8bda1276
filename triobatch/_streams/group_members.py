"""The streams of a group: which are read, which are behind, which have ended.

A member is in one of three states, and in one set at most:

- it is **read**: watched for reading;
- it is **behind**: bytes are queued. It is watched for writing, and is not
  read, so that a peer that does not take its answers cannot ask for more;
- its peer has **ended**, and nothing is queued: watched for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._resource import open_fd, pause_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from triobatch._queues.buffers import Buffers
    from triobatch._resource import Guard
    from triobatch._streams.group_readiness import ReadySet
    from triobatch._streams.sending import SendHalf
    from triobatch._streams.stream import BatchSocketStream

# How many of those that are behind are sent to before other tasks have a turn.
_TURN = 64


class Member:
    """What a group knows of a stream."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "close_when_sent",
        "ended",
        "error",
        "fd",
        "fileno",
        "free_in",
        "guard",
        "home",
        "queue",
        "receive_calls",
        "send_calls",
        "sending",
        "stream",
        "watched",
    )

    def __init__(
        self,
        home: Members,
        stream: BatchSocketStream,
        fd: int,
        fileno: Callable[[], int],
    ) -> None:
        self.home: Members = home
        self.stream: BatchSocketStream = stream
        # As it was registered; the socket may have another by now, or none.
        self.fd: int = fd
        # Asks the socket for it.
        self.fileno: Callable[[], int] = fileno
        # None as long as the kernel has taken everything.
        self.queue: Buffers | None = None
        self.error: OSError | None = None
        # Its home, if it is neither of the two and nothing keeps it from being
        # sent to.
        self.free_in: Members | None = home
        # Of the stream. What a request has to look at lies together: with 1000
        # connections most of its time goes to memory that is not in the cache.
        self.guard: Guard = stream._send_guard
        self.sending: SendHalf = stream._send
        # What the stream's own halves do not know of until it leaves.
        self.receive_calls: int = 0
        self.bytes_received: int = 0
        self.send_calls: int = 0
        self.bytes_sent: int = 0
        # Whether its b"" was handed out.
        self.ended: bool = False
        self.close_when_sent: bool = False
        self.watched: ReadySet | None = None

    def hand_over_counts(self) -> None:
        """Have the stream know what the group has done with it."""
        receiving = self.stream._receive
        receiving.calls += self.receive_calls
        receiving.bytes_received += self.bytes_received
        self.sending.calls += self.send_calls
        self.sending.bytes_sent += self.bytes_sent
        self.receive_calls = self.bytes_received = 0
        self.send_calls = self.bytes_sent = 0

    def leave(self) -> None:
        """Take the stream out of its group, which is about to be closed."""
        self.home.forget(self)


class Members:
    """The streams of one group, by their descriptors.

    Args:
      readers: Watches those that are read.
      writers: Watches those that are behind.
    """

    def __init__(self, readers: ReadySet, writers: ReadySet) -> None:
        self.readers = readers
        self.writers = writers
        self.by_fd: dict[int, Member] = {}
        self.behind: set[Member] = set()
        # Woken whenever one is behind no longer, for whatever reason.
        self.settled: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        # Numbers of sockets that were closed without the group's knowledge: a
        # set may still name them.
        self._suspects: set[int] = set()
        self.closed: bool = False
        # Its end is close(), and no cancellation from outside: so the block
        # that the group lives in ends with its own exception.
        self._scope = trio.CancelScope(shield=True)

    def check_open(self) -> None:
        """Raise ``ClosedResourceError`` if the group was closed."""
        if self.closed:
            raise trio.ClosedResourceError("this group was closed")

    @enable_ki_protection
    def text(self) -> str:
        """Return how many there are, for a repr."""
        closed = ", closed" if self.closed else ""
        return f"{len(self.by_fd)} streams{closed}"

    def add(
        self,
        stream: BatchSocketStream,
        fileno: Callable[[], int] | None = None,
    ) -> None:
        """Take a stream in.

        Args:
          stream: The stream.
          fileno: Asks for its descriptor in less time than its Trio socket
            does: the method of the socket that this was made of.

        Raises:
          trio.BusyResourceError: a task is receiving from it, or it is a
            member already, of this group or another.
          trio.ClosedResourceError: it was closed.
          OSError: the kernel cannot watch it, for want of memory.
        """
        fd = open_fd(stream.socket)
        if stream._member is not None:
            raise trio.BusyResourceError("the stream is in a group already")
        stream._receive.check_unused()
        former = self.by_fd.get(fd)
        if former is not None:
            self.forget(former)
        if fd in self._suspects:
            self._rebuild()
        self.readers.add(fd)
        member = Member(self, stream, fd, fileno or stream.socket.fileno)
        member.watched = self.readers
        self.by_fd[fd] = member
        stream._member = member
        stream._receive.lent = True

    @enable_ki_protection
    def forget(self, member: Member) -> None:
        """Let a member go, with what is queued."""
        if self.by_fd.get(member.fd) is not member:
            return
        if member.fileno() != member.fd:
            self._suspects.add(member.fd)
        self._watch(member, None)
        member.hand_over_counts()
        del self.by_fd[member.fd]
        member.stream._member = None
        member.stream._receive.lent = False
        member.close_when_sent = False
        self._settle(member)

    def get(self, stream: BatchSocketStream) -> Member | None:
        """Return what is known of a stream, None if it is no member."""
        member = getattr(stream, "_member", None)
        if isinstance(member, Member) and member.home is self:
            return member
        return None

    def verified(self, fds: list[int]) -> list[Member]:
        """Return the members of these numbers that are open and ours.

        Between a set's naming a number and its use there must be nothing but
        this. The others are taken out of ``fds``.
        """
        by_fd = self.by_fd
        try:
            members = [by_fd[fd] for fd in fds]
            if [member.fileno() for member in members] == fds:
                return members
        except KeyError:
            pass
        members = []
        for fd in fds:
            member = by_fd.get(fd)
            if member is not None:
                if member.fileno() == fd:
                    members.append(member)
                else:
                    self.forget(member)
        self._rebuild()
        fds[:] = [member.fd for member in members]
        return members

    def _rebuild(self) -> None:
        self._suspects.clear()
        for ready_set in (self.readers, self.writers):
            ready_set.rebuild(
                member.fd
                for member in self.by_fd.values()
                if member.watched is ready_set and member.fileno() == member.fd
            )

    def end(self, member: Member, error: OSError | None) -> None:
        """Have read the last of a member."""
        member.ended = True
        if error is not None and member.error is None:
            member.error = error
            member.free_in = None
        self._watch(member, None)

    def fall_behind(self, member: Member, queue: Buffers) -> None:
        """Have bytes queued on a member that was not behind until now."""
        member.queue = queue
        member.free_in = None
        # Nobody else may send in between.
        member.stream._send_guard.busy = True
        self.behind.add(member)
        # TCP_NOTSENT_LOWAT may be all that is in its way.
        self._push(member)
        if member in self.behind:
            self._watch(member, self.writers)

    def fail(self, member: Member, error: OSError) -> None:
        """Have found that a member's connection broke, by sending.

        What its peer sent before can still be received. What is queued stays,
        for whoever removes the stream.
        """
        if member.error is None:
            member.error = error
            member.free_in = None
        self._watch(member, None if member.ended else self.readers)
        self._settle(member)

    async def send_queued(self) -> None:
        """Send what is queued, when the kernel takes it, for ever."""
        idle_wakes = 0
        with self._scope:
            while not self.closed:
                try:
                    await self.writers.wait()
                except trio.ClosedResourceError:
                    return
                idle_wakes = 0 if self._send_turn() else idle_wakes + 1
                await pause_after(idle_wakes)

    @enable_ki_protection
    def _send_turn(self) -> bool:
        """Send on those that are ready; tell whether it came to anything."""
        if self.closed:
            return False
        ready = self.verified(self.writers.take(_TURN))
        changed = [self._push(member) for member in ready]
        return any(changed)

    def _push(self, member: Member) -> bool:
        """Send what is queued; tell whether that has changed anything."""
        queue = member.queue
        assert queue is not None
        before = queue.nbytes
        try:
            member.stream._send.send_nowait(queue)
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            assert isinstance(cause, OSError)
            # Not with the frames, which hold the queue.
            self.fail(member, cause.with_traceback(None))
        except trio.ClosedResourceError:
            self.forget(member)
        else:
            if not queue:
                member.queue = None
                member.free_in = self if member.error is None else None
                self._watch(member, None if member.ended else self.readers)
                self._settle(member)
        return queue.nbytes < before or member not in self.behind

    def _settle(self, member: Member) -> None:
        if member in self.behind:
            self.behind.discard(member)
            member.stream._send_guard.busy = False
            self.settled.unpark_all()
            if member.close_when_sent:
                self.forget(member)
                member.stream.socket.close()

    def close_when_sent(self, member: Member) -> None:
        """Close a stream as soon as nothing can be sent on it any more."""
        if member in self.behind:
            member.close_when_sent = True
        else:
            self.forget(member)
            member.stream.socket.close()

    def _watch(self, member: Member, wanted: ReadySet | None) -> None:
        if member.watched is not wanted:
            if member.watched is not None:
                member.watched.discard(member.fd)
            member.watched = wanted
            if wanted is not None:
                wanted.add(member.fd)

    def close(self) -> None:
        """Close all members, and the sets."""
        self.closed = True
        for member in list(self.by_fd.values()):
            self.forget(member)
            member.stream.socket.close()
        self._scope.cancel()
        self.readers.close()
        self.writers.close()


def queued_size(members: Iterable[Member]) -> int:
    """Return the bytes that are queued on some members."""
    return sum(
        member.queue.nbytes for member in members if member.queue is not None
    )
