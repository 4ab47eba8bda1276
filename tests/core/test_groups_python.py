"""The calls of a group, on both cores: the same results from each."""

from __future__ import annotations

import errno
import os
import socket
import threading

import extensions
import pytest

from triobatch._core import groups_python
from triobatch._core.chunks import IOV_MAX
from triobatch._streams.gather import COPY_BELOW


@pytest.fixture(params=["c", "python"])
def core(request):
    if request.param == "python":
        return groups_python
    return extensions.load("triobatch._core.groups_c", extensions.C_CORE)


@pytest.fixture
def pairs():
    made = [socket.socketpair() for _ in range(3)]
    for pair in made:
        for sock in pair:
            sock.setblocking(False)
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def numbers(pairs):
    return [left.fileno() for left, _ in pairs]


def test_each_gives_what_it_has(core, pairs):
    arena = core.GroupArena(4)
    pairs[0][1].send(b"ab")
    pairs[2][1].send(b"cdefgh")
    expected = [b"ab", -errno.EAGAIN, b"cdef"]
    assert core.receive_group(arena, numbers(pairs)) == expected
    expected = [-errno.EAGAIN, -errno.EAGAIN, b"gh"]
    assert core.receive_group(arena, numbers(pairs)) == expected


def test_what_was_received_stays_as_it_was(core, pairs):
    arena = core.GroupArena(100)
    pairs[0][1].send(b"first")
    (first,) = core.receive_group(arena, numbers(pairs)[:1])
    pairs[0][1].send(b"again")
    core.receive_group(arena, numbers(pairs)[:1])
    assert first == b"first"


def test_ends_and_errors_stop_nobody(core, pairs):
    arena = core.GroupArena(100)
    pairs[0][1].close()
    pairs[2][1].send(b"x")
    fds = numbers(pairs)
    fds[1] = os.open("/dev/null", os.O_WRONLY)
    try:
        received = core.receive_group(arena, fds)
    finally:
        os.close(fds[1])
    assert received[0] == b""
    assert received[1] in {-errno.ENOTSOCK, -errno.EBADF}
    assert received[2] == b"x"


def test_more_streams_than_before(core, pairs):
    arena = core.GroupArena(1)
    for count in (1, 3, 2):
        for _, right in pairs[:count]:
            right.send(b"x")
        fds = numbers(pairs)[:count]
        assert core.receive_group(arena, fds) == [b"x"] * count


@pytest.mark.parametrize(
    "message",
    [
        [b"one"],
        [b"two", b"pieces"],
        [b"", b"x", b""],
        [b"%d" % (i % 10) for i in range(IOV_MAX)],
        [b"x" * COPY_BELOW, b"y" * COPY_BELOW],
        [b"x" * (COPY_BELOW - 1), b"y" * COPY_BELOW],
        [b"x" * 100, b"y" * 50_000],
    ],
    ids=len,
)
def test_a_message_of_pieces(core, pairs, message):
    fds = numbers(pairs)
    expected = b"".join(message)
    assert core.send_group(fds, [b"before", message, b"after"]) == (
        [6, len(expected), 5],
        True,
    )
    assert [right.recv(2**20) for _, right in pairs] == [
        b"before",
        expected,
        b"after",
    ]


def test_the_first_of_too_many_pieces(core, pairs):
    message = [bytes(COPY_BELOW)] * (IOV_MAX + 1)
    (sent,), whole = core.send_group(numbers(pairs)[:1], [message])
    assert not whole
    assert 0 < sent < COPY_BELOW * len(message)


def test_small_pieces_that_are_many(core, pairs):
    left, right = pairs[0]
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    message = [b"%07d" % i for i in range(20_000)]
    expected = b"".join(message)
    (sent,), whole = core.send_group([left.fileno()], [message])
    assert 0 < sent <= len(expected)
    assert whole == (sent == len(expected))
    received = b""
    while len(received) < sent:
        received += right.recv(2**20)
    assert received == expected[:sent]


def test_a_closed_peer_is_an_error_and_no_signal(core, pairs):
    pairs[1][1].close()
    results = core.send_group(numbers(pairs), [b"x"] * 3)
    assert results == ([1, -errno.EPIPE, 1], False)


@pytest.mark.parametrize("message", [[bytes(100)], [b"x", b"y"]], ids=len)
def test_who_is_full_takes_nothing(core, pairs, message):
    left = pairs[0][0]
    while True:
        try:
            left.send(bytes(4096))
        except BlockingIOError:
            break
    results = core.send_group([left.fileno()], [message])
    assert results == ([-errno.EAGAIN], False)


def test_from_many_threads(core):
    def work():
        left, right = socket.socketpair()
        with left, right:
            arena = core.GroupArena(100)
            for i in range(300):
                message = [b"%d" % i, b"!"]
                expected = b"".join(message)
                sent = core.send_group([left.fileno()], [message])
                assert sent == ([len(expected)], True)
                received = core.receive_group(arena, [right.fileno()])
                assert received == [expected]
        done.append(True)

    done = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4


@pytest.mark.parametrize("nothing", [[], [b""], [b"", b""]], ids=len)
def test_a_message_of_nothing_is_whole_and_no_call(core, pairs, nothing):
    fds = numbers(pairs)[:2]
    # Sending to it would be an error.
    pairs[0][1].close()
    results = core.send_group(fds, [nothing, b"x"])
    assert results == ([0, 1], True)
