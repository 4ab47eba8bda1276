"""The datagram calls on the C core: shapes and lifetimes, nothing else."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from triobatch._core._c import ffi, lib
from triobatch._core.arena import slot_size_error
from triobatch._core.counts import os_error
from triobatch._core.tries import Tried
from triobatch._wire.control import Control, pack_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from triobatch._core.arena import Arena

MAX_MESSAGES: int = lib.TB_MESSAGES

# A look-up in lib costs 23 ns a call.
_send_datagrams = lib.tb_send_datagrams
_send_datagram = lib.tb_send_datagram
_send_past = lib.tb_send_past
_send_runs = lib.tb_send_runs
_send_segments = lib.tb_send_segments
_receive_datagrams = lib.tb_receive_datagrams
_from_buffer = ffi.from_buffer
_NULL = ffi.NULL
_OUTCOMES = ffi.typeof("struct tb_outcomes *")
# Messages that one call took, the rule, have nothing else to tell.
_TAKEN = [Tried(bytes(count), 0, 1, 0) for count in range(MAX_MESSAGES + 1)]


def send_datagrams(
    fd: int,
    payload: bytes | memoryview,
    sizes: Sequence[int],
    segment_sizes: Sequence[int],
    peers: Sequence[bytes],
    control: Control = (),
    controls: Sequence[Control] | None = None,
) -> int:
    """Send up to ``MAX_MESSAGES`` messages with one ``sendmmsg``.

    Args:
      fd: A datagram socket.
      payload: The messages' bytes, one behind the other.
      sizes: Bytes a message.
      segment_sizes: What the kernel cuts each message into, 0 for a plain
        one.
      peers: One sockaddr for all the messages, or one for each; ``b""`` is
        the connected peer.
      control: What goes with every message.
      controls: What goes with each, in place of that.

    Returns:
      How many messages were sent, at least one. What stopped the call
      there, if they are not all, the next call tells.

    Raises:
      OSError: the first message was refused. EINVAL, without a call, where
        the messages are more bytes than ``payload`` or the peers or controls
        are several, and fewer than the messages.
    """
    names = b"".join(peers)
    packed, control_sizes = _pack(control, controls)
    # cffi takes bytes as they are. Of anything else an export tells the size.
    data = payload if type(payload) is bytes else _from_buffer(payload)
    try:
        sent: int = _send_datagrams(
            fd,
            data,
            len(data),
            sizes,
            segment_sizes,
            len(sizes),
            names,
            len(names),
            list(map(len, peers)),
            len(peers) if names else 0,
            packed,
            len(packed),
            control_sizes,
            len(control_sizes),
        )
    finally:
        if data is not payload:
            _release(data)
    if sent < 0:
        raise os_error(-sent)
    return sent


def send_past(
    fd: int,
    payloads: Sequence[bytes | memoryview],
    sizes: Sequence[int],
    segment_sizes: Sequence[int],
    peers: Sequence[bytes],
    control: Control,
    tries: bytes,
    controls: Sequence[Control] | None = None,
) -> Tried:
    """Send up to ``MAX_MESSAGES`` messages, past those that are refused.

    Args:
      fd: A datagram socket.
      payloads: The messages' bytes, one behind the other, in any pieces.
      sizes: Bytes a message.
      segment_sizes: As for ``send_datagrams``.
      peers: As for ``send_datagrams``.
      control: What goes with every message.
      tries: For each errno up to 255, how often running it must meet a
        plain message, once or twice, to refuse it; 0 where it is to stop
        the call.
      controls: As for ``send_datagrams``.

    Returns:
      What the messages came to, up to the first that was stopped.

    Raises:
      OSError: EINVAL, without a call, as for ``send_datagrams``.
    """
    data = b"".join(payloads)
    names = b"".join(peers)
    packed, control_sizes = _pack(control, controls)
    outcomes = ffi.new(_OUTCOMES)
    count: int = _send_past(
        fd,
        data,
        len(data),
        sizes,
        segment_sizes,
        len(sizes),
        names,
        len(names),
        list(map(len, peers)),
        len(peers) if names else 0,
        packed,
        len(packed),
        control_sizes,
        len(control_sizes),
        tries,
        outcomes,
    )
    if count < 0:
        raise os_error(-count)
    # A refusal takes a call that takes nothing.
    if outcomes.calls == 1 and count == len(sizes) > 1:
        return _TAKEN[count]
    errors = ffi.buffer(outcomes.errors, count)[:]
    return Tried(errors, outcomes.stopped, outcomes.calls, outcomes.passed)


def send_segments(
    fd: int,
    data: bytes | memoryview,
    segment_size: int,
    run_size: int,
    peer: bytes,
    control: Control = (),
) -> int:
    """Send datagrams of one size to one peer with one ``sendmmsg``.

    Args:
      fd: A datagram socket.
      data: The payloads, one behind the other; not empty.
      segment_size: Bytes a datagram, at most 65535; the last may be shorter.
      run_size: Bytes a message: ``segment_size`` or a multiple of it, which
        the kernel cuts up.
      peer: The sockaddr, ``b""`` for the connected peer.
      control: What goes with every datagram.

    Returns:
      The bytes that were taken, in whole datagrams from the front.

    Raises:
      OSError: the first message was refused.
    """
    packed = pack_control(control) if control else b""
    exported = data if type(data) is bytes else _from_buffer(data)
    try:
        taken: int = _send_segments(
            fd,
            exported,
            len(exported),
            segment_size,
            run_size,
            peer,
            len(peer),
            packed,
            len(packed),
        )
    finally:
        if exported is not data:
            _release(exported)
    if taken < 0:
        raise os_error(-taken)
    return taken


def send_runs(
    fd: int,
    runs: Sequence[bytes | memoryview],
    segment_sizes: Sequence[int],
    peer: bytes,
    control: Control = (),
) -> int:
    """Send up to ``MAX_MESSAGES`` messages from where they lie.

    With one ``sendmmsg``, and without a copy.

    Args:
      fd: A datagram socket.
      runs: The messages.
      segment_sizes: What the kernel cuts each message into, 0 for a plain
        one.
      peer: The sockaddr, ``b""`` for the connected peer.
      control: What goes with every message.

    Returns:
      How many messages were sent, at least one.

    Raises:
      OSError: the first message was refused.
    """
    packed = pack_control(control) if control else b""
    runs = runs[:MAX_MESSAGES]
    exported: list[Any] = []
    try:
        # What there is of it when one fails is released all the same.
        exported.extend(map(_from_buffer, runs))
        sent: int = _send_runs(
            fd,
            exported,
            list(map(len, runs)),
            segment_sizes,
            len(runs),
            peer,
            len(peer),
            packed,
            len(packed),
        )
    finally:
        for each in exported:
            ffi.release(each)
    if sent < 0:
        raise os_error(-sent)
    return sent


def _pack(
    control: Control, controls: Sequence[Control] | None
) -> tuple[bytes, list[int]]:
    """Return the bytes of the control messages, and their sizes."""
    if controls is not None:
        packed = list(map(pack_control, controls))
        return b"".join(packed), list(map(len, packed))
    if not control:
        return b"", []
    one = pack_control(control)
    return one, [len(one)]


def _release(exported: object) -> None:
    """End an export with its call.

    The collector of cycles clears the view of one that a traceback keeps, and
    CPython does not survive that.
    """
    ffi.release(exported)


def send_datagram(fd: int, data: bytes, peer: bytes) -> None:
    """Send one datagram with one ``sendto(2)``.

    Args:
      fd: A datagram socket.
      data: The payload.
      peer: The sockaddr, ``b""`` for the connected peer.

    Raises:
      OSError: it was refused.
    """
    taken: int = _send_datagram(fd, data, len(data), peer, len(peer))
    if taken < 0:
        raise os_error(-taken)


def receive_datagrams(fd: int, arena: Arena, count: int) -> int:
    """Fill up to ``count`` slots of ``arena`` with one ``recvmmsg``.

    One slot costs a plain ``recvmsg``.

    Returns:
      How many slots were filled; 0 where there is nothing to receive now.

    Raises:
      OSError: nothing was received.
    """
    if arena.exports is None:
        export(arena)
    received: int = _receive_datagrams(fd, arena.exports[0], count)
    if received < 0:
        # The rule at low load, and an exception for it costs 1.8 us.
        if received == -errno.EAGAIN:
            return 0
        raise os_error(-received)
    return received


def export(arena: Arena) -> int:
    """Point a ``struct tb_arena`` at the arena; return its address.

    There is one for each arena, which lives as long: others have its address.
    """
    if arena.exports is not None:
        return int(ffi.cast("uintptr_t", arena.exports[0]))
    columns = [
        ffi.from_buffer("uint32_t[]", column)
        for column in (
            arena.sizes,
            arena.flags,
            arena.name_sizes,
            arena.control_sizes,
            arena.segment_sizes,
        )
    ]
    memory = ffi.from_buffer("char[]", arena.memory, require_writable=True)
    names = ffi.from_buffer("char[]", arena.names)
    control = ffi.from_buffer("char[]", arena.control, require_writable=True)
    filling = ffi.from_buffer("struct tb_filling *", arena.filling)
    pointers = ffi.new(
        "struct tb_arena *",
        (
            memory,
            arena.slots,
            arena.slot_size,
            names,
            arena.name_size,
            control,
            arena.control_size,
            *columns,
            filling,
        ),
    )
    # A struct keeps nothing alive, so the exports stay beside it.
    arena.exports = (pointers, memory, names, control, columns, filling)
    return int(ffi.cast("uintptr_t", pointers))


def lend(arena: Arena, buffer: Any, slot_size: int) -> tuple[Any, int]:
    """Have the slots in other memory, until ``take_back``.

    Args:
      arena: Without memory of its own.
      buffer: A writable one.
      slot_size: Bytes a message.

    Returns:
      What ``take_back`` wants, and how many slots there are.

    Raises:
      TypeError: it is no writable and contiguous buffer.
      BufferError: it was released.
      ValueError: it has no room for a slot, or a slot none for a byte.
    """
    if arena.exports is None:
        export(arena)
    try:
        try:
            exported = _from_buffer(buffer, require_writable=True)
        except TypeError:
            # Also what PyPy says of a view that was released.
            memoryview(buffer).release()
            raise
    except BufferError as error:
        raise TypeError(f"buffer: {error}") from None
    except ValueError as error:
        # A view that was released, a mapping that was closed.
        raise BufferError(f"buffer has no bytes to give: {error}") from None
    room = len(exported)
    if not 0 < slot_size <= room:
        _release(exported)
        raise slot_size_error(slot_size, room)
    pointers = arena.exports[0]
    pointers.slot_size = arena.slot_size = slot_size
    pointers.memory = exported
    return exported, room // slot_size


def take_back(arena: Arena, lent: Any) -> None:
    """End what ``lend`` began, and the export of the memory with it."""
    arena.exports[0].memory = _NULL
    _release(lent)
