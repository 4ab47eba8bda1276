"""Each step of a batch by itself, on a kernel that answers from a list."""

import errno
import os

import pytest

from triobatch._core import calls
from triobatch._core.tries import Tried
from triobatch._datagrams import gso
from triobatch._datagrams.dispatch import (
    MAX_JOINED,
    MAX_MESSAGE,
    WINDOW,
    Dispatch,
)
from triobatch._datagrams.errnos import (
    MAX_CONGESTED,
    MAX_FLOODS,
    MAX_REPORTS,
)
from triobatch._datagrams.outcomes import Outcome, Outlet
from triobatch._datagrams.pace import PLANNED, WITH_CARE
from triobatch._queues.datagrams import Directed
from triobatch._wire.addresses import encode_address
from triobatch._wire.metadata import Metadata

A = ("127.0.0.1", 1)
B = ("127.0.0.1", 2)
PLAIN = [b"", b"a", b"bb", b"ccc"]
RUN = [b"xy"] * 4


class Listed:
    """A kernel whose answers are listed; without any it takes all."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.log = []

    def send_past(self, fd, payloads, sizes, cuts, peers, control, tries, _):
        self.log.append((sizes, cuts, peers, payloads))
        assert (fd, control) == (7, ())
        assert sum(map(len, payloads)) == sum(sizes)
        self.tries = tries
        if not self.answers:
            return Tried(bytes(len(sizes)), 0, 1, 0)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            answer = b"", answer
        errors, stopped = answer
        return Tried(errors, stopped, 1, 0)


class Noting:
    """An observer that writes down what it is told."""

    def __init__(self):
        self.told = []

    def sent(self, tags):
        self.told.append(("sent", *tags))

    def refuse(self, tag, number):
        self.told.append(("refused", tag, number))

    def hold(self, tag, peer):
        self.told.append(("held", tag, peer))


class Sized:
    """A payload of which only the size matters."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def batch(payloads, *answers, addresses=(A,), internet=True, **options):
    """Return a dispatch of payloads, to the addresses in turn."""
    kernel = Listed(*answers)
    outlet = options.pop("outlet", None) or Outlet(
        gso.Segmentation(64, lambda: 0.0), internet, kernel, ipv4=internet
    )
    outlet.kernel = kernel
    targets = [addresses[i % len(addresses)] for i in range(len(payloads))]
    dispatch = Dispatch(
        outlet,
        list(payloads),
        targets,
        [
            encode_address(getattr(target, "address", target))
            for target in targets
        ],
        (),
        **options,
    )
    return dispatch, kernel, outlet


def steps(dispatch, count):
    return [dispatch.step(7) for _ in range(count)]


def left(dispatch):
    """Return what is left in the queue, which the columns agree about."""
    lengths = {len(column) for column in dispatch._columns()}
    assert len(lengths) == 1
    return dispatch._payloads


def test_a_batch_that_is_taken_whole_is_done():
    done = []
    dispatch, kernel, outlet = batch(PLAIN, on_sent=lambda: done.append(1))
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert done == [1]
    assert (dispatch.sent, dispatch.sent_bytes) == (4, 6)
    assert kernel.log[0][:2] == ([0, 1, 2, 3], [0] * 4)
    counters = outlet.counters
    assert (counters.calls, counters.datagrams, counters.runs) == (1, 4, 0)
    assert left(dispatch) == []


def test_no_datagrams_need_no_call():
    dispatch, kernel, _ = batch([])
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log == []


def test_a_run_is_one_message_and_counted():
    dispatch, kernel, outlet = batch(RUN)
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log[0][:2] == ([8], [2])
    assert (outlet.counters.runs, outlet.counters.datagrams) == (1, 4)
    assert (dispatch.sent, dispatch.sent_bytes) == (4, 8)


def test_the_second_of_two_waits_for_its_own_peer():
    dispatch, kernel, _ = batch(
        PLAIN[1:3], (b"\0", errno.EAGAIN), addresses=[A, B]
    )
    assert steps(dispatch, 1) == [Outcome.FULL]
    assert kernel.log[0][2] == [encode_address(A), encode_address(B)]
    assert dispatch.peer == encode_address(B)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_what_waits_is_what_was_not_taken(taken):
    dispatch, _, outlet = batch(
        PLAIN, (bytes(taken), errno.EAGAIN), addresses=[A, B]
    )
    assert steps(dispatch, 1) == [Outcome.FULL]
    assert dispatch.peer == encode_address(A if taken < 2 else B)
    assert (dispatch.sent, outlet.counters.datagrams) == (taken, taken)
    # Side by side, each destination's.
    assert left(dispatch) == [b"", b"bb", b"a", b"ccc"][taken:]
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert dispatch.sent == 4


def test_who_is_full_is_told_where_all_go_to_one():
    dispatch, _, _ = batch(PLAIN, (bytes(2), errno.EAGAIN))
    assert steps(dispatch, 1) == [Outcome.FULL]
    assert dispatch.peer == encode_address(A)


@pytest.mark.parametrize(
    ("number", "internet"),
    [(errno.EBADF, True), (errno.EBADF, False), (errno.EPIPE, True)],
)
def test_a_socket_that_has_failed_ends_the_batch(number, internet):
    dispatch, _, _ = batch(PLAIN, (b"\0", number), internet=internet)
    with pytest.raises(OSError, match=os.strerror(number)):
        dispatch.step(7)
    assert dispatch.refusals == []
    assert len(left(dispatch)) == 3


def test_a_unix_peer_that_listens_no_more_is_one_datagrams():
    dispatch, _, outlet = batch(PLAIN, errno.EPIPE, internet=False)
    assert steps(dispatch, 2) == [Outcome.MORE, Outcome.DONE]
    assert dispatch.refusals == [errno.EPIPE]
    assert outlet.counters.refused == 1


def test_what_is_refused_stays_at_the_front():
    done = []
    dispatch, kernel, outlet = batch(
        PLAIN,
        (b"\0\1\0", errno.EAGAIN),
        on_sent=lambda: done.append(1),
    )
    assert steps(dispatch, 1) == [Outcome.FULL]
    assert left(dispatch) == [b"a", b"ccc"]
    assert (dispatch.sent, dispatch.sent_bytes) == (2, 2)
    assert dispatch.refusals == [1]
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log[1][3] == [b"ccc"]
    assert left(dispatch) == [b"a"]
    assert (dispatch.sent, dispatch.sent_bytes) == (3, 5)
    assert outlet.counters.refused == 1
    # The whole batch was not.
    assert done == []


def test_what_is_refused_and_ignored_leaves_the_queue():
    done = []
    dispatch, _, outlet = batch(
        PLAIN, (b"\0\1\0\1", 0), ignore=True, on_sent=lambda: done.append(1)
    )
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert (dispatch.ignored, outlet.counters.refused) == (2, 2)
    assert (dispatch.refusals, left(dispatch)) == ([], [])
    assert dispatch.close() == ([], 0)
    assert done == [1]


def test_who_looks_is_told_of_each_by_its_tag():
    observer = Noting()
    dispatch, _, _ = batch(
        PLAIN, (b"\0\1\0\5", 0), observer=observer, tags=[30, 31, 32, 33]
    )
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert observer.told == [
        ("sent", 30, 32),
        ("refused", 31, 1),
        ("refused", 33, 5),
    ]


def test_a_run_that_was_taken_is_told_datagram_by_datagram():
    observer = Noting()
    dispatch, _, _ = batch([*RUN, b"longer"], (b"\0\1", 0), observer=observer)
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert observer.told == [("sent", 0, 1, 2, 3), ("refused", 4, 1)]
    assert dispatch.sent_bytes == 8
    assert left(dispatch) == [b"longer"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_a_run_that_goes_unsegmented_was_refused_for_being_one(number):
    twice = [number] * (1 + (number == errno.EMSGSIZE))
    dispatch, kernel, outlet = batch(RUN, *twice)
    assert steps(dispatch, len(twice) + 1) == [
        *[Outcome.MORE] * len(twice),
        Outcome.DONE,
    ]
    assert kernel.log[-1][:2] == ([2] * 4, [0] * 4)
    assert outlet.segmentation.refusals == {number: 1}
    rests = outlet.segmentation.limit(encode_address(A))
    expected = 1 if number == errno.EMSGSIZE else gso.MAX_SIZE_V4
    assert rests.segment_size == expected
    assert outlet.counters.refused == 0


def test_a_filter_that_refuses_a_run_is_no_refusal_of_runs():
    dispatch, kernel, outlet = batch(RUN, errno.EPERM)
    assert steps(dispatch, 2) == [Outcome.MORE, Outcome.DONE]
    assert kernel.log[1][0] == [2] * 4
    assert outlet.segmentation.refusals == {}


@pytest.mark.parametrize("alone", [(b"\5", 0), errno.EIO])
def test_segmentation_is_not_to_blame_where_one_fails_alone_too(alone):
    dispatch, _, outlet = batch(RUN, errno.EIO, alone)
    assert steps(dispatch, 3)[-1] is Outcome.DONE
    assert dispatch.refusals == [errno.EIO]
    assert outlet.segmentation.refusals == {}
    assert dispatch.sent == 3


def test_a_refused_run_leaves_those_to_others_uncut_for_one_call():
    dispatch, kernel, outlet = batch(RUN * 8, errno.EPERM, addresses=[A, B])
    assert steps(dispatch, 1) == [Outcome.MORE]
    assert kernel.log[0][0] == [32, 32]
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log[1][0] == [2] * 32
    # Nothing was refused in it: the socket's next batch is cut up again.
    assert not outlet.plain
    again, kernel, _ = batch(RUN, outlet=outlet)
    assert steps(again, 1) == [Outcome.DONE]
    assert kernel.log[0][0] == [8]


def test_where_many_are_refused_the_next_batch_begins_without_runs():
    dispatch, _, outlet = batch(PLAIN, (b"\0\1\0\1", 0))
    steps(dispatch, 1)
    assert outlet.plain
    again, kernel, _ = batch(RUN, outlet=outlet)
    assert steps(again, 1) == [Outcome.DONE]
    assert kernel.log[0][0] == [2] * 4
    assert not outlet.plain


def test_a_report_is_about_another_and_the_second_is_believed():
    dispatch, kernel, outlet = batch(
        PLAIN, errno.EHOSTUNREACH, errno.EHOSTUNREACH, errno.EHOSTUNREACH
    )
    assert steps(dispatch, 1) == [Outcome.MORE]
    assert kernel.tries[errno.EHOSTUNREACH] == 2
    assert (dispatch.refusals, outlet.counters.reports) == ([], 1)
    assert steps(dispatch, 1) == [Outcome.MORE]
    assert kernel.tries[errno.EHOSTUNREACH] == 0
    assert dispatch.refusals == [errno.EHOSTUNREACH]
    assert outlet.counters.reports == 0
    # What the next one meets is the first of its kind.
    assert steps(dispatch, 2) == [Outcome.MORE, Outcome.DONE]
    assert dispatch.sent == 3


@pytest.mark.parametrize("between", [errno.EAGAIN, errno.ENOBUFS, b"\0"])
def test_two_reports_with_something_between_are_two(between):
    if between == b"\0":
        between = b"\0", errno.EAGAIN
    dispatch, _, outlet = batch(
        PLAIN, errno.EHOSTUNREACH, between, errno.EHOSTUNREACH
    )
    steps(dispatch, 4)
    assert dispatch.refusals == []
    assert (dispatch.sent, outlet.counters.reports) == (4, 2)


def test_what_finds_no_buffers_is_tried_again_and_then_refused():
    dispatch, _, _ = batch(PLAIN, *[errno.ENOBUFS] * (MAX_CONGESTED + 2))
    assert steps(dispatch, MAX_CONGESTED) == [Outcome.CONGESTED] * (
        MAX_CONGESTED
    )
    # Each of those behind it gets one try.
    assert steps(dispatch, 3) == [Outcome.MORE, Outcome.MORE, Outcome.DONE]
    assert dispatch.refusals == [errno.ENOBUFS] * 2
    assert dispatch.sent == 2


def test_what_was_sent_gives_the_next_its_own_tries():
    full = [errno.ENOMEM] * MAX_CONGESTED
    dispatch, _, _ = batch(PLAIN, *full, (b"\0", errno.ENOMEM), *full[1:])
    found = steps(dispatch, 2 * MAX_CONGESTED + 1)
    assert found == [Outcome.CONGESTED] * 2 * MAX_CONGESTED + [Outcome.DONE]
    assert dispatch.refusals == []


def test_a_run_that_finds_no_buffers_is_refused_whole():
    dispatch, kernel, outlet = batch(
        RUN, *[errno.ENOBUFS] * (MAX_CONGESTED + 1)
    )
    steps(dispatch, MAX_CONGESTED)
    assert steps(dispatch, 2) == [Outcome.MORE, Outcome.DONE]
    assert dispatch.refusals == [errno.ENOBUFS] * 4
    assert outlet.counters.refused == 4
    assert {tuple(sizes) for sizes, *_ in kernel.log} == {(8,)}


def test_a_flood_is_waited_out_and_one_without_end_refuses():
    rounds = MAX_FLOODS + 1
    dispatch, _, _ = batch(
        PLAIN, *[errno.ECONNREFUSED] * (rounds * MAX_REPORTS)
    )
    one = [Outcome.MORE] * (MAX_REPORTS - 1) + [Outcome.CONGESTED]
    assert steps(dispatch, MAX_FLOODS * MAX_REPORTS) == one * MAX_FLOODS
    assert dispatch.refusals == []
    assert steps(dispatch, MAX_REPORTS) == [Outcome.MORE] * MAX_REPORTS
    assert dispatch.refusals == [errno.ECONNREFUSED]
    assert steps(dispatch, 1) == [Outcome.DONE]


def test_behind_what_has_found_no_buffers_each_is_looked_at_alone():
    sizes = [bytes(size) for size in range(1, 100)]
    dispatch, kernel, _ = batch(sizes, *[errno.ENOBUFS] * (MAX_CONGESTED + 1))
    steps(dispatch, MAX_CONGESTED + 1)
    assert len(kernel.log[-1][0]) == min(99, calls.MAX_MESSAGES)
    steps(dispatch, 1)
    assert len(kernel.log[-1][0]) == WITH_CARE


# Withdrawn and held


def test_what_is_withdrawn_is_not_sent():
    observer = Noting()
    dispatch, kernel, _ = batch(PLAIN, observer=observer)
    dispatch.withdraw(1)
    dispatch.withdraw(3)
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log[0][3] == [b"", b"bb"]
    assert observer.told == [("sent", 0, 2)]
    assert dispatch._withdrawn == set()


def test_when_all_are_withdrawn_no_call_is_made():
    dispatch, kernel, _ = batch(PLAIN)
    for tag in range(4):
        dispatch.withdraw(tag)
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log == []


def test_who_takes_the_place_of_the_first_has_all_tries():
    full = [errno.ENOBUFS] * MAX_CONGESTED
    dispatch, _, _ = batch(PLAIN, *full, *full)
    steps(dispatch, MAX_CONGESTED)
    dispatch.withdraw(0)
    assert steps(dispatch, MAX_CONGESTED) == [Outcome.CONGESTED] * (
        MAX_CONGESTED
    )
    # One behind it changes nothing.
    dispatch._outlet.kernel.answers = [errno.ENOBUFS]
    dispatch.withdraw(3)
    assert steps(dispatch, 1) == [Outcome.MORE]
    assert dispatch.refusals == [errno.ENOBUFS]


def test_a_report_that_the_withdrawn_met_is_not_the_next_ones():
    dispatch, _, _ = batch(PLAIN, errno.EHOSTUNREACH, errno.EHOSTUNREACH)
    steps(dispatch, 1)
    dispatch.withdraw(0)
    assert steps(dispatch, 1) == [Outcome.MORE]
    assert dispatch.refusals == []


@pytest.mark.parametrize("at", [WINDOW - 1, WINDOW, 3 * WINDOW - 1])
def test_what_is_withdrawn_far_behind_is_not_sent_either(at):
    dispatch, kernel, _ = batch([b"%d" % i for i in range(3 * WINDOW)])
    dispatch.withdraw(at)
    while dispatch.step(7) is not Outcome.DONE:
        pass
    sent = [payload for *_, payloads in kernel.log for payload in payloads]
    assert sent == [b"%d" % i for i in range(3 * WINDOW) if i != at]


def test_what_was_stopped_is_not_judged_where_some_are_left_out():
    dispatch, _, _ = batch(PLAIN, (b"\0", errno.EAGAIN))
    dispatch.withdraw(9)
    assert steps(dispatch, 2) == [Outcome.MORE, Outcome.DONE]


def test_without_anybody_to_take_them_in_none_are_held():
    dispatch, _, _ = batch(PLAIN)
    assert dispatch.hold(encode_address(A)) is False
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert dispatch.sent == 4


def test_those_to_a_destination_without_room_leave_and_the_others_go():
    observer = Noting()
    dispatch, kernel, _ = batch(PLAIN, addresses=[A, B], observer=observer)
    assert dispatch.hold(encode_address(A)) is True
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert kernel.log[0][3] == [b"a", b"ccc"]
    assert observer.told == [
        ("held", 0, encode_address(A)),
        ("held", 2, encode_address(A)),
        ("sent", 1, 3),
    ]


def test_what_is_withdrawn_is_not_held():
    observer = Noting()
    dispatch, _, _ = batch(PLAIN, observer=observer)
    dispatch.withdraw(1)
    dispatch.hold(encode_address(A))
    assert steps(dispatch, 1) == [Outcome.DONE]
    assert [told[1] for told in observer.told] == [0, 2, 3]


# Plans


def test_columns_are_put_in_order_together():
    observer = Noting()
    dispatch, kernel, _ = batch(
        [b"1", b"2", b"3", b"4"],
        (b"\0", errno.EAGAIN),
        addresses=[A, B],
        observer=observer,
    )
    assert steps(dispatch, 2) == [Outcome.FULL, Outcome.DONE]
    assert kernel.log[0][:2] == ([2, 2], [1, 1])
    assert kernel.log[0][3] == [b"1", b"3", b"2", b"4"]
    assert kernel.log[0][2] == [encode_address(A), encode_address(B)]
    assert observer.told == [("sent", 0, 2), ("sent", 1, 3)]


@pytest.mark.parametrize("segments", [1, 64])
@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ([MAX_JOINED], 1),
        ([MAX_JOINED + 1], 1),
        ([MAX_JOINED - 1, 1, 1], 2),
        ([MAX_JOINED, 1], 1),
    ],
)
def test_so_many_bytes_go_with_one_call(segments, sizes, first):
    outlet = Outlet(gso.Segmentation(segments, lambda: 0.0), True, None)
    dispatch, kernel, _ = batch(map_sized(sizes), outlet=outlet)
    dispatch.step(7)
    assert len(kernel.log[0][3]) == first


def map_sized(sizes):
    return [Sized(size) for size in sizes]


@pytest.mark.parametrize("segments", [1, 64])
@pytest.mark.parametrize("addresses", [[A], [A, B]])
def test_a_call_has_no_more_messages_than_the_core_takes(segments, addresses):
    # Each is larger than the one before it to the same peer, so none are a
    # run.
    sizes = list(range(1, 2 * PLANNED))
    outlet = Outlet(gso.Segmentation(segments, lambda: 0.0), True, None)
    dispatch, kernel, _ = batch(
        map_sized(sizes), outlet=outlet, addresses=addresses
    )
    while dispatch.step(7) is not Outcome.DONE:
        pass
    offered = [len(sizes) for sizes, *_ in kernel.log]
    assert offered[0] == calls.MAX_MESSAGES
    assert max(offered) == calls.MAX_MESSAGES
    assert sum(offered) == dispatch.sent == len(sizes)


def test_one_peer_is_written_once_and_two_are_written_for_each():
    outlet = Outlet(gso.Segmentation(1, lambda: 0.0), True, None)
    dispatch, kernel, _ = batch(PLAIN, outlet=outlet)
    dispatch.step(7)
    assert kernel.log[0][2] == [encode_address(A)]
    dispatch, kernel, _ = batch(PLAIN, outlet=outlet, addresses=[A, B])
    dispatch.step(7)
    assert kernel.log[0][2] == [encode_address(A), encode_address(B)] * 2


@pytest.mark.parametrize(
    ("size", "tried"), [(MAX_MESSAGE, 1), (MAX_MESSAGE + 1, 0)]
)
def test_what_no_call_takes_is_not_tried(size, tried):
    dispatch, kernel, _ = batch(map_sized([size]))
    dispatch.step(7)
    # As a report may be, it is met twice.
    dispatch.step(7)
    assert len(kernel.log) == tried
    assert dispatch.refusals == [errno.EMSGSIZE] * (1 - tried)


def test_what_is_added_to_the_queue_now_is_not_ours():
    payloads, addresses = [b"a", b"bb"], [A, A]
    kernel = Listed((b"\0", errno.EAGAIN))
    outlet = Outlet(gso.Segmentation(1, lambda: 0.0), True, kernel)
    dispatch = Dispatch(
        outlet, payloads, addresses, [encode_address(A)] * 2, ()
    )
    dispatch.step(7)
    payloads.append(b"later")
    addresses.append(A)
    assert dispatch.step(7) is Outcome.DONE
    assert (payloads, addresses) == ([b"later"], [A])


def test_the_largest_message_is_the_largest_int():
    assert MAX_MESSAGE == 0x7FFFFFFF


# The end


def test_errors_come_in_the_batchs_order_with_their_addresses():
    metadata = Metadata(ttl=3)
    dispatch, _, _ = batch(
        [b"1", b"2", b"3", b"4", b"5"],
        # A run each, which go one by one then.
        *(errno.EPERM, (b"\1\0\1", errno.EAGAIN)),
        addresses=[Directed(A, metadata), B],
    )
    assert steps(dispatch, 2) == [Outcome.MORE, Outcome.FULL]
    payloads = left(dispatch)
    errors, unsent = dispatch.close()
    assert [(error.index, error.errno) for error in errors] == [
        (0, errno.EPERM),
        (4, errno.EPERM),
    ]
    assert [error.address for error in errors] == [A, A]
    assert unsent == 2
    # In the order in which they were given.
    assert payloads == [b"1", b"5", b"2", b"4"]
    assert dispatch._payloads == []


def test_refusals_are_put_in_order_and_their_payloads_with_them():
    dispatch, _, _ = batch(
        [b"1", b"22", b"3", b"44"],
        *(errno.EPERM, (b"\1\1\1\1", 0)),
        addresses=[A, B],
    )
    while dispatch.step(7) is not Outcome.DONE:
        pass
    payloads = left(dispatch)
    addresses = dispatch._addresses
    errors, unsent = dispatch.close()
    assert [error.index for error in errors] == [0, 1, 2, 3]
    assert [error.address for error in errors] == [A, B, A, B]
    assert payloads == [b"1", b"22", b"3", b"44"]
    assert addresses == [A, B, A, B]
    assert unsent == 0
