"""The receiving half of a datagram socket: how much to ask for, and waiting.

A call brings what is there, so a batch grows with the load by itself. What
adapts is the number of slots that are offered:

* After a wait that brought one message, the next wait is followed by a plain
  receive of one slot: with few packets waiting, preparing a vector for many
  is what makes recvmmsg slower than recvfrom (golang/net#81). If more came
  meanwhile, the next call finds them without a wait, and takes the vector.
* Where the slots bring trains (UDP_GRO), as many are offered as bring about
  the wanted number of datagrams, so that what is copied out is still in the
  cache.

The memory is taken for a call, and kept until all that it brought is handed
out; a task that waits has none (``_core/receive_memory.py``).
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import trio
from trio.lowlevel import current_task

from triobatch._core.arena import DATAGRAMS, MESSAGES, NEXT
from triobatch._datagrams.errnos import (
    MAX_FLOODS,
    MAX_REPORTS,
    ONLY_REPORTED,
    REPORTED,
    REPORTED_BY_UNIX,
)
from triobatch._datagrams.message_inbox import MessageInbox, MetadataCache
from triobatch._datagrams.statistics import ReceiveCounters
from triobatch._resource import Guard, closed_socket, open_fd, pause_after
from triobatch._wire.addresses import AF_INET, AF_INET6
from triobatch._wire.metadata import (
    Metadata,
    check_fields,
    metadata_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._datagrams.kernel import AnyReadiness, AnySocket, Kernel
    from triobatch._wire.addresses import Address
    from triobatch._wire.error_queue import PeerError
    from triobatch._wire.metadata import Message

    # What an answer shall have, and the datagrams that get such answers.
    Asked: TypeAlias = tuple[Metadata, list[tuple[bytes, Address]]]

T = TypeVar("T")

# What is fetched at once, in datagrams, if less is asked for.
BATCH = 64


class Filling:
    """Fills the slots of an arena, and decides how many are offered.

    Args:
      inbox: Told what has come.
      family: The socket's.
      kernel: What makes its calls.
      ahead: How many datagrams are fetched if fewer are wanted.

    Attributes:
      inbox: As above.
      counters: What has come so far.
      flooded: Whether the last call met reports only, so that waiting for
        readiness is no use.
    """

    __slots__ = (
        "_ahead",
        "_floods",
        "_kernel",
        "_lone",
        "_reported",
        "_train",
        "counters",
        "flooded",
        "inbox",
    )

    def __init__(
        self,
        inbox: MessageInbox,
        family: int,
        kernel: Kernel,
        ahead: int = BATCH,
    ) -> None:
        self.counters: ReceiveCounters = ReceiveCounters()
        self.inbox: MessageInbox = inbox
        self.flooded: bool = False
        # One behind the other, without anything else between them.
        self._floods = 0
        self._kernel = kernel
        self._ahead = ahead
        internet = family in {AF_INET, AF_INET6}
        self._reported = REPORTED if internet else REPORTED_BY_UNIX
        self._lone = False
        # Datagrams a message, rounded up, in the last filling.
        self._train = 1

    def fill(self, fd: int, wanted: int, *, waited: bool) -> bool:
        """Receive into an arena, if there is something; the inbox has none.

        Args:
          fd: The socket.
          wanted: Datagrams, as a hint; there may be more.
          waited: Whether the socket has just become readable.

        Returns:
          Whether there are datagrams now.

        Raises:
          OSError: the socket has failed. What the network has reported of
            datagrams that were sent is no failure; it is counted.
        """
        inbox = self.inbox
        if inbox.loan is not None:
            inbox.reclaim()
        self.flooded = False
        # Not max(), which takes 0.2 us of 3.
        slots = wanted if wanted > self._ahead else self._ahead  # noqa: FURB136
        if self._train > 1:
            slots = -(-slots // self._train)
        if waited and self._lone:
            slots = 1
        counters = self.counters
        try:
            memory = inbox.spares.pop()
        except IndexError:
            memory = inbox.spares.make()
        reports = 0
        while True:
            counters.calls += 1
            try:
                received = self._kernel.receive_datagrams(
                    fd, memory.arena, slots
                )
            except OSError as exc:
                # Each call takes one report off, and whoever likes can forge
                # them as fast. What does not end is none.
                if exc.errno not in self._reported or (
                    self._floods >= MAX_FLOODS
                    and exc.errno not in ONLY_REPORTED
                ):
                    inbox.spares.append(memory)
                    raise
                reports += 1
                counters.reports += 1
                if reports == MAX_REPORTS:
                    inbox.spares.append(memory)
                    self._floods += 1
                    self.flooded = True
                    return False
                continue
            break
        self._floods = 0
        if not received:
            inbox.spares.append(memory)
            return False
        inbox.memory = memory
        datagrams = memory.filling[DATAGRAMS]
        counters.datagrams += datagrams
        self._lone = waited and received == 1
        self._train = 1 if datagrams == received else -(-datagrams // received)
        return True


class ReceiveHalf:
    """One socket's way in.

    Args:
      socket: The socket.
      readiness: What is waited for.
      filling: What fetches its datagrams.

    Attributes:
      inbox: What has come, and was not handed out yet.
      counters: What has come so far.
    """

    __slots__ = (
        "_errors_guard",
        "_filling",
        "_guard",
        "_options",
        "_readiness",
        "_socket",
        "_takes",
        "counters",
        "inbox",
    )

    def __init__(
        self, socket: AnySocket, readiness: AnyReadiness, filling: Filling
    ) -> None:
        self.inbox: MessageInbox = filling.inbox
        self.counters: ReceiveCounters = filling.counters
        self._filling = filling
        self._socket = socket
        self._readiness = readiness
        self._guard = Guard(
            "another task is receiving on this socket, or has its runs"
        )
        self._errors_guard = Guard(
            "another task is receiving errors on this socket"
        )
        # Those that are on.
        self._options: tuple[tuple[int, int], ...] = ()
        self._takes: dict[
            frozenset[str] | None, Callable[[int], list[Message]]
        ] = {}

    # The guard by hand here and below: its ``with`` block is a third of what
    # receiving one datagram costs in frames.
    @trio.lowlevel.enable_ki_protection
    async def receive(
        self, limit: int, take: Callable[[int], list[T]]
    ) -> list[T]:
        """Wait for datagrams, and take up to ``limit`` out of the inbox.

        Args:
          limit: How many, at least 1.
          take: The method of the inbox that does it.
        """
        guard = self._guard
        if guard.busy:
            guard.check()
        guard.task = current_task()
        guard.busy = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            fd = self._socket.fileno()
            if fd == -1:
                raise closed_socket()
            # Datagrams leave the inbox after the last point at which
            # anything can be raised, and before other tasks run: these then
            # have the memory.
            memory = self.inbox.memory
            if (
                memory is not None
                and memory.filling[NEXT] < memory.filling[MESSAGES]
            ) or self._filling.fill(fd, limit, waited=False):
                try:
                    return take(limit)
                finally:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            waits = 0
            while True:
                if self._filling.flooded:
                    await self._readiness.flooded()
                else:
                    # `again` if this is not the first wait.
                    await self._readiness.readable(again=waits > 0)
                    if waits:
                        await pause_after(waits)
                    waits += 1
                if self._filling.fill(
                    open_fd(self._socket), limit, waited=waits > 0
                ):
                    return take(limit)
        except (OSError, trio.ClosedResourceError):
            # A loop that goes on after the error must not starve other tasks.
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        finally:
            guard.busy = False
            guard.task = None

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(
        self, limit: int, take: Callable[[int], list[T]]
    ) -> list[T]:
        """Take what is there, or raise ``WouldBlock``; see ``receive``."""
        guard = self._guard
        if guard.busy:
            guard.check()
        guard.busy = True
        try:
            fd = self._socket.fileno()
            if fd == -1:
                raise closed_socket()
            memory = self.inbox.memory
            if (
                memory is not None
                and memory.filling[NEXT] < memory.filling[MESSAGES]
            ) or self._filling.fill(fd, limit, waited=False):
                return take(limit)
            raise trio.WouldBlock
        finally:
            guard.busy = False

    def hold(self) -> None:
        """Let nobody receive, right after a call that has."""
        self._guard.busy = True

    def let_go(self) -> None:
        """End ``hold``, and the loan of what was received."""
        self._guard.busy = False
        self.inbox.end_loan()

    def messages(self, fields: object) -> Callable[[int], list[Message]]:
        """Ask the kernel for metadata; return what takes datagrams with them.

        Args:
          fields: Names of ``Metadata``, or None for all that ``Message`` has.
        """
        names = check_fields(fields)
        take = self._takes.get(names)
        if take is None:
            self._ask_for(names)
            take = self._takes[names] = partial(
                self.inbox.take_messages,
                known=MetadataCache(lambda metadata: metadata.only(names)),
                timestamps=names is None,
            )
        return take

    def asked(self) -> Callable[[int], list[Asked]]:
        """Ask for what tells the address asked; return what takes by it."""
        self._ask_for(frozenset({"local_address"}))
        replies = MetadataCache(Metadata.for_reply)
        return partial(self.inbox.take_asked, replies=replies)

    def _ask_for(self, fields: frozenset[str] | None) -> None:
        if self._socket.fileno() == -1:
            # Receiving says so, behind a checkpoint.
            return
        options = metadata_options(int(self._socket.family), fields)
        for level, option in options:
            if (level, option) not in self._options:
                # A Unix socket has the timestamp only, other systems less.
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(level, option, 1)
                self._options += ((level, option),)

    async def receive_errors(self) -> list[PeerError]:
        """Wait for reports of the network, and take all that there are."""
        self._check_errors_are_kept()
        with self._errors_guard:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                self._readiness.drain()
                waits = 0
                while not self._readiness.errors:
                    await self._readiness.error(again=waits > 0)
                    await pause_after(waits)
                    waits += 1
                    self._readiness.drain()
            except (OSError, trio.ClosedResourceError):
                # As in ``receive``.
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise
            if not waits:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return self._take_errors()

    def receive_errors_nowait(self) -> list[PeerError]:
        """Take what there is, or raise ``WouldBlock``."""
        self._check_errors_are_kept()
        with self._errors_guard:
            self._readiness.drain()
            if not self._readiness.errors:
                raise trio.WouldBlock
            return self._take_errors()

    def _check_errors_are_kept(self) -> None:
        if not self._readiness.keep_errors:
            raise ValueError("the socket must be made with error_queue=True")

    @trio.lowlevel.enable_ki_protection
    def _take_errors(self) -> list[PeerError]:
        errors = list(self._readiness.errors)
        self._readiness.errors.clear()
        return errors
