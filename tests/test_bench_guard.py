"""The guard notices what it is there for."""

import random
import sys

import pytest
import trio
from needs import needs_no_tracer

import triobatch

if sys.platform != "linux" or sys.implementation.name != "cpython":
    pytest.skip("the guard is for Linux, CPython", allow_module_level=True)

from guards import public_calls, ratios, system_calls
from guards.allocations import REPETITIONS, check_allocations, peak_of
from guards.frames import count_frames
from guards.operations import Operation
from guards.public_calls import Cost
from guards.ratios import check_ratio
from guards.ways import Way

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


async def test_the_peak_is_what_there_is_at_a_time():
    async def allocate():
        await trio.lowlevel.checkpoint()
        bytes(100_000)
        bytes(100_000)

    assert 100_000 < await peak_of(Way(allocate)) < 110_000


async def test_frames_are_those_of_triobatch_and_of_what_it_calls():
    async def do_nothing():
        await trio.lowlevel.checkpoint()

    assert await count_frames(Way(do_nothing)) == 0

    async def read():
        # The property, and what it asks the stream for.
        queue.nbytes  # noqa: B018
        # Entered by random on behalf of nobody of ours.
        random.choice([1])

    queue = triobatch.Buffers()
    assert await count_frames(Way(read)) == 1


@needs_no_tracer
async def test_what_is_around_a_call_costs_it_nothing():
    cleaned_up = []

    async def clean_up():
        triobatch.Buffers()
        cleaned_up.append(await trio.lowlevel.checkpoint())

    way = Way(checkpoint, triobatch.Buffers, clean_up)
    assert await count_frames(way) == 0
    assert await peak_of(way) < 2_000
    assert cleaned_up


def test_every_call_that_moves_anything_is_guarded():
    named = {name.partition("(")[0] for name in public_calls.WAYS}
    assert public_calls.found() == named
    assert set(public_calls.limits()) == set(public_calls.rows())


def test_a_call_that_is_not_guarded_is_noticed(monkeypatch):
    monkeypatch.setattr(
        triobatch.DatagramSocket,
        "send_everything",
        lambda self: None,
        raising=False,
    )
    monkeypatch.setattr(
        triobatch, "relay_all", lambda a, b: None, raising=False
    )
    monkeypatch.setattr(
        triobatch, "__all__", [*triobatch.__all__, "relay_all"]
    )
    more = public_calls.found() - {
        name.partition("(")[0] for name in public_calls.WAYS
    }
    assert more == {"DatagramSocket.send_everything", "relay_all"}


def complaints(cost, name="relay", count=4):
    costs = {row: Cost(0, 0, 0) for row in public_calls.rows()}
    return public_calls.check(costs | {(name, count): cost}, ignore)


def test_what_a_call_costs_is_limited_exactly():
    limit = public_calls.limits()["relay", 4]
    assert complaints(limit) == []
    (frames,) = complaints(Cost(limit.frames + 1, 0, 0))
    assert frames.startswith("relay, 4 takes ")
    assert frames.endswith(
        f" frames of Python, and not at most {limit.frames}"
    )
    (calls,) = complaints(Cost(0, limit.system_calls + 1, 0))
    assert "system calls" in calls
    most = limit.peak + public_calls.SLACK
    assert complaints(Cost(0, 0, most)) == []
    (size,) = complaints(Cost(0, 0, most + 1))
    assert "bytes" in size


def test_a_call_without_a_limit_is_wrong(monkeypatch):
    monkeypatch.setattr(public_calls, "limits", dict)
    assert "relay, 4 has no limit yet: --record" in complaints(Cost(0, 0, 0))


def test_what_is_recorded_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(public_calls, "LIMITS", tmp_path / "limits.json")
    costs = {row: Cost(3, 2, 100) for row in public_calls.rows()}
    public_calls.record(costs, larger=False)
    assert public_calls.limits() == costs
    more = costs | {("relay", 4): Cost(2, 5, 100)}
    public_calls.record(more, larger=True)
    assert public_calls.limits()["relay", 4] == Cost(3, 5, 100)
    public_calls.record(more, larger=False)
    assert public_calls.limits()["relay", 4] == Cost(2, 5, 100)


@pytest.mark.parametrize("name", public_calls.WAYS)
async def test_a_public_call_keeps_within_its_frames(name):
    if triobatch.capabilities().core != "c":
        pytest.skip("the limits are of the C core")
    # guard.py does all of them, with every number of items.
    async with public_calls.opened(name, 4) as way:
        found = await count_frames(way)
    assert found <= public_calls.limits()[name, 4].frames


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
def test_system_calls_are_counted_and_compared(tmp_path):
    if why := system_calls.untraceable():
        pytest.skip(why)
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        f"for _ in range({system_calls.REPETITIONS}):\n"
        "    os.access('/guard/0', os.F_OK)\n"
        "    os.getppid()\n"
        "    os.getppid()\n"
        "    os.access('/guard/end', os.F_OK)\n"
    )
    counted = system_calls.count_system_calls(program)
    assert list(counted) == [0]
    assert system_calls.fewest(counted[0]) == 2

    def wrong(allowed, counts):
        return system_calls.check_system_calls(
            operation(checkpoint, calls=allowed), counts, ignore
        )

    assert wrong({"getppid": 2}, counted[0]) == []
    assert wrong({"getppid": 1}, counted[0]) == [
        "it takes the system calls 2 getppid, and not 1 getppid"
    ]
    assert wrong({"getppid": 2}, []) == ["it was not traced"]
