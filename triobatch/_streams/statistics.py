"""What a stream counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """What a ``BatchSocketStream`` has done so far.

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
