from __future__ import annotations

import pytest

from triobatch._streams.filling import Filling
from triobatch._streams.received import Received


def views(*sizes):
    return [memoryview(bytearray(size)) for size in sizes]


def test_views_are_filled_in_order():
    received, room = Received(), views(2, 1, 3)
    received.put(b"abc")
    with Filling(room, received) as filling:
        assert filling.take()
        assert [len(view) for view in filling.rest()] == [3]
        filling.rest()[0][:1] = b"d"
        filling.filled(1)
        received.put(b"efgh")
        assert not filling.take()
        assert filling.size == filling.room == 6
    assert b"".join(room) == b"abcdef"
    assert received.take(9) == b"gh"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4])
def test_an_error_puts_back_what_was_filled_in(size):
    received = Received()
    received.put(b"abcd"[:size] or b"")

    def fill():
        with Filling(views(2, 3), received) as filling:
            filling.take()
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    assert received.take(9) == b"abcd"[:size]


def test_only_some_views_are_offered_at_a_time():
    with Filling(views(*[1] * 1000), Received()) as filling:
        assert len(filling.rest()) == 64
