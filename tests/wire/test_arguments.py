"""The words for arguments that are not what they must be."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from triobatch._wire.arguments import (
    as_integer,
    as_seconds,
    at_least,
    check_callable,
    check_is,
    check_nursery,
)


class Five:
    def __index__(self):
        return 5


@pytest.mark.parametrize("value", [5, Five()])
def test_an_integer_is_what_has_an_index(value):
    assert as_integer(value, "size") == 5
    assert at_least(5, value, "size") == 5
    with pytest.raises(ValueError, match=r"^size must be at least 6, not 5$"):
        at_least(6, value, "size")


@pytest.mark.parametrize("value", [None, 1.5, "5", b"5", [], math.nan])
def test_nothing_else_is_an_integer(value):
    kind = type(value).__name__
    with pytest.raises(TypeError, match=f"^size must be an int, not {kind}$"):
        as_integer(value, "size")
    with pytest.raises(TypeError, match=f"^size must be an int, not {kind}$"):
        at_least(0, value, "size")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (1.5, 1.5),
        (Fraction(1, 2), 0.5),
        (Five(), 5.0),
        (math.inf, math.inf),
        (10**400, math.inf),
    ],
)
def test_seconds_are_a_number(value, seconds):
    assert as_seconds(value, "grace") == seconds


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, -math.inf])
def test_seconds_are_not_negative(value):
    with pytest.raises(
        ValueError, match=f"^grace must be at least 0, not {value}$"
    ):
        as_seconds(value, "grace")


@pytest.mark.parametrize("value", [None, "1", b"1", [], 1j])
def test_nothing_else_is_seconds(value):
    kind = type(value).__name__
    with pytest.raises(
        TypeError, match=f"^grace must be a number of seconds, not {kind}$"
    ):
        as_seconds(value, "grace")


def test_a_coroutine_is_no_function():
    async def handler():
        pass

    check_callable(handler, "handler")
    coroutine = handler()
    with pytest.raises(TypeError, match=r"handler must be .*, not coroutine:"):
        check_callable(coroutine, "handler")
    coroutine.close()


def test_a_nursery_starts_tasks():
    check_nursery(None, "handler_nursery")
    with pytest.raises(TypeError, match=r"handler_nursery must be .* not int"):
        check_nursery(5, "handler_nursery")


def test_what_is_of_no_such_kind_is_told():
    check_is(5, int, "count")
    with pytest.raises(TypeError, match="count must be a int, not str: 'x'"):
        check_is("x", int, "count")
