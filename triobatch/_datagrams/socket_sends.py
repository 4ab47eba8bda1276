"""What a datagram socket offers to a task that sends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from triobatch._datagrams.errors import Errors, ignores
from triobatch._datagrams.outcomes import raise_only_error, result_of
from triobatch._datagrams.sending import SendHalf
from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import Datagram, Datagrams
from triobatch._queues.views import (
    list_of,
)
from triobatch._resource import Claim
from triobatch._wire.addresses import Address
from triobatch._wire.hints import Buffer
from triobatch._wire.metadata import Metadata

_NOTHING = contextlib.nullcontext()


class DatagramSender:
    """The sending methods of ``DatagramSocket``.

    Args:
      send: The half that does it.
    """

    def __init__(self, send: SendHalf) -> None:
        self._send = send

    async def send(
        self,
        data: Buffer | Buffers,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> None:
        """Send one datagram.

        Args:
          data: The payload, at most 65507 bytes over IPv4 and 65527 over
            IPv6. The chunks of a ``Buffers`` are gathered into the one
            datagram, and consumed when the kernel has taken it.
          address: Where to, with a numeric host; ``None`` is the connected
            peer.
          metadata: What its IP header shall say.
          errors: ``"ignore"`` to count and drop it, a ``Buffers`` too, where
            the kernel refuses it; see ``send_batch``.

        Raises:
          DatagramError: an OSError: the kernel refused it, and a ``Buffers``
            is left as it was.
          TypeError, ValueError: an argument is impossible. Nothing was done.
          BusyResourceError: another task is sending, or sending this
            ``Buffers``.
          ClosedResourceError: the socket is closed.

        If it is cancelled, the datagram was not sent. See udp(7), unix(7).
        """
        if type(data) is bytes and data and metadata is None:
            half = self._send
            rest = await half.send_at_once(
                data,
                address,
                half.peer_of(address),
                ignore=errors != "raise" and ignores(errors),
            )
            if rest is not None:
                raise_only_error(rest)
            return
        with _one_at_a_time(data):
            await self._send.send_one(
                self._send.one(data, address, metadata, errors)
            )

    def send_nowait(
        self,
        data: Buffer | Buffers,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> None:
        """Send one datagram now, or raise ``WouldBlock``; see ``send``."""
        if type(data) is bytes and data and metadata is None:
            half = self._send
            rest = half.send_at_once_nowait(
                data,
                address,
                half.peer_of(address),
                ignore=errors != "raise" and ignores(errors),
            )
            if rest is not None:
                raise_only_error(rest)
            return
        with _one_at_a_time(data):
            self._send.send_one_nowait(
                self._send.one(data, address, metadata, errors)
            )

    async def send_batch(
        self,
        datagrams: Datagrams | Iterable[Datagram],
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send a batch of datagrams, each to its own address.

        Args:
          datagrams: ``(payload, address)`` pairs, as ``receive_batch``
            returns them, or ``(payload, address, metadata)``. A ``Datagrams``
            is consumed as the kernel takes them; of another iterable nobody
            can say afterwards.
          metadata: What the IP header of each shall say, but for those that
            have metadata of their own.
          errors: What becomes of the datagrams that the kernel refuses.
            ``"ignore"`` counts them (``statistics().refused``) and drops
            them, so that a ``Datagrams`` is empty afterwards. Answer with
            that: who asks decides about the address, which may be none that
            can be sent to (port 0, no route, a filter, no name).

        Returns:
          How many datagrams were sent: all of them, but for the ignored.

        Raises:
          DatagramErrorGroup: some were refused, with a ``DatagramError`` for
            each, which has its index in the batch; all others were sent. A
            ``Datagrams`` holds the refused ones.
          OSError: the socket has failed. A ``Datagrams`` holds what was not
            sent.
          TypeError, ValueError: an argument is impossible. Nothing was done.
          BusyResourceError: another task is sending, or sending this
            ``Datagrams``.
          ClosedResourceError: the socket is closed.

        Datagrams to one address leave in order; those to different ones may
        pass each other, but none passes one that the kernel has no room for:
        on an unconnected Unix socket a peer that does not read holds up the
        whole batch, and is best sent to alone. If it is cancelled, a
        ``Datagrams`` holds exactly what was not sent, and can be passed
        again. See sendmmsg(2), udp(7), unix(7).
        """
        if type(datagrams) is list and datagrams and metadata is None:
            batch = self._send.pack_pairs(datagrams)
            if batch is not None:
                # Afterwards it may be another's.
                count = batch.count
                rest = await self._send.send_at_once(
                    batch,
                    datagrams[0][1],
                    batch.peer,
                    ignore=errors != "raise" and ignores(errors),
                )
                return count if rest is None else result_of(rest)
        if not isinstance(datagrams, Datagrams):
            # Not kept in this frame, which an error's traceback has.
            return await self._send.send(
                self._send.gathered(datagrams, metadata, errors)
            )
        Claim.check(datagrams)
        return await self._send.send_queue(datagrams, metadata, errors)

    def send_batch_nowait(
        self,
        datagrams: Datagrams,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send what goes now of a batch; see ``send_batch``.

        Args:
          datagrams: A ``Datagrams``, which holds the rest afterwards.
          metadata: What the IP header of each shall say.
          errors: What becomes of refused datagrams; see ``send_batch``.

        Returns:
          How many datagrams were sent: at least one of a batch that is not
          empty, unless those at its front are ignored. Of a long one not all,
          even where nothing is full: about 2 MiB, or 2048 datagrams, so that
          other tasks get their turn.

        Raises:
          WouldBlock: the first cannot be sent now. Those behind it are not
            tried, also if they go to other addresses.
        """
        if not isinstance(datagrams, Datagrams):
            raise TypeError(
                "datagrams must be a Datagrams, which can hold the rest, "
                f"not {type(datagrams).__name__}"
            )
        Claim.check(datagrams)
        return self._send.send_queue_nowait(datagrams, metadata, errors)

    async def send_many(
        self,
        payloads: Iterable[Buffer],
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send many datagrams to one address; see ``send_batch``.

        Args:
          payloads: One payload a datagram. Equal sizes go fastest.
          address: Where to; ``None`` is the connected peer.
          metadata: What the IP header of each shall say.
          errors: What becomes of refused datagrams; see ``send_batch``.

        Returns:
          How many datagrams were sent: all of them, but for the ignored.

        If it is cancelled, some may have been sent, from the first on;
        ``send_batch`` with a ``Datagrams`` tells which.
        """
        listed = payloads if type(payloads) is list else _listed(payloads)
        half = self._send
        first, peer = half.pack(listed, address)
        if first is not None and metadata is None:
            # Afterwards it may be another's.
            count = 1 if isinstance(first, bytes) else first.count
            rest = await half.send_at_once(
                first,
                address,
                peer,
                ignore=errors != "raise" and ignores(errors),
            )
            return count if rest is None else result_of(rest)
        return await half.send(
            half.many(listed, first, address, metadata, errors)
        )

    def send_many_nowait(
        self,
        payloads: Iterable[Buffer],
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send what goes now, from the first on; see ``send_many``.

        Returns:
          How many datagrams were sent; see ``send_batch_nowait``.

        Raises:
          WouldBlock: none can be sent now.
        """
        listed = payloads if type(payloads) is list else _listed(payloads)
        half = self._send
        first, peer = half.pack(listed, address)
        if first is not None and metadata is None:
            # Afterwards it may be another's.
            count = 1 if isinstance(first, bytes) else first.count
            rest = half.send_at_once_nowait(
                first,
                address,
                peer,
                ignore=errors != "raise" and ignores(errors),
            )
            return count if rest is None else result_of(rest)
        return half.send_nowait(
            half.many(listed, first, address, metadata, errors)
        )

    async def send_segments(
        self,
        data: Buffer,
        segment_size: int,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send ``data`` as datagrams of one size; see ``send_batch``.

        Args:
          data: The payloads, one behind the other, of any length. They are
            not copied. No bytes are no datagrams.
          segment_size: Bytes a datagram, at least 1; the last is shorter
            where they do not add up.
          address: Where to; ``None`` is the connected peer.
          metadata: What the IP header of each shall say.
          errors: What becomes of refused datagrams; see ``send_batch``.

        Returns:
          How many datagrams were sent: all of them, but for the ignored.

        If it is cancelled, some may have been sent, from the first on.
        """
        dispatch = self._send.cut(
            data, segment_size, address, metadata, errors
        )
        return await self._send.send(dispatch)

    def send_segments_nowait(
        self,
        data: Buffer,
        segment_size: int,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors = "raise",
    ) -> int:
        """Send what goes now, from the first on; see ``send_segments``.

        Returns:
          How many datagrams were sent; see ``send_batch_nowait``.

        Raises:
          WouldBlock: none can be sent now.
        """
        dispatch = self._send.cut(
            data, segment_size, address, metadata, errors
        )
        return self._send.send_nowait(dispatch)


def _listed(payloads: Iterable[Buffer]) -> list[Buffer]:
    return list_of(payloads, "payloads", "bytes-like objects")


def _one_at_a_time(
    data: Buffer | Buffers,
) -> contextlib.AbstractContextManager[None]:
    """Keep others from consuming a ``Buffers`` that is being sent."""
    return Claim(data) if isinstance(data, Buffers) else _NOTHING
