"""The calls on stream sockets: each core, and the two side by side."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import socket
import subprocess
import sys
from array import array
from itertools import accumulate

import extensions
import pytest
from helpers import drain, is_exported
from hypothesis import given, settings
from hypothesis import strategies as st

from triobatch._core import calls as _syscalls
from triobatch._core import streams_python as _core_python
from triobatch._core.choice import CORE
from triobatch._core.chunks import COPY_SIZE, IOV_MAX
from triobatch._wire.error_queue import IP_RECVERR

# Both are tested in one run wherever both can be had.
CORES = {"python": _core_python}
_core_c = extensions.find("triobatch._core.streams_c", extensions.C_CORE)
if _core_c is not None:
    CORES["c"] = _core_c


@pytest.fixture(params=CORES)
def core(request):
    return CORES[request.param]


@pytest.fixture
def list_core(core):
    """A core that sends lists: that in C needs the list extension for it."""
    if (
        core is _core_c
        and extensions.find(extensions.CHUNKS, extensions.CHUNKS) is None
    ):
        pytest.skip("needs the list extension")
    return core


def make_pair(send_size=None):
    left, right = socket.socketpair()
    for sock in left, right:
        sock.setblocking(False)
        if send_size is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_size)
    return left, right


@pytest.fixture
def pair():
    """Two connected Unix sockets, neither of which blocks."""
    left, right = make_pair()
    with left, right:
        yield left, right


@pytest.fixture
def small_pair():
    """Two connected Unix sockets that hold a few KiB."""
    left, right = make_pair(send_size=1)
    with left, right:
        yield left, right


def send_whole(vector, left, right):
    """Send a vector to its end; return what arrives and what calls took."""
    received, calls = b"", []
    whole = False
    while not whole:
        sent, whole = vector.send(left.fileno())
        calls.append(sent)
        received += drain(right)
    return received, calls


def test_the_chosen_core_serves():
    chosen = CORES[CORE]
    for name in _syscalls.__all__:
        function = getattr(_syscalls, name)
        if hasattr(chosen, name):
            assert function is getattr(chosen, name), name


def test_send_sends_bytes_and_views(core, pair):
    left, right = pair
    assert core.send(left.fileno(), b"ab") == 2
    assert core.send(left.fileno(), memoryview(b"abcde")[2:4]) == 2
    assert core.send(left.fileno(), memoryview(bytearray(b"e"))) == 1
    assert drain(right) == b"abcde"


def test_send_lets_go_of_a_mutable_chunk(core, pair):
    left, _ = pair
    chunk = bytearray(b"data")
    with memoryview(chunk) as view:
        core.send(left.fileno(), view)
    assert not is_exported(chunk)


def test_send_lets_go_of_a_mutable_chunk_when_it_fails(core, pair):
    left, right = pair
    right.close()
    chunk = bytearray(b"data")
    with memoryview(chunk) as view, pytest.raises(BrokenPipeError) as caught:
        core.send(left.fileno(), view)
    # Although the traceback keeps all that the frames knew.
    assert caught.tb is not None
    chunk += b"grows"


def test_send_takes_what_fits_and_then_would_block(core, small_pair):
    left, right = small_pair
    data = bytes(range(256)) * 100
    sent = core.send(left.fileno(), data)
    assert 0 < sent < len(data)
    with pytest.raises(BlockingIOError) as caught:
        core.send(left.fileno(), data)
    assert caught.value.errno == errno.EAGAIN
    assert drain(right) == data[:sent]


CHUNKS = [
    b"abc",
    memoryview(b"-de-")[1:3],
    memoryview(bytearray(b"fgh")),
    b"i",
]

# Each offers chunks from the second byte on.
SENDERS = {
    "send": lambda core, fd: core.send(fd, b"bcdefghi"),
    "send_copied": lambda core, fd: core.send_copied(fd, CHUNKS, 0, 1)[0],
    "send_pointed": lambda core, fd: core.send_pointed(fd, CHUNKS, 1)[0],
    "Vector": lambda core, fd: core.Vector(CHUNKS, 1).send(fd)[0],
    "bytes copied": lambda core, fd: core.send_copied(
        fd, [b"abcde", b"fghi"], 0, 1
    )[0],
    "bytes pointed": lambda core, fd: core.send_pointed(
        fd, [b"abcde", b"fghi"], 1
    )[0],
}


@pytest.fixture(params=SENDERS)
def sender(request):
    return SENDERS[request.param]


def test_chunks_are_sent_in_order_from_the_offset(core, sender, pair):
    left, right = pair
    assert sender(core, left.fileno()) == 8
    assert drain(right) == b"bcdefghi"


def test_a_full_socket_would_block(core, sender, small_pair):
    left, right = small_pair
    filling = left.send(bytes(100_000))
    with pytest.raises(BlockingIOError) as caught:
        sender(core, left.fileno())
    assert caught.value.errno == errno.EAGAIN
    assert len(drain(right)) == filling


def test_a_closed_peer_is_epipe(core, sender, pair):
    left, right = pair
    right.close()
    with pytest.raises(BrokenPipeError) as caught:
        sender(core, left.fileno())
    assert caught.value.errno == errno.EPIPE
    assert caught.value.strerror == os.strerror(errno.EPIPE)


def test_a_closed_descriptor_is_ebadf(core, sender, pair):
    left, _ = pair
    fd = left.fileno()
    left.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        sender(core, fd)
    assert caught.value.errno == errno.EBADF


def test_a_descriptor_of_no_socket_is_enotsock(core, sender, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        with pytest.raises(OSError, match="non-socket") as caught:
            sender(core, file.fileno())
        assert caught.value.errno == errno.ENOTSOCK
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.skipif(
    sys.platform != "linux", reason="there is no such flag elsewhere"
)
@pytest.mark.parametrize("name", CORES)
def test_a_closed_peer_does_not_kill_a_process_with_default_sigpipe(name):
    # Not even when nothing but the flag of the call prevents it.
    script = f"""
import signal, socket
from triobatch._core import streams_{name} as core
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
left, right = socket.socketpair()
right.close()
for send in (
    lambda fd: core.send(fd, b"x"),
    lambda fd: core.send_copied(fd, [b"x", b"y"], 0, 0),
    lambda fd: core.send_pointed(fd, [b"x", b"y"], 0),
    lambda fd: core.Vector([b"x", b"y"], 0).send(fd),
):
    try:
        send(left.fileno())
    except BrokenPipeError:
        print("lives")
"""
    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode != -signal.SIGPIPE
    assert process.stdout == "lives\n" * 4, process.stderr


def test_send_copied_starts_at_an_index(core, pair):
    left, right = pair
    chunks = [None, None, b"abc", b"def"]
    assert core.send_copied(left.fileno(), chunks, 2, 1) == (5, True)
    assert drain(right) == b"bcdef"


@pytest.mark.parametrize("kind", [bytes, memoryview])
@pytest.mark.parametrize("size", [9_999, 10_000, 10_001])
def test_send_copied_offers_little_at_a_time(
    core, pair, size, kind, monkeypatch
):
    left, right = pair
    for module in CORES.values():
        monkeypatch.setattr(module, "COPY_SIZE", 10_000)
    content = os.urandom(size)
    chunks = [kind(content[i : i + 100]) for i in range(0, size, 100)]
    sent, whole = core.send_copied(left.fileno(), chunks, 0, 0)
    assert sent == min(size, 10_000)
    # It says whether what was offered was taken.
    assert whole
    assert drain(right) == content[:sent]


def test_send_copied_says_when_not_all_was_taken(core, small_pair):
    left, right = small_pair
    chunks = [b"%04d" % i for i in range(5000)]
    sent, whole = core.send_copied(left.fileno(), chunks, 0, 0)
    assert 0 < sent < 20_000
    assert not whole
    assert drain(right) == b"".join(chunks)[:sent]


def test_send_copied_with_one_large_chunk_offers_some_of_it(core, small_pair):
    left, right = small_pair
    chunk = bytes(range(256)) * (COPY_SIZE // 128)
    sent, whole = core.send_copied(left.fileno(), [chunk, b"tail"], 0, 3)
    assert 0 < sent < len(chunk)
    assert not whole
    assert drain(right) == chunk[3 : 3 + sent]


@pytest.mark.parametrize("count", [1, 2, IOV_MAX - 1, IOV_MAX])
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_as_many_chunks_as_the_kernel_takes_are_pointed_to(
    core, pair, count, kind
):
    left, right = pair
    chunks = [kind(b"%04d" % i) for i in range(count)]
    expected = (4 * count - 1, True)
    assert core.send_pointed(left.fileno(), chunks, 1) == expected
    assert core.Vector(chunks, 1).send(left.fileno()) == expected
    assert drain(right) == b"".join(chunks)[1:] * 2


def test_send_pointed_says_when_not_all_was_taken(core, small_pair):
    left, right = small_pair
    chunks = [b"a" * 5000, memoryview(b"b" * 5000), b"c" * 5000]
    sent, whole = core.send_pointed(left.fileno(), chunks, 0)
    assert 0 < sent < 15_000
    assert not whole
    assert drain(right) == b"".join(chunks)[:sent]


@pytest.fixture(scope="module")
def first_cut():
    """How much of a long piece a small pair takes at once."""
    left, right = make_pair(send_size=1)
    with left, right:
        return left.send(bytes(100_000))


@pytest.mark.parametrize("kind", [bytes, memoryview])
@pytest.mark.parametrize("before", range(-4, 5))
def test_a_vector_goes_on_from_wherever_it_was_cut(
    core, small_pair, first_cut, before, kind
):
    left, right = small_pair
    # The first call ends around chunks of 1, 2 and 1 bytes.
    half = first_cut // 2
    sizes = [7 + half, first_cut - half + before, 1, 2, 1, 700, 9000, 1, 4000]
    content = os.urandom(sum(sizes))
    ends = list(accumulate(sizes))
    chunks = [
        kind(content[end - size : end])
        for size, end in zip(sizes, ends, strict=True)
    ]
    received, calls = send_whole(core.Vector(chunks, 7), left, right)
    assert calls[0] == first_cut
    assert len(calls) > 2
    assert received == content[7:]


def test_a_vector_keeps_its_place_over_a_call_that_would_block(
    core, small_pair
):
    left, right = small_pair
    content = bytes(range(256)) * 100
    chunks = [content[:10_000], content[10_000:]]
    vector = core.Vector(chunks, 0)
    sent, _ = vector.send(left.fileno())
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            vector.send(left.fileno())
    received = drain(right)
    assert received == content[:sent]
    received += send_whole(vector, left, right)[0]
    assert received == content


def test_receive_into_fills_buffers_in_order(core, pair):
    left, right = pair
    left.send(b"abcdefg")
    buffers = [bytearray(2), bytearray(1), array("H", [0]), bytearray(9)]
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    assert core.receive_into(right.fileno(), views) == 7
    assert b"".join(views) == b"abcdefg".ljust(14, b"\0")


@pytest.mark.parametrize("count", [1, IOV_MAX - 1, IOV_MAX])
def test_receive_into_fills_as_many_as_the_kernel_does(core, pair, count):
    left, right = pair
    content = os.urandom(3 * count)
    left.send(content)
    room = bytearray(3 * count)
    with memoryview(room) as view:
        views = [view[3 * i : 3 * i + 3] for i in range(count)]
        assert core.receive_into(right.fileno(), views) == 3 * count
    assert room == content


def test_receive_into_at_the_end_is_0(core, pair):
    left, right = pair
    left.close()
    assert core.receive_into(right.fileno(), [memoryview(bytearray(1))]) == 0


def test_receive_into_of_nothing_would_block(core, pair):
    _, right = pair
    for count in 1, 2:
        rooms = [memoryview(bytearray(1)) for _ in range(count)]
        assert core.receive_into(right.fileno(), rooms) is None


def test_receive_into_lets_go_of_the_buffers(core, pair):
    left, right = pair
    left.send(b"x")
    room = bytearray(1)
    with memoryview(room) as view:
        core.receive_into(right.fileno(), [view])
    assert not is_exported(room)


def test_receive_into_from_a_closed_descriptor_is_ebadf(core, pair):
    left, _ = pair
    fd = left.fileno()
    left.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        core.receive_into(fd, [memoryview(bytearray(1))])
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("large", [False, True])
def test_receive_takes_what_is_there(core, pair, large):
    left, right = pair
    fd = right.fileno()
    assert core.receive(fd, 10, large) is None
    left.send(b"abcd")
    assert core.receive(fd, 3, large) == b"abc"
    assert core.receive(fd, 3, large) == b"d"
    left.close()
    assert core.receive(fd, 3, large) == b""
    assert core.receive(fd, COPY_SIZE + 1, large) == b""
    right.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        core.receive(fd, 3, large)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"abc"],
        [b"abc", b"defg"] * 100,
        [b"little", b"large" * 9000],
        [b"x" * 1024] * (COPY_SIZE // 1024),
        [b"x" * COPY_SIZE],
    ],
)
def test_a_list_of_bytes_is_sent_whole(list_core, pair, chunks):
    left, right = pair
    expected = b"".join(chunks)
    sent, rest = list_core.send_list(left.fileno(), chunks, COPY_SIZE)
    # Less where the system's socket buffers are small.
    assert sent > min(len(expected) - 1, 100_000)
    assert (rest is None) == (sent == len(expected))
    assert drain(right) + bytes(rest or b"") == expected


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b""],
        [b"", b""],
        [bytearray(b"abc")],
        [b"abc", bytearray(b"def")],
        [b"abc", "text"],
        ["text"],
        [None],
        [b"x" * 1024] * (COPY_SIZE // 1024 + 1),
        [b"x", b"y" * COPY_SIZE],
        [b"y" * (COPY_SIZE + 1)],
    ],
)
def test_any_other_list_is_left_to_others(core, pair, chunks):
    left, right = pair
    assert core.send_list(left.fileno(), chunks, COPY_SIZE) is None
    assert drain(right) == b""


@pytest.mark.parametrize("room", [9, 10, 11])
@pytest.mark.parametrize("chunks", [[b"01234", b"56789"], [b"0123456789"]])
def test_a_list_is_sent_whole_if_it_fits_into_the_room(
    list_core, pair, chunks, room
):
    answer = list_core.send_list(pair[0].fileno(), chunks, room)
    assert answer == (None if room < 10 else (10, None))


@pytest.mark.parametrize(
    "chunks",
    [[b"%04d" % i for i in range(4000)], [b"x" * 4096] * 10, [b"y" * 99999]],
)
def test_of_a_list_that_does_not_fit_the_rest_is_returned(list_core, chunks):
    left, right = make_pair(send_size=1)
    fd = left.fileno()
    with left, right:
        sent, rest = list_core.send_list(fd, chunks, COPY_SIZE)
        assert sent > 0
        assert list_core.send_list(fd, chunks, COPY_SIZE)[0] == 0
        whole = b"".join(chunks)
        assert drain(right) == whole[:sent]
        assert bytes(rest) == whole[sent:]
        right.close()
        with pytest.raises(BrokenPipeError):
            list_core.send_list(fd, chunks, COPY_SIZE)


def outcomes(module, sizes, views, offset, reads):
    """Send chunks through one core; return every result, and what arrived."""
    content = bytes(i % 251 for i in range(sum(sizes)))
    chunks, start = [], 0
    for index, size in enumerate(sizes):
        chunk = content[start : start + size]
        chunks.append(memoryview(chunk) if index in views else chunk)
        start += size
    left, right = make_pair(send_size=1)
    results, received = [], b""
    vector = module.Vector(chunks, offset)
    calls = [
        lambda fd: module.send_pointed(fd, chunks, offset),
        lambda fd: module.send_copied(fd, chunks, 0, offset),
    ] + [vector.send] * len(reads)
    with left, right:
        for call, size in zip(calls, [2**20, 2**20, *reads], strict=True):
            try:
                results.append(call(left.fileno()))
            except BlockingIOError as error:
                results.append(error.errno)
            try:
                received += right.recv(size)
            except BlockingIOError as error:
                results.append(error.errno)
            if results[-1] == (0, True):
                break
    return results, received


@pytest.mark.skipif(len(CORES) == 1, reason="the C core was not built")
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_cores_agree(data):
    sizes = data.draw(st.lists(st.integers(1, 4000), min_size=1, max_size=12))
    arguments = (
        sizes,
        data.draw(st.sets(st.integers(0, len(sizes) - 1))),
        data.draw(st.integers(0, sizes[0] - 1)),
        data.draw(st.lists(st.integers(1, 20_000), max_size=8)),
    )
    assert outcomes(_core_c, *arguments) == outcomes(_core_python, *arguments)


def test_a_broadcast_answers_for_each_descriptor(core):
    full, full_peer = make_pair(send_size=1)
    with pytest.raises(BlockingIOError):
        while True:
            full.send(b"x" * 4096)
    gone, gone_peer = make_pair()
    gone_peer.close()
    left, right = make_pair()
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    with full, full_peer, gone, left, right:
        fds = [full.fileno(), closed, gone.fileno(), left.fileno()]
        assert core.broadcast(fds, b"message") == [
            -errno.EAGAIN,
            -errno.EBADF,
            -errno.EPIPE,
            7,
        ]
        assert core.broadcast([], b"message") == []
        assert right.recv(100) == b"message"


@pytest.mark.parametrize("position", [(0, 0), (0, 5)])
def test_a_first_chunk_larger_than_a_copy_is_offered_in_part(core, position):
    left, right = make_pair(send_size=2**21)
    with left, right:
        chunks = [bytes(COPY_SIZE + 9), b"next"]
        sent, whole = core.send_copied(left.fileno(), chunks, *position)
        assert 0 < sent <= COPY_SIZE
        assert whole == (sent == COPY_SIZE)
        assert len(drain(right)) == sent


def shared_by_the_cores():
    if _core_c is None:
        return []
    return [
        name
        for name, value in vars(_core_python).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == _core_python.__name__
        and hasattr(_core_c, name)
    ]


@pytest.mark.parametrize("name", shared_by_the_cores())
def test_twins_are_called_alike(name):
    ours, theirs = (
        list(inspect.signature(getattr(core, name)).parameters)
        for core in (_core_c, _core_python)
    )
    # The Python core's may take what it is to send with.
    assert theirs[: len(ours)] == ours


@pytest.mark.skipif(_core_c is None, reason="needs the C core")
def test_the_twins_are_all_the_calls_on_streams():
    assert set(shared_by_the_cores()) == {
        "Vector",
        "broadcast",
        "receive",
        "receive_into",
        "send",
        "send_copied",
        "send_list",
        "send_pointed",
    }


@pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone has an error queue"
)
def test_a_report_is_taken_off_the_error_queue():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setblocking(False)
        assert _syscalls.receive_error(sock.fileno(), 99) is None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            closed = gone.getsockname()
        sock.sendto(b"abc", closed)
        payload, control, address = _syscalls.receive_error(sock.fileno(), 2)
    assert (payload, address) == (b"ab", closed)
    assert [(level, kind) for level, kind, _ in control] == [
        (socket.IPPROTO_IP, IP_RECVERR)
    ]


def test_accepting_does_not_block_where_there_is_nobody():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(BlockingIOError):
            _syscalls.accept(listener.fileno())
        with (
            socket.create_connection(listener.getsockname()),
            _syscalls.accept(listener.fileno()) as accepted,
        ):
            assert accepted.getsockname() == listener.getsockname()
