"""Where segmentation rests, with a clock of our own."""

import errno

from triobatch._datagrams.gso import MAX_SIZE_V4, MAX_SIZE_V6, Limit
from triobatch._datagrams.segmentation import (
    COOL_DOWN,
    MAX_RESTING,
    Segmentation,
)
from triobatch._wire.addresses import encode_address

A = encode_address(("127.0.0.1", 1))
B = encode_address(("::1", 2))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_limit_is_that_of_the_family():
    segmentation = Segmentation(64, Clock())
    assert segmentation.limit(A) == Limit(64, MAX_SIZE_V4, MAX_SIZE_V4)
    assert segmentation.limit(B) == Limit(64, MAX_SIZE_V6, MAX_SIZE_V6)


def test_it_rests_for_the_destination_that_refused_it_and_for_a_time():
    clock = Clock()
    segmentation = Segmentation(64, clock)
    segmentation.refuse(A, errno.EIO, 1200)
    assert segmentation.limit(A).segments == 1
    assert segmentation.limit(B).segments == 64
    clock.now = COOL_DOWN
    assert segmentation.limit(A).segments == 64
    assert segmentation.refusals == {errno.EIO: 1}


def test_smaller_segments_go_on_where_one_was_too_large():
    segmentation = Segmentation(64, Clock())
    segmentation.refuse(A, errno.EMSGSIZE, 1400)
    assert segmentation.limit(A) == Limit(64, MAX_SIZE_V4, 1399)
    segmentation.refuse(A, errno.EMSGSIZE, 1200)
    assert segmentation.limit(A).segment_size == 1199


def test_what_rests_is_bounded():
    segmentation = Segmentation(64, Clock())
    for port in range(MAX_RESTING + 10):
        peer = encode_address(("10.0.0.1", port))
        segmentation.refuse(peer, errno.EIO, 1200)
    first = encode_address(("10.0.0.1", 0))
    assert segmentation.limit(first).segments == 64
    assert segmentation.limit(peer).segments == 1
