"""What a batch sender counts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """What a batch sender has done so far, and in the end when it has ended.

    Attributes:
      buffered_size: Bytes that are queued, or in the batch on its way. What
        is ``unsent`` when it has ended is neither.
      peak_size: The most that this ever was.
      waiting: How many tasks wait for room; of a ``DatagramBatchSender``, for
        the outcome of a datagram.
      messages: How many messages, or datagrams, the target has taken.
      refused: How many datagrams the kernel refused.
      batches: In how many batches; one that was cut short counts if any
        message of it was taken.
      send_calls: The system calls by which the target has sent for it; None
        for a stream that is no ``BatchSocketStream``.
      longest_wait: The longest that a message took from the queue to the
        kernel, in seconds.
    """

    buffered_size: int
    peak_size: int
    waiting: int
    messages: int
    refused: int
    batches: int
    send_calls: int | None
    longest_wait: float
