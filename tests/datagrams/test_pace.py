"""How much the next call is given, after whatever the last has met."""

import errno

import pytest
from helpers import address_of, received

from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.pace import DENSE, PLANNED, WITH_CARE, Pace

NOWHERE = ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("taken", "size"),
    [(0, PLANNED), (2 * DENSE, PLANNED), (2 * DENSE + 1, WITH_CARE)],
)
def test_after_a_refusal_the_rest_goes_past_others_like_it(taken, size):
    pace = Pace()
    pace.note_taken(taken, whole=True)
    assert (pace.size, pace.refusal) == (PLANNED, 0)
    pace.note_refusal(errno.EPERM)
    assert (pace.size, pace.refusal) == (size, errno.EPERM)
    pace.note_tried(bytes(size))
    assert pace.refusal == 0


def test_a_refusal_is_soon_after_another_where_few_were_taken_between():
    pace = Pace()
    pace.note_refusal(errno.EPERM)
    pace.note_tried(b"\1" + bytes(2 * DENSE))
    pace.note_refusal(errno.EPERM)
    assert pace.size == PLANNED


def test_as_long_as_many_are_refused_the_next_call_goes_past_them_too():
    pace = Pace()
    pace.note_refusal(errno.EPERM)
    pace.note_tried(b"\1" + bytes(DENSE - 1))
    assert pace.refusal == errno.EPERM
    pace.note_tried(b"\1" + bytes(DENSE))
    assert pace.refusal == 0


def test_behind_a_refused_run_its_own_datagrams_are_tried_one_by_one():
    pace = Pace()
    pace.note_taken(PLANNED, whole=True)
    pace.note_refused_run(errno.EIO, 54)
    assert (pace.size, pace.refusal) == (54, errno.EIO)
    pace.note_tried(bytes(54))
    assert (pace.size, pace.refusal) == (216, 0)


def test_where_the_errno_must_be_looked_at_each_goes_with_a_call():
    pace = Pace()
    pace.note_refusal(0)
    assert (pace.size, pace.refusal) == (WITH_CARE, 0)
    pace.note_taken(WITH_CARE, whole=True)
    assert pace.size == 4 * WITH_CARE


@pytest.mark.parametrize(
    ("bad", "most"),
    [
        # Each refused datagram costs its own call, and now and then one more.
        (lambda i: True, 1.1),
        (lambda i: i % 2, 1.1),
        (lambda i: i < 1000, 1.1),
        (lambda i: i % 20 == 0, 1.1),
    ],
)
async def test_a_datagram_costs_a_call_where_many_are_refused(
    make_socket, bad, most
):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    batch = [
        (bytes(1 + i % 3), NOWHERE if bad(i) else target) for i in range(2000)
    ]
    with pytest.raises(DatagramErrorGroup):
        await sender.send_batch(batch)
    assert sender.statistics().send_calls < most * len(batch)


async def test_one_refusal_among_many_equal_ones_costs_few_calls(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    batch = [(bytes(100), address_of(receiver)) for _ in range(1000)]
    batch[500] = (bytes(100), NOWHERE)
    assert await sender.send_batch(batch, errors="ignore") == 999
    assert sender.statistics().send_calls < 16 + 12
    assert len(await received(receiver)) <= 999


async def test_a_report_between_two_refusals_is_charged_to_none(
    make_socket, play
):
    sender, receiver = await make_socket(), await make_socket()
    target = address_of(receiver)
    no_route = ["EHOSTUNREACH"] * 2
    # Refused; a report and then taken; refused; stopped by another error,
    # which nobody sees, as where it stops a sendmmsg(2).
    script, _ = play(
        sender,
        [*no_route, "EHOSTUNREACH", None, *no_route, "ECONNREFUSED"],
    )
    batch = [(b"%d" % i, target) for i in range(4)]
    batch = [(payload * (1 + i), to) for i, (payload, to) in enumerate(batch)]
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_batch(batch)
    assert [error.index for error in info.value.exceptions] == [0, 2]
    assert script.left == []
    assert await received(receiver) == [b"11", b"3333"]
    assert sender.statistics().reports == 1
    assert sender.statistics().send_calls == 8


async def test_over_ipv4_a_refused_broadcast_costs_one_call(make_socket):
    sender = await make_socket()
    batch = [(bytes(1 + i % 3), ("255.255.255.255", 9)) for i in range(64)]
    assert await sender.send_batch(batch, errors="ignore") == 0
    statistics = sender.statistics()
    assert (statistics.refused, statistics.reports) == (64, 0)
    # The first of a batch tells why, and those behind it go past that.
    assert statistics.send_calls <= 66
