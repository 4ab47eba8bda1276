"""What an argument has to be, checked and said in one way everywhere.

``x must be ..., not ...``: the name of the argument, and what was given.
"""

from __future__ import annotations

import math
import operator
from typing import cast


def must_be(what: str, value: object) -> str:
    """Return the words for a value that is not what it must be."""
    return f"{what}, not {type(value).__name__}: {value!r}"


def as_integer(value: object, name: str) -> int:
    """Return an argument that is a number of bytes or items.

    Raises:
      TypeError: it is no integer; True and False are none.
    """
    # One in the place of a number is that of another argument, mostly.
    if not isinstance(value, bool):
        try:
            return operator.index(cast("int", value))
        except TypeError:
            pass
    raise TypeError(f"{name} must be an int, not {type(value).__name__}")


def at_least(least: int, value: object, name: str) -> int:
    """Return an argument that is an integer, and not too small.

    Raises:
      TypeError: it is no integer.
      ValueError: it is less than ``least``.
    """
    number = as_integer(value, name)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def as_number(value: object, name: str, what: str = "a number") -> float:
    """Return an argument that is a real number.

    Raises:
      TypeError: it is none, as True and False are.
    """
    kind = type(value).__name__
    if isinstance(value, str | bytes | bool):
        # Of which float() would make a number.
        value = None
    try:
        return float(cast("float", value))
    except TypeError:
        raise TypeError(f"{name} must be {what}, not {kind}") from None
    except OverflowError:
        # An integer of more than 300 digits.
        return math.inf


def as_seconds(value: object, name: str) -> float:
    """Return an argument that is a time; it may be infinite.

    Raises:
      TypeError: it is no number.
      ValueError: it is negative, or not a number (NaN).
    """
    seconds = as_number(value, name, "a number of seconds")
    if not seconds >= 0:
        raise ValueError(f"{name} must be at least 0, not {value}")
    return seconds


def check_callable(
    value: object, name: str, what: str = "an async function"
) -> None:
    """Raise ``TypeError`` if an argument cannot be called."""
    if not callable(value):
        raise TypeError(must_be(f"{name} must be {what}", value))


def check_is(value: object, kind: type, name: str) -> None:
    """Raise ``TypeError`` if an argument is no ``kind``."""
    if not isinstance(value, kind):
        raise TypeError(must_be(f"{name} must be a {kind.__name__}", value))


def check_nursery(value: object, name: str) -> None:
    """Raise ``TypeError`` if an argument starts no tasks, and is not None."""
    if value is not None and not hasattr(value, "start_soon"):
        raise TypeError(must_be(f"{name} must be a nursery or None", value))
