"""The guard notices what it is there for."""

import contextlib
import random
import sys

import pytest
import trio

import triobatch

if sys.platform != "linux" or sys.implementation.name != "cpython":
    pytest.skip("the guard is for Linux, CPython", allow_module_level=True)

from guards import ratios, system_calls
from guards.allocations import REPETITIONS, check_allocations
from guards.frames import check_frames, count_frames
from guards.operations import Operation, Place
from guards.public_calls import PublicCall, public_calls
from guards.ratios import check_ratio

TRACE = """\
access("/guard/0", F_OK) = -1 ENOENT (No such file or directory)
sendmmsg(5, [...], 64, MSG_DONTWAIT) = 64
mmap(NULL, 1048576, PROT_READ|PROT_WRITE, ...) = 0x7f0000000000
epoll_wait(3, [], 1, 0) = 0
access("/guard/end", F_OK) = -1 ENOENT (No such file or directory)
recvfrom(6, "", 1048576, MSG_DONTWAIT, NULL, NULL) = 1200
--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---
access("/guard/1", F_OK) = -1 ENOENT (No such file or directory)
epoll_wait(3, [], 1, 0) = 0
epoll_wait(3, [], 1, 0) = 0
access("/guard/end", F_OK) = -1 ENOENT (No such file or directory)
"""


def ignore(line):
    """Show no progress."""


def operation(ours, theirs=lambda: None, **cost):
    allowed = {"calls": {}, "ratio": 2.0, "peak": 100_000} | cost
    return Operation("it", ours=ours, theirs=theirs, **allowed)


async def checkpoint():
    await trio.lowlevel.checkpoint()


async def test_what_allocates_as_much_as_it_may_is_right():
    assert await check_allocations(operation(checkpoint), ignore) == []


async def test_what_allocates_more_is_wrong():
    async def allocate():
        await trio.lowlevel.checkpoint()
        bytes(200_000)

    (wrong,) = await check_allocations(operation(allocate), ignore)
    assert wrong.startswith("it allocates 20")


async def test_what_it_returns_counts():
    async def make():
        await trio.lowlevel.checkpoint()
        return bytes(200_000)

    (wrong,) = await check_allocations(operation(make), ignore)
    assert wrong.startswith("it allocates 20")


async def test_an_object_left_behind_each_time_is_wrong():
    kept = []

    async def keep():
        await trio.lowlevel.checkpoint()
        kept.append(object())

    (wrong,) = await check_allocations(operation(keep), ignore)
    assert f"behind when it is done {REPETITIONS} times" in wrong


def public_call(ours, **cost):
    return PublicCall("it", ours, **({"frames": 0, "system_calls": 0} | cost))


async def test_frames_are_those_of_triobatch_and_of_what_it_calls():
    async def do_nothing():
        await trio.lowlevel.checkpoint()

    assert await count_frames(public_call(do_nothing)) == 0

    async def read():
        # The property, and what it asks the stream for.
        queue.nbytes  # noqa: B018
        # Entered by random on behalf of nobody of ours.
        random.choice([1])

    queue = triobatch.Buffers()
    assert await count_frames(public_call(read)) == 1


async def test_one_frame_more_than_allowed_is_wrong():
    async def make():
        triobatch.Buffers()

    count = await count_frames(public_call(make))
    assert count > 0
    assert await check_frames(public_call(make, frames=count), ignore) is None
    wrong = await check_frames(public_call(make, frames=count - 1), ignore)
    assert wrong.endswith(f"and not at most {count - 1}")


async def test_every_public_call_does_what_it_says_within_its_frames():
    if triobatch.capabilities().core != "c":
        pytest.skip("the limits are of the C core")
    async with contextlib.AsyncExitStack() as stack:
        wrong = [
            await check_frames(call, ignore)
            for call in public_calls(Place(stack))
        ]
    assert not any(wrong), wrong


def spend(count):
    return sum(range(count))


async def spend_more():
    spend(40_000)
    await trio.lowlevel.checkpoint()


async def test_what_is_too_slow_every_time_is_wrong(monkeypatch):
    monkeypatch.setattr(ratios, "SECONDS", 0.02)
    slow = operation(spend_more, lambda: spend(2_000))
    assert "and not at most 2" in await check_ratio(slow, ignore)


async def test_what_is_fast_once_is_right(monkeypatch):
    monkeypatch.setattr(ratios, "SECONDS", 0.02)
    fast = operation(checkpoint, lambda: spend(40_000))
    assert await check_ratio(fast, ignore) is None


def test_calls_are_counted_between_the_marks_and_without_those_for_memory():
    assert system_calls._count(TRACE) == {
        0: [{"sendmmsg": 1, "epoll_wait": 1}],
        1: [{"epoll_wait": 2}],
    }


@pytest.mark.slow
def test_other_system_calls_are_wrong(tmp_path):
    if why := system_calls._untraceable():
        pytest.skip(why)
    # One that does too much, one that does not do it at all.
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        f"for _ in range({system_calls.REPETITIONS}):\n"
        "    os.access('/guard/0', os.F_OK)\n"
        "    os.getppid()\n"
        "    os.getppid()\n"
        "    os.access('/guard/end', os.F_OK)\n"
    )
    allowed = {"getppid": 1}
    wrong = system_calls.check_system_calls(
        [operation(checkpoint, calls=allowed)] * 2, str(program), ignore
    )
    assert wrong == [
        "it takes the system calls 2 getppid, and not 1 getppid",
        "it was not traced",
    ]
    allowed["getppid"] = 2
    (wrong,) = system_calls.check_system_calls(
        [operation(checkpoint, calls=allowed)] * 2, str(program), ignore
    )
    assert wrong == "it was not traced"
    # Of a public call only the number counts, and fewer are right.
    assert wrong_calls(program, 1) == [
        "it takes the system calls 2 getppid, more than 1"
    ]
    assert wrong_calls(program, 3) == []


def wrong_calls(program, allowed):
    return system_calls.check_system_calls(
        [public_call(checkpoint, system_calls=allowed)], str(program), ignore
    )
