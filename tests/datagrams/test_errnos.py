"""Whose error it is: tables of errnos, and the socket with scripted calls."""

import errno
from dataclasses import dataclass

import pytest
import trio
from needs import needs_gso
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._core.counts import MORE_THAN_OFFERED
from triobatch._datagrams.errnos import (
    FATAL,
    FATAL_ON_INTERNET,
    FIRST_PAUSE,
    MAX_CONGESTED,
    MAX_FLOODS,
    MAX_REPORTS,
    REPORTED,
    REPORTED_BY_IPV4,
    Reports,
    Verdict,
    reported_on,
    tries_of,
)
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._queues.datagrams import Datagrams

REPORT, FLOOD, OWN = Verdict.REPORT, Verdict.FLOOD, Verdict.OWN


@dataclass
class Counters:
    reports: int = 0


@pytest.mark.parametrize(
    ("names", "verdicts", "reports"),
    [
        ("EPERM", [OWN], 0),
        ("EHOSTUNREACH", [REPORT], 1),
        ("EHOSTUNREACH EHOSTUNREACH", [REPORT, OWN], 0),
        ("EHOSTUNREACH ENETUNREACH", [REPORT] * 2, 2),
        ("ECONNREFUSED EHOSTUNREACH", [REPORT] * 2, 2),
        ("EHOSTUNREACH ECONNREFUSED EHOSTUNREACH", [REPORT] * 3, 3),
        ("EHOSTUNREACH EPERM EHOSTUNREACH", [REPORT, OWN, REPORT], 2),
        ("EHOSTUNREACH reset EHOSTUNREACH", [REPORT] * 2, 2),
        ("EMSGSIZE EMSGSIZE EMSGSIZE", [REPORT, OWN, REPORT], 1),
        ("ECONNREFUSED " * 9, [REPORT] * 7 + [FLOOD, REPORT], 9),
        ("ENOPROTOOPT " * 8, [REPORT] * 7 + [FLOOD], 8),
        ("ECONNRESET " * 8, [REPORT] * 7 + [FLOOD], 8),
        ("EACCES EPROTO " * 4, [REPORT] * 7 + [FLOOD], 8),
    ],
)
def test_an_error_is_believed_the_second_time_running(
    names, verdicts, reports
):
    counters = Counters()
    judge = Reports(counters)
    found = []
    for name in names.split():
        if name == "reset":
            judge.reset()
        else:
            found.append(judge.judge(getattr(errno, name)))
    assert found == verdicts
    assert counters.reports == reports


@pytest.mark.parametrize(
    ("name", "internet", "ipv4", "asks", "pending", "needed"),
    [
        ("EPERM", True, True, False, False, 1),
        ("EPERM", True, True, False, True, 1),
        ("EINVAL", False, False, False, False, 1),
        ("EHOSTUNREACH", True, True, False, False, 2),
        # The first of the two may have been met by the last call.
        ("EHOSTUNREACH", True, True, False, True, 0),
        ("EHOSTUNREACH", False, False, False, False, 1),
        ("EACCES", True, True, False, False, 1),
        ("EACCES", True, False, False, False, 2),
        ("ECONNREFUSED", True, True, False, False, 0),
        ("ECONNREFUSED", False, False, False, False, 1),
        ("ECONNRESET", False, False, False, False, 0),
        ("EMSGSIZE", True, True, False, False, 2),
        ("EMSGSIZE", True, True, True, False, 0),
        ("EAGAIN", True, True, False, False, 0),
        ("ENOBUFS", True, True, False, False, 0),
        ("ENOMEM", False, False, False, False, 0),
        ("EBADF", True, True, False, False, 0),
        ("EPIPE", True, True, False, False, 0),
        ("EPIPE", False, False, False, False, 1),
    ],
)
def test_what_the_core_goes_past(name, internet, ipv4, asks, pending, needed):
    tries = tries_of(internet=internet, ipv4=ipv4, asks=asks, pending=pending)
    assert tries[getattr(errno, name)] == needed
    assert (len(tries), tries[0]) == (256, 0)


def test_an_errno_may_be_the_second_of_its_kind_until_the_next_outcome():
    judge = Reports(Counters())
    assert not judge.pending
    judge.judge(errno.EHOSTUNREACH)
    assert judge.pending
    judge.judge(errno.EPERM)
    assert not judge.pending


@pytest.mark.parametrize("row", [0, 3, MAX_REPORTS - 1])
def test_a_reset_begins_a_new_row(row):
    judge = Reports(Counters())
    for _ in range(row):
        judge.judge(errno.ECONNREFUSED)
    judge.reset()
    found = [judge.judge(errno.ECONNREFUSED) for _ in range(MAX_REPORTS)]
    assert found == [REPORT] * (MAX_REPORTS - 1) + [FLOOD]


@pytest.mark.parametrize("between", [errno.EPERM, errno.EHOSTUNREACH])
def test_an_error_of_its_own_begins_a_new_row(between):
    judge = Reports(Counters())
    for _ in range(3):
        judge.judge(errno.ECONNREFUSED)
    # The second one is believed.
    judge.judge(between)
    assert judge.judge(between) is OWN
    found = [judge.judge(errno.ECONNREFUSED) for _ in range(MAX_REPORTS)]
    assert found == [REPORT] * (MAX_REPORTS - 1) + [FLOOD]


def test_the_pauses_for_buffers_take_31_ms():
    pauses = [FIRST_PAUSE * 2**count for count in range(MAX_CONGESTED)]
    assert sum(pauses) == pytest.approx(0.031)


def test_what_ends_a_socket():
    ends = {"EBADF", "ENOTSOCK", "EFAULT", "ENOSYS"}
    assert {getattr(errno, name) for name in ends} == FATAL - {
        MORE_THAN_OFFERED
    }
    assert {errno.EPIPE, errno.ESHUTDOWN} == FATAL_ON_INTERNET - FATAL


@pytest.mark.parametrize(
    ("internet", "ipv4", "reported"),
    [
        (True, True, REPORTED_BY_IPV4),
        (True, False, REPORTED),
        (False, False, {errno.ECONNRESET}),
    ],
)
def test_what_the_network_reports_is_its_own_on_each_family(
    internet, ipv4, reported
):
    assert reported_on(internet=internet, ipv4=ipv4) == reported
    assert {errno.EACCES} == REPORTED - REPORTED_BY_IPV4


@pytest.mark.parametrize("method", ["send_batch", "send_many"])
@pytest.mark.parametrize(
    "names",
    [
        "ECONNREFUSED EHOSTUNREACH",
        "EHOSTUNREACH ENETUNREACH",
        "EHOSTUNREACH EAGAIN EHOSTUNREACH",
        "EHOSTUNREACH ENOBUFS EHOSTUNREACH",
        "ECONNREFUSED " * 20,
    ],
)
async def test_reports_are_counted_and_never_charged(
    make_socket, play, names, method
):
    sender, receiver = await make_socket(), await make_socket()
    target = receiver.socket.getsockname()
    script, _ = play(sender, names.split())
    if method == "send_batch":
        assert await sender.send_batch([(b"x", target)] * 5) == 5
    else:
        assert await sender.send_many([b"x"] * 5, target) == 5
    waits = names.count("EAGAIN") + names.count("ENOBUFS")
    assert sender.statistics().reports == len(names.split()) - waits
    assert script.left == []


async def test_a_flood_of_reports_is_waited_out(
    make_socket, play, autojump_clock
):
    sender = await make_socket()
    play(sender, ["ECONNREFUSED"] * 100)
    started = trio.current_time()
    await sender.send(b"x", sender.socket.getsockname())
    assert trio.current_time() - started == pytest.approx(0.012)


async def test_no_more_is_made_of_a_flood_now(make_socket, play):
    sender = await make_socket()
    queue = Datagrams([(b"x", sender.socket.getsockname())])
    script, _ = play(sender, ["ECONNREFUSED"] * 100)
    with pytest.raises(trio.WouldBlock):
        sender.send_batch_nowait(queue)
    assert len(script.log) == MAX_REPORTS
    assert len(queue) == 1


async def test_a_report_that_does_not_end_refuses_the_datagram(
    make_socket, play, autojump_clock
):
    sender = await make_socket()
    target = sender.socket.getsockname()
    script, _ = play(sender, ["ECONNREFUSED"] * 10_000)
    # Each is larger than the last, so they are no run.
    queue = Datagrams([(bytes(i), target) for i in range(3)])
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_batch(queue)
    assert [error.errno for error in info.value.exceptions] == [
        errno.ECONNREFUSED
    ] * 3
    assert len(queue) == 3
    # Each of those behind the first has one flood, and no pause.
    assert len(script.log) == (MAX_FLOODS + 3) * MAX_REPORTS
    assert trio.current_time() == pytest.approx(MAX_FLOODS / 1000)
    script.left.clear()
    assert await sender.send_batch(queue) == 3


async def test_what_passes_after_a_flood_gives_the_next_its_own_tries(
    make_socket, play, autojump_clock
):
    sender = await make_socket()
    target = sender.socket.getsockname()
    flood = ["ECONNREFUSED"] * (MAX_FLOODS - 1) * MAX_REPORTS
    play(sender, [*flood, 1, *flood, 1])
    batch = [(bytes(size), target) for size in (1, 2)]
    assert await sender.send_batch(batch) == 2


@pytest.mark.parametrize("name", ["ECONNREFUSED", "EACCES", "EHOSTUNREACH"])
async def test_receiving_waits_out_a_flood(
    make_socket, play, autojump_clock, name
):
    sock = await make_socket()
    floods = 3
    play(sock, receiving=[name] * floods * MAX_REPORTS)
    sock.send_nowait(b"here", sock.socket.getsockname())
    with assert_checkpoints():
        assert await sock.receive_batch() == [
            (b"here", sock.socket.getsockname())
        ]
    assert sock.statistics().reports == floods * MAX_REPORTS
    assert trio.current_time() == pytest.approx(floods / 1000)


async def test_a_flood_is_nothing_to_receive_now(make_socket, play):
    sock = await make_socket()
    _, script = play(sock, receiving=["ECONNREFUSED"] * 100_000)
    sock.send_nowait(b"here", sock.socket.getsockname())
    for _ in range(2 * MAX_FLOODS):
        with pytest.raises(trio.WouldBlock):
            sock.receive_batch_nowait()
    assert len(script.log) == 2 * MAX_FLOODS * MAX_REPORTS
    script.left.clear()
    assert len(sock.receive_batch_nowait()) == 1


async def test_what_may_be_no_report_and_does_not_end_ends_receiving(
    make_socket, play, autojump_clock
):
    sock = await make_socket()
    _, script = play(sock, receiving=["EACCES"] * 100_000)
    with pytest.raises(PermissionError):
        await sock.receive_batch()
    assert len(script.log) == MAX_FLOODS * MAX_REPORTS + 1


async def test_closing_ends_the_wait_in_a_flood(make_socket, play):
    sock = await make_socket()
    play(sock, receiving=["ECONNREFUSED"] * 100_000)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await sock.receive_batch()

        await wait_all_tasks_blocked()
        await sock.aclose()


@needs_gso
@pytest.mark.parametrize("method", ["send_batch", "send_many"])
async def test_segmentation_is_not_blamed_for_what_fails_without_it(
    make_socket, play, method
):
    sender, receiver = await make_socket(), await make_socket()
    target = receiver.socket.getsockname()
    play(sender, ["EINVAL"] * 6)
    send_it = (
        sender.send_batch([(b"xy", target)] * 5)
        if method == "send_batch"
        else sender.send_many([b"xy"] * 5, target)
    )
    with pytest.raises(DatagramErrorGroup, match="5 of 5 datagrams refused"):
        await send_it
    assert sender.statistics().gso_refusals == {}
    assert await sender.send_many([b"xy"] * 5, target) == 5
    assert sender.statistics().gso_runs == 1
