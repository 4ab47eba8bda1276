"""Streams whose descriptor is all there is to them, and may be used itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from triobatch._streams.outermost import keeps
from triobatch._streams.stream import BatchSocketStream

if TYPE_CHECKING:
    from typing import TypeGuard

# Where one of these is a subclass's own, the descriptor is not to be used
# behind its back.
SEND_METHODS: Final = ("send_all", "send_buffers", "send_buffers_nowait")
RECEIVE_METHODS: Final = ("receive_some", "receive_into")


def is_plain(stream: object) -> TypeGuard[BatchSocketStream]:
    """Tell whether to send on a stream is to write to its descriptor."""
    kind: type = type(stream)
    return keeps(kind, BatchSocketStream, SEND_METHODS)


def is_plain_both_ways(stream: object) -> TypeGuard[BatchSocketStream]:
    """Tell whether to receive is to read from it, too."""
    kind: type = type(stream)
    return is_plain(stream) and keeps(kind, BatchSocketStream, RECEIVE_METHODS)
