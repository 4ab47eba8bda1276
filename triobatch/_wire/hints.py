"""What annotations name, and older Pythons lack.

Annotations of what is public can be read while a program runs, by
``typing.get_type_hints``: so the package imports what they name, and not only
where a type checker reads. That shall not need ``typing_extensions``, which a
program has no other use for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar, Union

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self, TypeVarTuple, Unpack
else:
    if sys.version_info >= (3, 12):  # pragma: no cover (newer ones)
        from collections.abc import Buffer
    else:
        # What has the buffer protocol has no other name there.
        Buffer = bytes | bytearray | memoryview
    if sys.version_info >= (3, 11):
        from typing import Self, TypeVarTuple, Unpack
    else:  # pragma: no cover (3.10)
        Self = TypeVar("Self")
        TypeVarTuple = TypeVar
        # Of one alone, that one.
        Unpack = Union

__all__ = ["Buffer", "Self", "TypeVarTuple", "Unpack"]
