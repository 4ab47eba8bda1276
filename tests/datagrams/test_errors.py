"""What users catch."""

import pickle

from triobatch._datagrams.errors import (
    DatagramError,
    DatagramErrorGroup,
    TruncatedDatagramError,
)


def test_errors_survive_pickling():
    error = DatagramError(1, 2, ("127.0.0.1", 3))
    group = DatagramErrorGroup([error], 4)
    for original in (error, TruncatedDatagramError(b"x", None, 5)):
        copy = pickle.loads(pickle.dumps(original))
        assert (str(copy), vars(copy)) == (str(original), vars(original))
    copy = pickle.loads(pickle.dumps(group))
    assert (str(copy), copy.sent) == (str(group), 4)


def test_what_except_star_splits_off_knows_what_was_sent():
    errors = [DatagramError(number, 0, None) for number in (1, 22)]
    group = DatagramErrorGroup(errors, 7)
    matched, rest = group.split(lambda error: error is errors[0])
    assert (matched.sent, rest.sent) == (7, 7)
    assert list(matched.exceptions) == errors[:1]


def test_a_group_has_its_errors_in_the_order_of_the_batch():
    errors = [DatagramError(1, index, None) for index in (5, 0, 3)]
    group = DatagramErrorGroup(errors, 7)
    assert [error.index for error in group.exceptions] == [0, 3, 5]
    assert group.split(errors[1].__class__)[0].exceptions == group.exceptions
