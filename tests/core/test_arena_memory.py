"""Slots, and the memory that they are in."""

import socket

import pytest

from triobatch._core.arena import Arena


def test_the_memory_is_made_when_it_is_wanted():
    arena = Arena(2, socket.AF_INET, 100)
    assert "memory" not in vars(arena)
    assert len(arena.memory) == 200
    assert len(arena.names) == 2 * 16


def test_the_memory_may_be_somebody_elses():
    memory = bytearray(200)
    arena = Arena(2, socket.AF_INET, 100, memory)
    assert len(arena.sizes) == 2
    assert arena.memory is memory


def test_what_it_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="colour"):
        Arena(1, socket.AF_INET).colour  # noqa: B018 (it is what raises)
