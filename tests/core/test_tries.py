"""Messages past those that are refused, on both cores."""

import errno
import os
import socket

import pytest

from triobatch import capabilities
from triobatch._core import calls
from triobatch._core.tries import go_past, try_each
from triobatch._wire.addresses import encode_address

NOWHERE = encode_address(("127.0.0.1", 0))
EPERM, EINVAL, EAGAIN = errno.EPERM, errno.EINVAL, errno.EAGAIN
UNREACHABLE = errno.EHOSTUNREACH
# Once for these, twice where it may be a report; all others stop the call.
TRIES = bytearray(256)
TRIES[EPERM] = TRIES[EINVAL] = 1
TRIES[UNREACHABLE] = TRIES[errno.ENETUNREACH] = 2
TRIES = bytes(TRIES)


def play(script):
    """Return what sends, and raises the errnos of a script in turn."""
    steps = iter(script)

    def send(*_message):
        number = next(steps, 0)
        if number:
            raise OSError(number, os.strerror(number))
        return 1

    return send


@pytest.mark.parametrize(
    ("script", "errors", "stopped", "passed"),
    [
        ([], [0, 0, 0], 0, 0),
        ([EPERM], [EPERM, 0, 0], 0, 0),
        ([0, EPERM, EINVAL], [0, EPERM, EINVAL], 0, 0),
        ([EAGAIN], [], EAGAIN, 0),
        ([EPERM, 0, EAGAIN], [EPERM, 0], EAGAIN, 0),
        ([UNREACHABLE, UNREACHABLE], [UNREACHABLE, 0, 0], 0, 0),
        ([UNREACHABLE, 0, EPERM], [0, EPERM, 0], 0, 1),
        # Two kinds running are not for the core to judge.
        ([0, UNREACHABLE, errno.ENETUNREACH], [0], errno.ENETUNREACH, 1),
        ([UNREACHABLE, EPERM], [], EPERM, 1),
        ([UNREACHABLE, EAGAIN], [], EAGAIN, 1),
        # It has no place in the table.
        ([10035], [], 10035, 0),
    ],
)
@pytest.mark.parametrize("each", [True, False])
def test_a_refusal_is_passed_and_another_error_stops_it(
    script, errors, stopped, passed, each
):
    if each:
        tried = try_each(play(script), [(0,), (1,), (2,)], [0] * 3, TRIES)
    else:
        tried = go_past(play(script), [0] * 3, TRIES)
    found = tried.errors, tried.stopped, tried.passed
    assert found == (bytes(errors), stopped, passed)


@pytest.mark.parametrize(
    ("script", "calls"),
    [
        ([], 1),
        ([EAGAIN], 1),
        ([0, EAGAIN], 2),
        ([EPERM], 2),
        ([EPERM] * 3, 3),
        ([0, 0, EPERM], 2),
        ([UNREACHABLE] * 2, 3),
    ],
)
def test_what_goes_one_by_one_counts_as_if_it_went_at_once(script, calls):
    messages = [(0,), (1,), (2,)]
    tried = try_each(play(script), messages, [0] * 3, TRIES)
    assert tried.calls == calls


def test_an_address_that_cannot_be_sent_to_is_raised_for_the_first_only():
    def send(message):
        if message == 1:
            raise OverflowError("port must be 0-65535")

    tried = try_each(send, [(0,), (1,), (2,)], [0] * 3, TRIES)
    assert (tried.errors, tried.stopped) == (b"\0", 0)
    with pytest.raises(OverflowError):
        try_each(send, [(1,), (2,)], [0] * 2, TRIES)


@pytest.mark.parametrize("each", [True, False])
def test_a_run_is_stopped_by_what_refuses_a_plain_message(each):
    script, segment_sizes = play([0, EPERM]), [0, 9, 0]
    if each:
        messages = [(0,), (1,), (2,)]
        tried = try_each(script, messages, segment_sizes, TRIES)
    else:
        tried = go_past(script, segment_sizes, TRIES)
    assert tried == (b"\0", EPERM, 2, 0)


@pytest.fixture
def pair():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as right,
    ):
        right.bind(("127.0.0.1", 0))
        right.setblocking(False)
        yield left, right


def send_past(sock, payloads, peers, tries, segment_sizes=None):
    sizes = list(map(len, payloads))
    return calls.send_past(
        sock.fileno(),
        payloads,
        sizes,
        segment_sizes or [0] * len(sizes),
        peers,
        (),
        tries,
    )


@pytest.mark.parametrize("needed", [1, 2])
def test_the_core_goes_past_the_refused(pair, needed):
    left, right = pair
    target = encode_address(right.getsockname())
    tries = bytearray(256)
    tries[EINVAL] = needed
    tried = send_past(
        left,
        [b"a", b"bb", b"ccc"],
        [NOWHERE, target, NOWHERE],
        bytes(tries),
    )
    assert tried == (bytes([EINVAL, 0, EINVAL]), 0, 1 + 2 * needed, 0)
    assert right.recv(9) == b"bb"


def test_the_core_stops_at_another_error_and_tells_it(pair):
    left, right = pair
    target = encode_address(right.getsockname())
    payloads, peers = [b"a", b"b", b"c"], [target, NOWHERE, target]
    tried = send_past(left, payloads, peers, bytes(256))
    assert tried == (b"\0", EINVAL, 2, 0)
    assert right.recv(9) == b"a"
    tried = send_past(left, payloads[1:], peers[1:], bytes(256))
    assert tried == (b"", EINVAL, 1, 0)
    with pytest.raises(BlockingIOError):
        right.recv(9)


def test_the_core_stops_at_a_run(pair):
    if capabilities().gso_segments == 1:
        pytest.skip("needs segmentation")
    left, right = pair
    payloads = [b"a", b"bbc"]
    tried = send_past(left, payloads, [NOWHERE], TRIES, [0, 2])
    assert (tried.errors, tried.stopped) == (bytes([EINVAL]), EINVAL)
    with pytest.raises(BlockingIOError):
        right.recv(9)


def test_the_core_takes_64_at_most_and_one_name_for_all(pair):
    left, right = pair
    payloads = [b"x"] * (calls.MAX_MESSAGES + 1)
    target = [encode_address(right.getsockname())]
    tried = send_past(left, payloads, target, TRIES)
    assert tried == (bytes(calls.MAX_MESSAGES), 0, 1, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        calls.send_past(left.fileno(), [b""], [1], [0], target, (), TRIES)


def test_payloads_are_pieces_of_messages(pair):
    left, right = pair
    target = [encode_address(right.getsockname())]
    tried = calls.send_past(
        left.fileno(), [b"a", b"bc", b"d"], [3, 1], [0, 0], target, (), TRIES
    )
    assert tried.errors == bytes(2)
    assert [right.recv(9), right.recv(9)] == [b"abc", b"d"]


def test_a_call_takes_all_between_two_refusals_but_for_the_first(pair):
    left, right = pair
    target = encode_address(right.getsockname())
    peers = [target] * 64
    peers[0] = peers[20] = peers[21] = NOWHERE
    tried = send_past(left, [b"\0"] * 64, peers, TRIES)
    assert [i for i, item in enumerate(tried.errors) if item] == [0, 20, 21]
    for _ in range(61):
        assert right.recv(9) == b"\0"
    if capabilities().core == "c":
        # 0 | 1, 2-19 | 20 | 21 | 22, 23-63.
        assert tried.calls == 1 + 2 + 1 + 1 + 2
