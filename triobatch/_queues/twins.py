"""Copies of queues, whatever a subclass has made of them."""

from __future__ import annotations

from typing import TypeVar

_Queue = TypeVar("_Queue")


def bare_twin(queue: _Queue) -> _Queue:
    """Return what ``copy.copy`` makes of a subclass's own attributes.

    Not by its constructor, which may ask for more; so its class has to set
    what it keeps in slots.
    """
    twin = type(queue).__new__(type(queue))
    if hasattr(queue, "__dict__"):
        twin.__dict__.update(queue.__dict__)
    return twin
