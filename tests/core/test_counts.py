"""What a system call answers is at most what it was offered."""

import errno
import os

import pytest

from triobatch._core.counts import (
    MORE_THAN_OFFERED,
    checked,
    checked_vector,
    os_error,
)

CHUNKS = [b"abc", memoryview(b"de"), b"f"]


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_a_count_of_what_was_offered_is_believed(count):
    assert checked(count, 6) == count
    assert checked_vector(count, CHUNKS) == count


@pytest.mark.parametrize("count", [7, 2**40])
def test_a_larger_one_is_an_error(count):
    for call in (
        lambda: checked(count, 6),
        lambda: checked_vector(count, CHUNKS),
        lambda: checked_vector(count, [b"abc", b"def"]),
    ):
        with pytest.raises(
            OSError, match="more than it was offered"
        ) as caught:
            call()
        assert caught.value.errno == MORE_THAN_OFFERED


def test_a_negative_one_is_an_error():
    with pytest.raises(OSError, match="more than it was offered"):
        checked(-1, 6)


def test_nothing_offered_is_nothing_taken():
    assert checked_vector(0, []) == 0
    with pytest.raises(OSError, match="more than it was offered"):
        checked_vector(1, [])


def test_other_errnos_read_as_the_system_has_them():
    error = os_error(errno.EPIPE)
    assert type(error) is BrokenPipeError
    assert error.strerror == os.strerror(errno.EPIPE)
