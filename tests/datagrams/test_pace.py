"""How much the next call is given, after whatever the last has met."""

import pytest
from helpers import address_of, received

from triobatch._core.probes import gso_segments
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.pace import DENSE, PLANNED, WITH_CARE, Pace

NOWHERE = ("127.0.0.1", 0)


def test_behind_a_refused_run_nothing_is_cut_up_until_few_are_refused():
    pace = Pace(plain=False)
    assert (pace.size, pace.plain) == (PLANNED, False)
    pace.note_refused_run()
    assert (pace.size, pace.plain) == (PLANNED, True)
    pace.note_tried(1, DENSE, whole=True)
    assert pace.plain
    pace.note_tried(1, DENSE + 1, whole=True)
    assert not pace.plain


def test_where_each_must_be_looked_at_little_is_planned():
    pace = Pace(plain=False)
    pace.note_judged()
    assert pace.size == WITH_CARE
    pace.note_tried(0, WITH_CARE - 1, whole=False)
    assert pace.size == WITH_CARE
    pace.note_tried(0, WITH_CARE, whole=True)
    assert pace.size == 4 * WITH_CARE


async def test_a_batch_behind_one_that_was_refused_begins_without_runs(
    make_socket, play
):
    sender, receiver = await make_socket(), await make_socket()
    equal = [(bytes(9), address_of(receiver)), (bytes(8), NOWHERE)] * 2
    assert await sender.send_batch(equal, errors="ignore") == 2
    script, _ = play(sender)
    for _ in range(2):
        equal = [(bytes(9 - i % 2), address_of(receiver)) for i in range(4)]
        await sender.send_batch(equal)
    # And the next with them, where there are any.
    runs = [17, 17] if gso_segments() > 1 else [9, 8] * 2
    assert script.offered == [[9, 8] * 2, runs]
    assert len(await received(receiver)) == 10


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
    # Refused; a report and then taken; refused; stopped by a report, which is
    # counted, though it is not about the first of its call.
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
    assert sender.statistics().reports == 2
    assert sender.statistics().send_calls == 8


async def test_over_ipv4_a_refused_broadcast_costs_one_call(make_socket):
    sender = await make_socket()
    batch = [(bytes(1 + i % 3), ("255.255.255.255", 9)) for i in range(64)]
    assert await sender.send_batch(batch, errors="ignore") == 0
    statistics = sender.statistics()
    assert (statistics.refused, statistics.reports) == (64, 0)
    # The first of a batch tells why, and those behind it go past that.
    assert statistics.send_calls <= 66
