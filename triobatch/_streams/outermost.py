"""Whose methods send: only the type of the outermost object is asked.

A stream is what its own type makes of it. A wrapper that hands on what it does
not define (``__getattr__``) has no ``send_buffers``, whatever its inside has:
to be sent round its ``send_all`` would be to send what it was to encrypt. Nor
is a ``send_buffers`` to be used that a class inherits, where the class has a
``send_all`` of its own. So the type is asked, class by class, and never the
object: it may claim another's ``__class__``, and ``isinstance`` with a
protocol would ask it before Python 3.12, and take 11 us to do so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar


class HandsOn:
    """A stream whose sending methods call those of the one below.

    Attributes:
      stream: The stream below.
    """

    # Whether others may send between two calls, and so what belongs together
    # has to be sent with one.
    _takes_messages: ClassVar[bool] = False

    stream: object


def takes_messages(stream: object) -> bool:
    """Tell whether others may send between two calls; see ``HandsOn``."""
    while isinstance(stream, HandsOn):
        if stream._takes_messages:
            return True
        stream = stream.stream
    return False


@lru_cache(maxsize=256)
def defines_first(kind: type, method: str, other: str) -> bool:
    """Tell whether a class has ``method``, and no newer ``other``.

    Args:
      kind: The class, which is asked before those that it derives from.
      method: A way to send.
      other: Another one, that would be bypassed if it was newer.
    """
    for base in kind.__mro__:
        if method in vars(base):
            return True
        if other in vars(base):
            return False
    return False


@lru_cache(maxsize=256)
def keeps(kind: type, original: type, methods: tuple[str, ...]) -> bool:
    """Tell whether a class is ``original`` as far as these methods go.

    Args:
      kind: ``original``, or one that may derive from it.
      original: The class that defines the methods, or inherits them.
      methods: Their names.
    """
    return original in kind.__mro__ and all(
        getattr(kind, name) is getattr(original, name) for name in methods
    )
