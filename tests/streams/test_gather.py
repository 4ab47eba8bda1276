"""How a batch meets the kernel, one system call at a time."""

import errno
import socket
from array import array
from contextlib import suppress

import extensions
import pytest
import trio
from helpers import drain, exports_lock, is_exported, need_unix_sockets
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

from triobatch import BatchSocketStream, Buffers
from triobatch._core.choice import CHUNK_EXTENSION, CORE
from triobatch._core.chunks import COPY_SIZE, IOV_MAX
from triobatch._resource import Claim
from triobatch._streams.gather import (
    COPY_BELOW,
    COPY_WHOLE,
    MAX_OFFERED,
    Gather,
    send_list,
)

LARGE = COPY_WHOLE // 2

# Elsewhere a list is never copied whole.
needs_extension = pytest.mark.skipif(
    extensions.why_absent(extensions.CHUNKS) is not None,
    reason="copying needs the chunk extension",
)


@pytest.fixture
def pair():
    """Two connected sockets, neither of which blocks."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture
def calls(around):
    """What was called, by name, with how many chunks on offer."""
    made = []

    def watch(name, count):
        def call(real, *args):
            made.append((name, count(*args)))
            return real(*args)

        around(name, call)

    watch("send_copied", lambda fd, chunks, index, offset: len(chunks) - index)
    watch("send_pointed", lambda fd, chunks, offset: len(chunks))
    watch("Vector", lambda chunks, offset: len(chunks))
    watch("send_list", lambda fd, chunks, room: len(chunks))
    return made


def pieces(count, size):
    """Return chunks of which no two, and no two places in one, look alike."""
    pattern = bytes(range(251)) * (size // 251 + 2)
    return [pattern[i % 251 :][:size] for i in range(count)]


# The choice


def test_small_chunks_are_copied_into_one_piece(pair, calls):
    left, right = pair
    buffers = Buffers([b"header", bytearray(b"body"), b"end"])
    assert Gather(buffers).push(left.fileno()) == (13, True)
    assert calls == [("send_copied", 3)]
    assert drain(right) == b"headerbodyend"
    assert not buffers


def test_large_chunks_are_pointed_at(pair, calls):
    left, right = pair
    chunks = pieces(3, LARGE)
    assert Gather(Buffers(chunks)).push(left.fileno()) == (3 * LARGE, True)
    assert calls == [("send_pointed", 3)]
    assert drain(right) == b"".join(chunks)


@pytest.mark.parametrize("count", [9, 10, 20])
@pytest.mark.parametrize(
    ("size", "way"),
    [
        (COPY_BELOW - 1, "send_copied"),
        (COPY_BELOW, "send_pointed"),
        (COPY_BELOW + 1, "send_pointed"),
    ],
)
def test_the_average_size_decides(pair, calls, count, size, way):
    # A pair of TCP takes less at once.
    need_unix_sockets()
    left, right = pair
    chunks = pieces(count, size)
    assert Gather(Buffers(chunks)).push(left.fileno()) == (count * size, True)
    assert calls == [(way, count)]
    assert drain(right) == b"".join(chunks)


def test_what_is_left_decides_about_what_is_left(pair, calls):
    left, right = pair
    buffers = Buffers([bytes(LARGE), b"a", b"b"])
    buffers.consume(LARGE)
    assert Gather(buffers).push(left.fileno()) == (2, True)
    assert calls == [("send_copied", 2)]
    assert drain(right) == b"ab"


@pytest.mark.parametrize(
    ("sizes", "way"),
    [
        ([1], "copied"),
        ([COPY_WHOLE], "copied"),
        ([COPY_WHOLE + 1], "pointed at"),
        ([1, COPY_WHOLE - 1], "copied"),
        ([1, COPY_WHOLE], "pointed at"),
        ([COPY_WHOLE - 1, 1], "copied"),
        ([COPY_WHOLE, 1], "pointed at"),
        ([COPY_BELOW] * 5, "copied"),
        ([COPY_BELOW - 1] * 9, "copied"),
        ([COPY_BELOW] * 9, "pointed at"),
        ([COPY_BELOW] * 8 + [COPY_BELOW - 1], "copied"),
        ([COPY_BELOW] * 8 + [COPY_BELOW + 1], "pointed at"),
        ([1] * 8 + [9 * COPY_BELOW - 9], "copied"),
        ([1] * 8 + [9 * COPY_BELOW - 8], "pointed at"),
        ([8, COPY_SIZE], "pointed at"),
        ([1024] * (COPY_SIZE // 1024), "copied"),
        ([1024] * (COPY_SIZE // 1024 + 1), "copied"),
    ],
)
async def test_a_list_meets_the_kernel_as_buffers_do(calls, sizes, way):
    # A pair of TCP takes less at once.
    need_unix_sockets()
    chunks = [bytes(size) for size in sizes]
    for batch in chunks, Buffers(chunks):
        left, right = map(BatchSocketStream, tsocket.socketpair())
        async with left, right, trio.open_nursery() as nursery:
            nursery.start_soon(left.send_buffers, batch)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        # A list that is copied whole needs none of these.
        sends = [name for name, _ in calls if name != "send_list"]
        calls.clear()
        if batch is chunks and len(chunks) == 1:
            # One chunk is neither.
            assert sends == []
        else:
            assert (sends[:1] == ["send_pointed"]) == (way == "pointed at")


@pytest.mark.skipif(
    CORE == "c" and not CHUNK_EXTENSION,
    reason="the C core needs the chunk extension for lists",
)
def test_a_list_becomes_buffers_only_where_it_is_not_one_piece(pair):
    left, right = pair
    for chunks in [b"a", b"bc"], [bytes(1024)] * (COPY_SIZE // 1024):
        sent, rest = send_list(left.fileno(), chunks)
        assert sent + len(rest or b"") == sum(map(len, chunks))
        drain(right)
        chunks.append(bytes(COPY_SIZE))
        assert send_list(left.fileno(), chunks) is None


@pytest.mark.parametrize("size", [MAX_OFFERED, MAX_OFFERED + 1])
def test_a_lone_chunk_is_offered_whole_up_to_a_limit(pair, size):
    answer = send_list(pair[0].fileno(), [bytes(size)])
    assert (answer is None) == (size > MAX_OFFERED)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b""],
        [bytearray(b"abc")],
        [b"abc", bytearray(b"def")],
        [b"abc", "text"],
        ["text"],
        [None],
    ],
)
def test_a_list_that_is_not_of_bytes_is_no_piece(pair, chunks):
    assert send_list(pair[0].fileno(), chunks) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("count", [1, 3])
def test_a_send_starts_inside_the_first_chunk(pair, kind, size, count):
    left, right = pair
    chunks = pieces(count, size)
    buffers = Buffers(map(kind, chunks))
    buffers.consume(size // 2 + 1)
    expected = b"".join(chunks)[size // 2 + 1 :]
    assert Gather(buffers).push(left.fileno()) == (len(expected), True)
    assert drain(right) == expected


@pytest.mark.parametrize("size", [10, LARGE])
def test_all_kinds_of_chunks_go_in_one_call(pair, size):
    left, right = pair
    numbers = array("I", range(size // 2))
    chunks = [bytes(size), bytearray(size), numbers, memoryview(numbers)[1:]]
    expected = b"".join(bytes(memoryview(chunk)) for chunk in chunks)
    assert Gather(Buffers(chunks)).push(left.fileno()) == (len(expected), True)
    assert drain(right) == expected


# Limits


@pytest.mark.parametrize("size", [COPY_SIZE - 1, COPY_SIZE, COPY_SIZE + 1])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_copy_is_never_larger_than_its_room(pair, size, kind):
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * COPY_SIZE)
    chunks = [kind(piece) for piece in pieces(size // 1000, 1000)]
    chunks.append(kind(b"x" * (size % 1000)))
    buffers = Buffers(chunks)
    gather = Gather(buffers)
    sent, whole = gather.push(left.fileno())
    assert sent <= COPY_SIZE
    # net.core.wmem_max may hold the socket's buffer below that.
    assert sent > COPY_SIZE - 1000 or not whole
    received = drain(right)
    while buffers:
        gather.push(left.fileno())
        received += drain(right)
    assert received == b"".join(chunks)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_large_chunk_among_many_small_ones_passes(pair, kind):
    # On average they are small, but this one exceeds the room for copies.
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    small = pieces(COPY_SIZE // COPY_BELOW, 5)
    chunks = [*small, kind(b"L" * (COPY_SIZE + 1)), *small]
    buffers = Buffers(chunks)
    gather = Gather(buffers)
    received = b""
    while buffers:
        sent, _ = gather.push(left.fileno())
        assert 0 < sent <= COPY_SIZE
        received += drain(right)
    assert received == b"".join(chunks)


@pytest.mark.parametrize(
    ("count", "offered"),
    [
        (IOV_MAX - 1, [IOV_MAX - 1]),
        (IOV_MAX, [IOV_MAX]),
        (IOV_MAX + 1, [IOV_MAX, 1]),
        (2 * IOV_MAX + 1, [IOV_MAX, IOV_MAX, 1]),
    ],
)
def test_no_call_points_at_more_than_iov_max(
    around, monkeypatch, count, offered
):
    counts = []

    def take_all(real, fd, chunks, offset):
        counts.append(len(chunks))
        return sum(map(len, chunks)) - offset, True

    around("send_pointed", take_all)
    monkeypatch.setattr("triobatch._streams.gather.MAX_OFFERED", 2**30)
    buffers = Buffers([bytes(COPY_WHOLE + 1)] * count)
    gather = Gather(buffers)
    while buffers:
        gather.push(-1)
    assert counts == offered


def test_the_kernel_takes_iov_max_chunks(pair):
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**23)
    chunks = pieces(IOV_MAX, COPY_BELOW)
    buffers = Buffers(chunks)
    sent, _ = Gather(buffers).push(left.fileno())
    assert sent > 0
    assert drain(right) + bytes(buffers) == b"".join(chunks)


# Short writes


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize(
    ("count", "size"), [(1, 100_000), (500, 100), (20, 5000), (3, 40_000)]
)
def test_a_short_write_resumes_inside_the_chunk(kind, count, size):
    # A TCP pair stops in the middle of a chunk; a Unix pair rarely does.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    with left, right:
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        left.setblocking(False)
        right.setblocking(False)
        chunks = pieces(count, size)
        buffers = Buffers(map(kind, chunks))
        gather = Gather(buffers)
        received = b""
        short = False
        while buffers:
            try:
                _, whole = gather.push(left.fileno())
            except BlockingIOError:
                pass
            else:
                short |= not whole
            received += drain(right)
        right.setblocking(True)
        while len(received) < count * size:
            received += right.recv(2**20)
        assert short
        assert received == b"".join(chunks)


def test_a_vector_is_built_once_and_advanced(pair, play, around):
    left, right = pair
    chunks = pieces(3, LARGE)
    script, _ = play(left, [1, LARGE, 1, "EAGAIN", LARGE - 3, LARGE + 1])
    vectors = []
    around("Vector", lambda real, *args: vectors.append(args) or real(*args))
    buffers = Buffers(chunks)
    gather = Gather(buffers)
    whole = [gather.push(left.fileno())[1] for _ in range(3)]
    with pytest.raises(BlockingIOError):
        gather.push(left.fileno())
    assert buffers.nbytes == 3 * LARGE - LARGE - 2
    whole += [gather.push(left.fileno())[1] for _ in range(2)]
    assert whole == [False, False, False, False, True]
    assert script.left == []
    assert len(vectors) == 1
    assert drain(right) == b"".join(chunks)
    assert not buffers


def test_what_is_added_meanwhile_goes_after_the_vector(pair, play):
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    size = COPY_WHOLE + 1
    script, _ = play(left, [1, 1, 2 * size - 2, size])
    first, second = pieces(2, size), [b"z" * size]
    buffers = Buffers(first)
    gather = Gather(buffers)
    gather.push(left.fileno())
    gather.push(left.fileno())
    buffers.extend(second)
    assert gather.push(left.fileno()) == (2 * size - 2, True)
    assert bytes(buffers) == b"z" * size
    assert gather.push(left.fileno()) == (size, True)
    assert script.left == []
    assert drain(right) == b"".join(first + second)


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize(
    "error",
    [BlockingIOError(errno.EAGAIN, ""), BrokenPipeError(errno.EPIPE, "")],
)
def test_a_failed_call_consumes_nothing(around, size, error):
    def fail(*args):
        raise error

    around("send_copied", fail)
    around("send_pointed", fail)
    buffers = Buffers([bytes(size)] * 3)
    buffers.consume(1)
    with pytest.raises(type(error)):
        Gather(buffers).push(-1)
    assert buffers.nbytes == 3 * size - 1


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("twin", [False, True])
def test_clear_lets_go_while_the_traceback_of_a_failure_lives(size, twin):
    sources = [bytearray(size) for _ in range(3)]
    buffers = Buffers(sources)
    if twin:
        original, buffers = buffers, buffers.copy()
        original.clear()
    with (
        socket.socket() as unconnected,
        pytest.raises(BrokenPipeError) as caught,
    ):
        Gather(buffers).push(unconnected.fileno())
    buffers.clear()
    assert caught.value.__traceback__ is not None
    for source in sources:
        source.append(0)


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_closed_descriptor_is_an_error_that_consumes_nothing(size):
    buffers = Buffers([bytes(size)] * 3)
    # Nothing else is opened meanwhile that could be given the number.
    closed = socket.socket()
    number = closed.fileno()
    closed.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        Gather(buffers).push(number)
    assert caught.value.errno == errno.EBADF
    assert buffers.nbytes == 3 * size


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_full_socket_consumes_nothing(pair, size):
    left, _ = pair
    with suppress(BlockingIOError):
        while True:
            left.send(bytes(1000))
    buffers = Buffers([bytes(size)] * 3)
    with pytest.raises(BlockingIOError):
        Gather(buffers).push(left.fileno())
    assert buffers.nbytes == 3 * size


def test_a_gather_leaves_nothing_exported_behind(pair):
    left, _ = pair
    for size in (10, LARGE):
        chunks = [bytearray(size) for _ in range(3)]
        Gather(Buffers(chunks)).push(left.fileno())
        assert not any(map(is_exported, chunks))


@exports_lock
def test_chunks_are_let_go_of_between_two_short_writes():
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        chunks = [bytearray(2**16) for _ in range(30)]
        buffers = Buffers(chunks)
        gather = Gather(buffers)
        while buffers:
            try:
                gather.push(left.fileno())
            except BlockingIOError:
                right.recv(2**16)
            left_over = len(buffers)
            for chunk in chunks[: 30 - left_over]:
                chunk.append(0)
                del chunk[-1]
            if left_over:
                with pytest.raises(BufferError):
                    chunks[30 - left_over].append(0)


# In flight


def test_buffers_are_in_flight_once_at_a_time():
    buffers = Buffers([b"abc"])
    with Claim(buffers):
        for _ in range(2):
            with (
                pytest.raises(
                    trio.BusyResourceError, match="sending these buffers"
                ),
                Claim(buffers),
            ):
                pytest.fail("it was let in")
        with Claim(buffers.copy()):
            pass
    with Claim(buffers):
        pass


def test_buffers_come_down_when_sending_fails():
    buffers = Buffers([b"abc"])
    with pytest.raises(ZeroDivisionError), Claim(buffers):
        raise ZeroDivisionError
    buffers.clear()
