"""The guard notices what it is there for."""

import sys

import pytest
import trio

if sys.platform != "linux":
    pytest.skip("the guard is for Linux", allow_module_level=True)

from guards import ratios, system_calls
from guards.allocations import REPETITIONS, check_allocations
from guards.operations import Operation
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
