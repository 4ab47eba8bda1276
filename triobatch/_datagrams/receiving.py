"""Filling a socket's arena: how much to ask for, and which errors to skip.

A call brings what is there, so a batch grows with the load by itself. What
adapts is the number of slots that are offered:

* After a wait that brought one message, the next wait is followed by a plain
  receive of one slot: with few packets waiting, preparing a vector for many
  is what makes recvmmsg slower than recvfrom (golang/net#81). If more came
  meanwhile, the next call finds them without a wait, and takes the vector.
* Where the slots bring trains (UDP_GRO), as many are offered as bring about
  the wanted number of datagrams, so that what is copied out is still in the
  cache.
"""

from __future__ import annotations

from triobatch._core import calls
from triobatch._core.arena import Arena
from triobatch._datagrams.errnos import MAX_REPORTS, REPORTED, REPORTED_BY_UNIX
from triobatch._datagrams.inbox import Inbox
from triobatch._datagrams.statistics import ReceiveCounters
from triobatch._wire.addresses import AF_INET, AF_INET6

# What is fetched at once, in datagrams, if less is asked for.
BATCH = 64


class Receiver:
    """The receiving half of a socket, without the waiting."""

    def __init__(self, family: int) -> None:
        self.counters = ReceiveCounters()
        self.inbox = Inbox(Arena(calls.MAX_MESSAGES, family))
        internet = family in {AF_INET, AF_INET6}
        self._reported = REPORTED if internet else REPORTED_BY_UNIX
        self._lone = False
        # Datagrams a message, rounded up, in the last filling.
        self._train = 1

    def fill(self, fd: int, wanted: int, *, waited: bool) -> bool:
        """Receive into the arena, which must be used up, if it can be done.

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
        slots = -(-max(wanted, BATCH) // self._train)
        if waited and self._lone:
            slots = 1
        reports = 0
        while True:
            self.counters.calls += 1
            try:
                received = calls.receive_datagrams(fd, self.inbox.arena, slots)
            except BlockingIOError:
                return False
            except OSError as exc:
                # Each call takes one report off; what does not end is none.
                reports += 1
                if exc.errno not in self._reported or reports > MAX_REPORTS:
                    raise
                self.counters.reports += 1
                continue
            break
        datagrams = self.inbox.fill(received)
        self.counters.datagrams += datagrams
        self._lone = waited and received == 1
        self._train = -(-datagrams // received)
        return True
