"""The calls of a kernel in memory, made of one: to send one message."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from triobatch._core.tries import Tried, try_each

if TYPE_CHECKING:
    from triobatch._core import calls
    from triobatch._queues.views import Chunk
    from triobatch._wire.control import Control


class KernelCalls:
    """What of a ``Kernel`` sends; one derives from it and adds the rest.

    Args:
      most: How many messages a call looks at.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def _send(
        self,
        fd: int,
        payload: bytes,
        segment_size: int,
        peer: bytes,
        control: Control,
    ) -> None:
        """Send a message, as datagrams of ``segment_size`` bytes if not 0.

        Raises:
          OSError: no part of it went.
        """
        raise NotImplementedError

    def send_datagrams(
        self,
        fd: int,
        payload: bytes | memoryview,
        sizes: list[int],
        segment_sizes: list[int],
        peers: list[bytes],
        control: Control,
        controls: list[Control] | None = None,
    ) -> int:
        """Send messages; return how many went, at least one."""
        sizes = sizes[: self._most]
        # One for each, or one for all.
        if len(peers) == 1:
            peers = peers * len(sizes)
        if controls is None:
            controls = [control] * len(sizes)
        sent = start = 0
        for size, segment_size, peer, own in zip(
            sizes, segment_sizes, peers, controls, strict=False
        ):
            message = bytes(payload[start : start + size])
            try:
                self._send(fd, message, segment_size, peer, own)
            except OSError:
                # The next call meets it again (sendmmsg(2)).
                if sent:
                    break
                raise
            sent += 1
            start += size
        return sent

    def send_past(
        self,
        fd: int,
        payloads: list[Chunk],
        sizes: list[int],
        segment_sizes: list[int],
        peers: list[bytes],
        control: Control,
        tries: bytes,
        controls: list[Control] | None = None,
    ) -> Tried:
        """Send messages, past those that are refused."""
        sizes = sizes[: self._most]
        # One for each, or one for all.
        if len(peers) == 1:
            peers = peers * len(sizes)
        if controls is None:
            controls = [control] * len(sizes)
        payload = b"".join(payloads)
        messages = [
            (fd, payload[end - size : end], segment_size, peer, own)
            for size, end, segment_size, peer, own in zip(
                sizes,
                accumulate(sizes),
                segment_sizes,
                peers,
                controls,
                strict=False,
            )
        ]
        return try_each(self._send, messages, segment_sizes, tries)

    def send_segments(
        self,
        fd: int,
        data: bytes | memoryview,
        segment_size: int,
        run_size: int,
        peer: bytes,
        control: Control,
    ) -> int:
        """Send messages of one size; return how many bytes went."""
        most = min(len(data), self._most * run_size)
        starts = range(0, most, run_size)
        sizes = [min(run_size, most - start) for start in starts]
        segments = [
            segment_size if size > segment_size else 0 for size in sizes
        ]
        sent = self.send_datagrams(fd, data, sizes, segments, [peer], control)
        return sum(sizes[:sent])

    def send_datagram(self, fd: int, data: bytes, peer: bytes) -> None:
        """Send one datagram."""
        self._send(fd, data, 0, peer, ())

    def send_batch(self, fd: int, batch: calls.Batch) -> int:
        """Send datagrams of one size; return how many went."""
        size = batch.segment_size
        taken = self.send_segments(
            fd, batch.data, size, batch.run_size, batch.peer, ()
        )
        return -(-taken // size)

    def send_runs(
        self,
        fd: int,
        runs: list[Chunk],
        segment_sizes: list[int],
        peer: bytes,
        control: Control,
    ) -> int:
        """Send messages from where they lie; return how many went."""
        runs = runs[: self._most]
        return self.send_datagrams(
            fd,
            b"".join(runs),
            list(map(len, runs)),
            segment_sizes,
            [peer],
            control,
        )
