"""Messages for many streams, as the calls of a group take them.

A message is ``bytes`` or a list of them. ``_native/messages.c`` flattens a
batch of them where it can, all of it at once.
"""

from __future__ import annotations

from typing import TypeAlias

Message: TypeAlias = bytes | list[bytes]

_BYTES = frozenset((bytes,))


def as_pieces(message: Message) -> list[bytes]:
    """Return a message as a list.

    Raises:
      TypeError: it is neither bytes nor a list of them.
    """
    if type(message) is bytes:
        return [message]
    if type(message) is list and _BYTES.issuperset(map(type, message)):
        return message
    kind = type(message).__name__
    if type(message) is list:
        odd = next(piece for piece in message if type(piece) is not bytes)
        kind = f"a list with {type(odd).__name__}"
    raise TypeError(f"a message must be bytes or a list of bytes, not {kind}")


def flatten(messages: list[Message]) -> tuple[list[bytes], list[int]]:
    """Return the pieces of messages, one behind the other, and how many each.

    Raises:
      TypeError: one is neither bytes nor a list of them.
    """
    pieces: list[bytes] = []
    counts = []
    for message in messages:
        start = len(pieces)
        pieces += as_pieces(message)
        counts.append(len(pieces) - start)
    return pieces, counts
