"""One task at a time."""

import sys

import pytest
import trio

from triobatch import Buffers, Datagrams
from triobatch._resource import Guard, InFlight, Lent


def test_a_second_task_is_turned_away():
    guard = Guard("another task is in there")
    with (
        guard,
        pytest.raises(trio.BusyResourceError, match=r"is in there$"),
        guard,
    ):
        pytest.fail("it was let in")


def test_the_first_task_is_not_disturbed_by_the_second():
    guard = Guard("busy")
    with guard:
        for _ in range(2):
            with pytest.raises(trio.BusyResourceError), guard:
                pytest.fail("it was let in")


def test_the_next_task_may_enter():
    guard = Guard("busy")
    for _ in range(2):
        with guard:
            pass


def test_a_failure_lets_the_next_one_in():
    guard = Guard("busy")
    with pytest.raises(ZeroDivisionError), guard:
        raise ZeroDivisionError
    with guard:
        pass


async def test_cancellation_lets_the_next_one_in():
    guard = Guard("busy")
    with trio.CancelScope() as scope:
        scope.cancel()
        with guard:
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    with guard:
        pass


@pytest.mark.parametrize(
    "kind", [Guard("busy"), InFlight(Buffers()), Lent(Datagrams())]
)
async def test_ctrl_c_cannot_come_between_taking_and_letting_go(kind):
    # Python sees to signals when a function starts and after each call, so
    # one could find __exit__ begun, and end it before it has let go.
    found = []

    def look(frame, event, argument):
        if frame.f_code.co_name in ("__enter__", "__exit__"):
            found.append(trio.lowlevel.currently_ki_protected())

    sys.setprofile(look)
    try:
        with kind:
            pass
    finally:
        sys.setprofile(None)
    assert found == [True] * len(found) != []
