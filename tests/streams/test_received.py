from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triobatch._streams.received import Received


def test_what_is_taken_whole_is_the_piece_itself():
    received, piece = Received(), b"abcdef" * 100
    received.put(piece)
    assert received.take(600) is piece
    assert not received.nbytes


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_delimiter_is_found_between_two_places(kind):
    received = Received()
    received.put(kind(b"xab"))
    received.take(1)
    received.put(kind(b"cab"))
    assert received.find(b"ab", 0, 5) == 2
    assert received.find(b"ab", 1, 5) == 5
    assert received.find(b"ab", 1, 4) == 0
    assert received.find(b"ab", 4, 5) == 0


def test_where_a_delimiter_is_counts_from_what_is_left():
    received = Received()
    received.put(b"x_ab_ab______")
    received.take(2)
    assert received.find(b"ab", 0, 4) == 2
    assert received.find(b"ab", 1, 5) == 5


def test_what_is_put_back_comes_first():
    received = Received()
    received.put(b"_def")
    received.take(1)
    received.put_back([b"ab", memoryview(b"c")])
    assert received.take(100) == b"abcdef"


def test_a_view_that_is_kept_stays_as_it_is():
    received = Received()
    for piece in (b"ab", b"c"):
        received.put(piece)
    kept = received.view()
    received.put(b"d")
    assert received.take(3) == b"abc"
    received.put(b"e")
    assert received.take(9) == b"de"
    assert kept == b"abc"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("back"), st.lists(st.binary(max_size=4))),
        st.tuples(st.just("take"), st.integers(0, 12)),
        st.tuples(st.just("into"), st.integers(0, 12)),
        st.tuples(st.just("keep"), st.integers(0, 12)),
    ),
    max_size=40,
)


@given(STEPS)
def test_it_is_a_queue_of_bytes(steps):
    received, model, kept = Received(), b"", []
    for kind, value in steps:
        if kind == "put":
            received.put(value)
            model += value
        elif kind == "back":
            received.put_back(value)
            model = b"".join(value) + model
        elif kind == "take":
            assert received.take(value) == model[:value]
            model = model[value:]
        elif kind == "into":
            memory = bytearray(value)
            size = received.take_into(memoryview(memory))
            assert memory[:size] == model[:size]
            assert size == min(value, len(model))
            model = model[size:]
        else:
            kept.append((received.view(value), model[:value]))
        assert received.nbytes == len(model)
        assert bytes(received.view()) == model
        assert all(view == copy for view, copy in kept)


def collected(*pieces):
    received = Received()
    for piece in pieces:
        received.put(piece)
    return received


def test_pieces_are_collected_in_one_place():
    received = collected(b"ab", b"cd")
    data = received._data
    received.put(b"ef")
    assert received._data is data


def test_what_was_taken_is_not_kept_once_it_is_half():
    received = collected(b"x" * 10, b"y" * 10)
    received.take(9)
    assert len(received._data) == 20
    received.take(1)
    assert len(received._data) == 10


def test_frames_are_split_off():
    received = collected(b"ab", b"cd")
    assert received.split(lambda view: ([bytes(view[:3])], 3)) == [b"abc"]
    assert received.take(9) == b"d"


@pytest.mark.parametrize("used", [0, 4])
def test_no_frames_may_use_all_or_nothing(used):
    received = collected(b"ab", b"cd")
    assert received.split(lambda view: ((), used)) == ()
    assert received.nbytes == 4 - used


@pytest.mark.parametrize(
    ("frames", "used", "message"),
    [
        ((), -1, "between 0 and 4 bytes, not -1"),
        ((), 5, "between 0 and 4 bytes, not 5"),
        ((b"",), 0, "must use bytes for the frames"),
    ],
)
def test_a_split_that_cannot_be_is_refused(frames, used, message):
    received = collected(b"ab", b"cd")
    with pytest.raises(ValueError, match=message):
        received.split(lambda view: (frames, used))
    assert received.take(9) == b"abcd"


@pytest.mark.parametrize("used", [2.0, "2", None, True])
def test_a_split_that_does_not_count_takes_nothing(used):
    received = Received()
    received.put(b"abcdef")
    with pytest.raises(TypeError, match="what split uses must be an int"):
        received.split(lambda view: ([bytes(view[:2])], used))
    assert received.take(6) == b"abcdef"
