"""The planner, by tables and fuzzed, and where segmentation rests."""

import errno
from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triobatch._datagrams.gso import (
    COOL_DOWN,
    MAX_RESTING,
    MAX_SIZE_V4,
    MAX_SIZE_V6,
    Limit,
    Messages,
    Segmentation,
    by_destination,
    plan,
    within,
)
from triobatch._wire.addresses import encode_address

A = encode_address(("127.0.0.1", 1))
B = encode_address(("127.0.0.1", 2))
C = encode_address(("::1", 3))


def runs(sizes, segments=64, size=MAX_SIZE_V4, segment_size=MAX_SIZE_V4):
    """Plan for one destination: (bytes, segment size, datagrams)."""
    limit = Limit(segments, size, segment_size)
    planned = plan(sizes, [A] * len(sizes), lambda _: limit)
    assert planned.peers == [A]
    return list(
        zip(planned.sizes, planned.segment_sizes, planned.counts, strict=True)
    )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1200], [(1200, 0, 1)]),
        ([1200, 1200], [(2400, 1200, 2)]),
        ([1200, 700], [(1900, 1200, 2)]),
        ([700, 1200], [(700, 0, 1), (1200, 0, 1)]),
        ([1200, 700, 700], [(1900, 1200, 2), (700, 0, 1)]),
        ([9, 9, 5, 9, 9], [(23, 9, 3), (18, 9, 2)]),
        ([9, 5, 3], [(14, 9, 2), (3, 0, 1)]),
        ([2, 2, 1], [(5, 2, 3)]),
        ([0], [(0, 0, 1)]),
        ([0, 0], [(0, 0, 1), (0, 0, 1)]),
        ([9, 0, 9], [(9, 0, 1), (0, 0, 1), (9, 0, 1)]),
        ([9, 9, 0], [(18, 9, 2), (0, 0, 1)]),
        # 64 segments, then 65507 bytes, are what ends a run.
        ([1] * 64, [(64, 1, 64)]),
        ([1] * 65, [(64, 1, 64), (1, 0, 1)]),
        ([2] * 64 + [1], [(128, 2, 64), (1, 0, 1)]),
        ([1200] * 64, [(64800, 1200, 54), (12000, 1200, 10)]),
        ([1200] * 54 + [707], [(65507, 1200, 55)]),
        ([1200] * 54 + [708], [(64800, 1200, 54), (708, 0, 1)]),
        ([1472] * 45, [(64768, 1472, 44), (1472, 0, 1)]),
        ([65507] * 2, [(65507, 0, 1)] * 2),
        ([65508], [(65508, 0, 1)]),
        ([32753] * 2, [(65506, 32753, 2)]),
        ([32754] * 2, [(32754, 0, 1)] * 2),
        ([32754, 32753], [(65507, 32754, 2)]),
    ],
)
def test_a_run_ends_where_the_kernel_says(sizes, expected):
    assert runs(sizes) == expected


def test_no_run_has_more_segments_than_that_kernel_takes():
    each, run = (9, 0, 1), (18, 9, 2)
    assert runs([9] * 5, segments=2) == [run, run, each]
    assert runs([7, *[9] * 5], segments=2) == [(7, 0, 1), run, run, each]
    assert runs([9, 9, 5, 9], segments=2) == [run, (5, 0, 1), each]


def test_a_newer_kernel_takes_longer_runs():
    assert runs([1] * 129, segments=128) == [(128, 1, 128), (1, 0, 1)]


def test_without_segmentation_every_message_is_plain():
    assert runs([9, 9, 5], segments=1) == [(9, 0, 1), (9, 0, 1), (5, 0, 1)]


def test_a_segment_too_large_for_the_path_goes_plain():
    assert runs([1400, 1400, 1000, 1000], segment_size=1200) == [
        (1400, 0, 1),
        (1400, 0, 1),
        (2000, 1000, 2),
    ]
    assert runs([1400, 1000], segment_size=1200) == [
        (1400, 0, 1),
        (1000, 0, 1),
    ]


def test_a_segment_as_large_as_the_path_takes_grows_by_a_shorter_one():
    assert runs([9, 5], segment_size=9) == [(14, 9, 2)]
    assert runs([9, 5], segment_size=8) == [(9, 0, 1), (5, 0, 1)]


def test_ipv6_holds_twenty_bytes_more():
    assert runs([1] * 2, size=MAX_SIZE_V6) == [(2, 1, 2)]


def test_each_destination_has_messages_of_its_own():
    planned = plan([9, 9, 9, 5], [A, A, B, B], lambda _: Limit(64))
    assert planned == Messages([18, 14], [9, 9], [2, 2], [A, B])


def test_a_limit_is_a_destinations_own():
    planned = plan(
        [9, 9, 9, 9],
        [A, A, B, B],
        lambda peer: Limit(1 if peer == A else 64),
    )
    assert planned == Messages([9, 9, 18], [0, 0, 9], [1, 1, 2], [A, A, B])


def test_a_shorter_datagram_joins_no_run_to_another_destination():
    planned = plan([9, 9, 5], [A, A, B], lambda _: Limit(64))
    assert planned == Messages([18, 5], [9, 0], [2, 1], [A, B])


def test_as_many_destinations_as_datagrams_have_a_plain_message_each():
    planned = plan([9, 5, 7], [A, B, C], lambda _: Limit(64))
    assert planned == Messages([9, 5, 7], [0] * 3, [1] * 3, [A, B, C])


def test_different_destinations_are_not_sorted():
    assert by_destination([B, A, C]) is None
    assert by_destination([B, B, B]) is None
    assert by_destination([B, B, A, A, C]) is None


def test_interleaved_destinations_are_put_side_by_side():
    assert by_destination([B, A, B, A]) == [0, 2, 1, 3]


def test_the_names_of_one_destination_do_not_pass_each_other():
    mapped = encode_address(("::ffff:127.0.0.1", 1))
    assert by_destination([A, mapped, A, mapped]) is None
    assert by_destination([A, B, mapped, A, B]) == [0, 2, 3, 1, 4]
    labelled = encode_address(("::1", 3, 5, 0))
    assert by_destination([C, labelled, C, labelled]) is None


def test_what_the_socket_is_connected_to_may_be_any_of_them():
    assert by_destination([A, b"", A, b""]) is None


@pytest.mark.parametrize(
    ("sizes", "count"),
    [([], 0), ([4, 4], 2), ([4, 5], 2), ([4, 6], 1), ([99, 1], 1)],
)
def test_a_batch_is_cut_to_a_number_of_bytes(sizes, count):
    assert within(sizes, 9) == count


LARGEST = {A: MAX_SIZE_V4, B: MAX_SIZE_V4, C: MAX_SIZE_V6}
SIZES = st.lists(
    st.sampled_from([0, 1, 64, 700, 1200, 9000, 65507])
    | st.integers(0, 65527),
    min_size=1,
    max_size=200,
) | st.builds(
    lambda size, count, last: [size] * count + [last],
    st.integers(0, 3000),
    st.integers(0, 300),
    st.integers(0, 3000),
)


@given(
    SIZES,
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 63, 64, 128]),
    st.sampled_from([1200, 9000, MAX_SIZE_V4]),
)
@example([1] * 300, 0, 128, 1200)
def test_every_plan_obeys_the_kernel(sizes, seed, segments, segment_size):
    peers = [[A, B, C][(seed >> (i % 32)) % 3] for i in range(len(sizes))]
    order = by_destination(peers) or list(range(len(sizes)))
    given_to = {
        peer: [sizes[i] for i in range(len(sizes)) if peers[i] == peer]
        for peer in (A, B, C)
    }
    sizes = [sizes[i] for i in order]
    peers = [peers[i] for i in order]
    # Side by side, and in their own order.
    assert len([peer for peer, _ in groupby(peers)]) == len(set(peers))
    planned = plan(
        list(sizes),
        peers,
        lambda peer: Limit(segments, LARGEST[peer], segment_size),
    )
    names = planned.peers
    if len(names) == 1:
        names *= len(planned.sizes)
    sent_to = {A: [], B: [], C: []}
    start = 0
    for total, segment, count, peer in zip(
        planned.sizes,
        planned.segment_sizes,
        planned.counts,
        names,
        strict=True,
    ):
        held = sizes[start : start + count]
        assert set(peers[start : start + count]) == {peer}
        assert sum(held) == total
        start += count
        sent_to[peer] += held
        if count == 1:
            assert segment == 0
            continue
        assert count <= segments
        assert total <= LARGEST[peer]
        assert 0 < segment <= segment_size
        assert held[:-1] == [segment] * (count - 1)
        assert 0 < held[-1] <= segment
    assert start == len(sizes)
    assert sent_to == given_to


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_limit_is_that_of_the_family():
    segmentation = Segmentation(64, Clock())
    assert segmentation.limit(A) == Limit(64, MAX_SIZE_V4, MAX_SIZE_V4)
    assert segmentation.limit(C) == Limit(64, MAX_SIZE_V6, MAX_SIZE_V6)


def test_it_rests_for_the_destination_that_refused_it_and_for_a_time():
    clock = Clock()
    segmentation = Segmentation(64, clock)
    segmentation.refuse(A, errno.EIO, 1200)
    assert segmentation.limit(A).segments == 1
    assert segmentation.limit(C).segments == 64
    clock.now = COOL_DOWN
    assert segmentation.limit(A).segments == 64
    assert segmentation.refusals == {errno.EIO: 1}
    # It is not looked up again.
    assert segmentation._resting == {}


def test_smaller_segments_go_on_where_one_was_too_large():
    segmentation = Segmentation(64, Clock())
    segmentation.refuse(A, errno.EMSGSIZE, 1400)
    assert segmentation.limit(A) == Limit(64, MAX_SIZE_V4, 1399)
    segmentation.refuse(A, errno.EMSGSIZE, 1200)
    assert segmentation.limit(A).segment_size == 1199


def test_what_rests_is_bounded():
    segmentation = Segmentation(64, Clock())
    peers = [
        encode_address(("10.0.0.1", port)) for port in range(MAX_RESTING + 1)
    ]
    for peer in peers[:-1]:
        segmentation.refuse(peer, errno.EIO, 1200)
    assert segmentation.limit(peers[0]).segments == 1
    segmentation.refuse(peers[-1], errno.EIO, 1200)
    assert segmentation.limit(peers[0]).segments == 64
    assert segmentation.limit(peers[1]).segments == 1
    assert segmentation.limit(peers[-1]).segments == 1
