"""Messages one by one, past those that are refused, on both cores."""

import errno
import os
import socket

import pytest

from triobatch import capabilities
from triobatch._core import calls
from triobatch._core.tries import try_each
from triobatch._wire.addresses import encode_address

NOWHERE = encode_address(("127.0.0.1", 0))
EPERM, EINVAL = errno.EPERM, errno.EINVAL


def play(script):
    """Return what sends, and raises the errnos of a script in turn."""
    steps = iter(script)

    def send(_message):
        number = next(steps, 0)
        if number:
            raise OSError(number, os.strerror(number))

    return send


@pytest.mark.parametrize(
    ("script", "tries", "refused", "calls", "passed"),
    [
        ([], 1, [0, 0, 0], 3, 0),
        ([EPERM], 1, [1, 0, 0], 3, 0),
        ([0, EPERM, EPERM], 1, [0, 1, 1], 3, 0),
        ([EPERM, EPERM], 2, [1, 0, 0], 4, 0),
        ([EPERM, 0, EPERM, EPERM], 2, [0, 1, 0], 5, 1),
        ([0, EINVAL], 1, [0], 2, 0),
        ([EPERM, EINVAL], 1, [1], 2, 0),
        # It has passed, and what comes next is told by the next call.
        ([EPERM, EINVAL], 2, [], 2, 1),
    ],
)
def test_another_error_ends_it_and_a_refusal_does_not(
    script, tries, refused, calls, passed
):
    tried = try_each(play(script), [(0,), (1,), (2,)], EPERM, tries)
    assert tried == (bytes(refused), calls, passed)


def test_another_error_of_the_first_is_raised():
    with pytest.raises(OSError, match="Invalid argument"):
        try_each(play([EINVAL]), [(0,), (1,), (2,)], EPERM, 2)


@pytest.fixture
def pair():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as right,
    ):
        right.bind(("127.0.0.1", 0))
        right.setblocking(False)
        yield left, right


@pytest.mark.parametrize("tries", [1, 2])
def test_the_core_goes_past_the_refused(pair, tries):
    left, right = pair
    target = encode_address(right.getsockname())
    tried = calls.send_each(
        left.fileno(),
        b"abbccc",
        [1, 2, 3],
        [NOWHERE, target, NOWHERE],
        (),
        errno.EINVAL,
        tries,
    )
    assert tried == (b"\1\0\1", 1 + 2 * tries, 0)
    assert right.recv(9) == b"bb"


def test_the_core_stops_at_another_error(pair):
    left, right = pair
    target = encode_address(right.getsockname())
    sizes, peers = [1, 1, 1], [target, NOWHERE, target]
    tried = calls.send_each(
        left.fileno(), b"abc", sizes, peers, (), errno.EPERM, 1
    )
    assert tried.refused == b"\0"
    assert right.recv(9) == b"a"
    with pytest.raises(OSError, match="Invalid argument"):
        calls.send_each(
            left.fileno(), b"bc", [1, 1], peers[1:], (), errno.EPERM, 1
        )
    with pytest.raises(BlockingIOError):
        right.recv(9)


def test_the_core_takes_64_at_most_and_one_name_for_all(pair):
    left, right = pair
    sizes = [1] * (calls.MAX_MESSAGES + 1)
    target = [encode_address(right.getsockname())]
    tried = calls.send_each(
        left.fileno(), bytes(len(sizes)), sizes, target, (), errno.EPERM, 1
    )
    assert tried.refused == bytes(calls.MAX_MESSAGES)
    with pytest.raises(OSError, match="Invalid argument"):
        calls.send_each(left.fileno(), b"", [1], target, (), errno.EPERM, 1)


def test_the_c_core_takes_more_with_each_call_between_two_refusals(pair):
    if capabilities().core != "c":
        pytest.skip("the Python core makes a call for each message")
    left, right = pair
    target = encode_address(right.getsockname())
    peers = [target] * 64
    peers[0] = peers[20] = peers[21] = NOWHERE
    tried = calls.send_each(
        left.fileno(), bytes(64), [1] * 64, peers, (), EINVAL, 1
    )
    assert [i for i, item in enumerate(tried.refused) if item] == [0, 20, 21]
    # 0 | 1, 2-3, 4-7, 8-15, 16-19 | 20 | 21 | 22, 23-24, and so on up to 63.
    assert tried.calls == 1 + 5 + 1 + 1 + 6
    for _ in range(61):
        assert right.recv(9) == b"\0"
