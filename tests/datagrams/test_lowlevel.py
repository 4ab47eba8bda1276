"""The system calls themselves."""

import errno
import mmap
import socket
import sys

import pytest
from needs import TELLS_SIZE, needs_unix_sockets

from triobatch._core import calls as syscalls
from triobatch._core.arena import MSG_TRUNC, Arena
from triobatch._core.choice import CHUNK_EXTENSION, CORE
from triobatch._datagrams.lowlevel import recvmmsg, sendmmsg
from triobatch._wire.addresses import encode_address
from triobatch._wire.metadata import Metadata


@pytest.fixture
def sockets():
    datagram_pair = [
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab"
    ]
    with datagram_pair[0], datagram_pair[1]:
        for sock in datagram_pair:
            sock.bind(("127.0.0.1", 0))
            if not hasattr(socket, "MSG_DONTWAIT"):
                sock.setblocking(False)
        yield datagram_pair


def test_datagrams_go_and_come_with_their_sizes_and_senders(sockets):
    left, right = sockets
    target = right.getsockname()
    pairs = [(payload, target) for payload in (b"one", b"", b"three")]
    assert sendmmsg(left.fileno(), pairs) == 3
    buffer = bytearray(40)
    name = left.getsockname()
    assert recvmmsg(right.fileno(), buffer, 10) == [
        (3, name, 0),
        (0, name, 0),
        (5, name, 0),
    ]
    assert buffer == b"one".ljust(20, b"\0") + b"three".ljust(20, b"\0")
    buffer.append(0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize(
    "payloads",
    [
        [b""],
        [b"one"],
        [b"one", b"two", b"six"],
        [b"one", b"two", b"th"],
        [b"one", b"three"],
        [b"one", b"", b"two"],
    ],
)
def test_alike_or_not_each_is_a_datagram_of_its_own(sockets, payloads, kind):
    left, right = sockets
    target = right.getsockname()
    pairs = iter([(kind(payload), target) for payload in payloads])
    assert sendmmsg(left.fileno(), pairs) == len(payloads)
    assert [right.recv(100) for _ in payloads] == payloads


def test_pairs_of_one_size_go_to_their_own_addresses(sockets):
    left, right = sockets
    pairs = [(b"r", right.getsockname()), (b"l", left.getsockname())]
    assert sendmmsg(left.fileno(), pairs) == 2
    assert (left.recv(9), right.recv(9)) == (b"l", b"r")


def test_what_one_size_is_packed_into_is_given_back(sockets):
    if CORE != "c" or not CHUNK_EXTENSION:
        pytest.skip("about the memory of the C core")
    from triobatch._core import datagram_batches_c  # noqa: PLC0415 (not here)

    refused = [(b"x", ("127.0.0.1", 0))] * 2
    with pytest.raises(OSError):  # noqa: PT011 (any)
        sendmmsg(sockets[0].fileno(), refused)
    kept = len(datagram_batches_c._pool)
    assert kept
    with pytest.raises(OSError):  # noqa: PT011 (any)
        sendmmsg(sockets[0].fileno(), refused)
    assert len(datagram_batches_c._pool) == kept


def test_nothing_is_sent_of_nothing(sockets):
    assert sendmmsg(sockets[0].fileno(), []) == 0


def test_64_are_offered(sockets):
    left, right = sockets
    pairs = [(b"x", right.getsockname())] * 100
    assert sendmmsg(left.fileno(), pairs) == 64
    assert len(recvmmsg(right.fileno(), bytearray(100), 1)) == 64


@pytest.mark.skipif(
    not hasattr(socket, "MSG_DONTWAIT"), reason="there is no MSG_DONTWAIT"
)
@needs_unix_sockets
def test_a_blocking_socket_does_not_block(sockets):
    with pytest.raises(BlockingIOError):
        recvmmsg(sockets[0].fileno(), bytearray(10), 10)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right, pytest.raises(BlockingIOError):
        while True:
            sendmmsg(left.fileno(), [(bytes(1000), None)] * 64)


def test_the_core_takes_no_more_than_it_has_room_for(sockets):
    left, right = sockets
    peer = encode_address(right.getsockname())
    count = syscalls.MAX_MESSAGES + 1
    for peers in ([peer], [peer] * count):
        sent = syscalls.send_datagrams(
            left.fileno(), bytes(count), [1] * count, [0] * count, peers
        )
        assert sent == syscalls.MAX_MESSAGES
    sent = syscalls.send_segments(left.fileno(), bytes(count), 1, 1, peer)
    assert sent == syscalls.MAX_MESSAGES
    arena = Arena(count, socket.AF_INET, 10)
    received = syscalls.receive_datagrams(right.fileno(), arena, count)
    # One by one, the other core fills all that there are.
    assert received == (count if CORE == "python" else syscalls.MAX_MESSAGES)


@pytest.mark.skipif(CORE != "c", reason="about what the C core refuses")
def test_the_core_refuses_what_it_has_no_room_for(sockets):
    fd, peer = sockets[0].fileno(), encode_address(sockets[1].getsockname())
    # Of a level that the kernel passes over.
    control = ((999, 0, bytes(200)),)
    for segment_size in (0, 1):
        with pytest.raises(OSError, match="Invalid argument"):
            syscalls.send_datagrams(
                fd, b"xy", [2], [segment_size], [peer], control
            )
    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.send_segments(fd, b"x", 1, 1, peer, control)
    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.receive_datagrams(fd, Arena(1, socket.AF_INET), 0)


def test_a_datagram_that_was_cut_is_marked(sockets):
    left, right = sockets
    sendmmsg(left.fileno(), [(bytes(20), right.getsockname())])
    ((size, _, flags),) = recvmmsg(right.fileno(), bytearray(10), 10)
    assert (size, flags) == (20 if TELLS_SIZE else 11, MSG_TRUNC)


def test_an_error_is_that_of_the_first_datagram(sockets):
    left, right = sockets
    pairs = [(b"x", right.getsockname()), (b"x", ("127.0.0.1", 0))]
    assert sendmmsg(left.fileno(), pairs) == 1
    with pytest.raises(OSError, match="Invalid") as info:
        sendmmsg(left.fileno(), pairs[1:])
    assert info.value.errno == errno.EINVAL


def test_a_buffer_is_free_again_after_an_error(sockets):
    buffer = bytearray(10)
    # Nothing has that number: Linux gives out the lowest.
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is asked)
        recvmmsg(2**20 - 1, buffer, 10)
    assert caught.value.errno == errno.EBADF
    buffer.append(0)
    with pytest.raises(BlockingIOError):
        recvmmsg(sockets[0].fileno(), buffer, 10)
    buffer.append(0)


def test_each_call_has_its_own_buffer_and_slots_and_each_its_sender(sockets):
    left, right = sockets
    for slot_size in (1, 5, 2):
        for sender in (left, right, left):
            sender.sendto(b"abc", right.getsockname())
        buffer = bytearray(15)
        cut = 0 if slot_size == 5 else MSG_TRUNC
        size = slot_size + 1 if cut and not TELLS_SIZE else 3
        # WSAEMSGSIZE of Windows has no address with it.
        nobody = cut and not hasattr(right, "recvmsg_into")
        assert recvmmsg(right.fileno(), buffer, slot_size) == [
            (size, None if nobody else sender.getsockname(), cut)
            for sender in (left, right, left)
        ]
        assert buffer.startswith(b"abc"[:slot_size])
        assert buffer[slot_size : slot_size + 1] == b"a"


@needs_unix_sockets
def test_senders_without_a_name_and_with_one_come_together(tmp_path):
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as right,
    ):
        here, there = str(tmp_path / "named"), str(tmp_path / "right")
        named.bind(here)
        right.bind(there)
        for sender in (unnamed, named, unnamed):
            sender.sendto(b"x", there)
        addresses = [
            address
            for _, address, _ in recvmmsg(right.fileno(), bytearray(3), 1)
        ]
        assert addresses[1] == here
        assert not addresses[0]
        assert not addresses[2]


@pytest.mark.parametrize("slot_size", [0, -1, 11])
def test_a_slot_must_fit_the_buffer(sockets, slot_size):
    with pytest.raises(ValueError, match="slot_size"):
        recvmmsg(sockets[0].fileno(), bytearray(10), slot_size)


def test_receiving_into_a_buffer_maps_no_memory(sockets, monkeypatch):
    left, right = sockets
    sendmmsg(left.fileno(), [(b"x", right.getsockname())])
    monkeypatch.delattr(mmap, "mmap")
    assert recvmmsg(right.fileno(), bytearray(10), 10)[0][0] == 1


@pytest.mark.parametrize("slot_size", [1.5, "1", None, 0, 11])
def test_a_wrong_slot_size_leaves_the_buffer_alone(sockets, slot_size):
    buffer = bytearray(10)
    with pytest.raises((TypeError, ValueError), match="slot_size") as caught:
        recvmmsg(sockets[0].fileno(), buffer, slot_size)
    # The error, and with it its frames, are still there.
    buffer.append(0)
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize(
    "buffer",
    [
        memoryview(bytearray(12)).cast("B", (3, 4)),
        memoryview(bytearray(12)).cast("I"),
        memoryview(bytearray(14))[1:13],
    ],
)
def test_a_slot_is_so_many_bytes_of_any_buffer(sockets, buffer):
    if (
        sys.implementation.name == "pypy"
        and CORE == "python"
        and (buffer.ndim, buffer.format) != (1, "B")
    ):
        pytest.skip("PyPy's recvmsg_into fills no part of what was cast")
    left, right = sockets
    for payload in (b"abcd", b"efgh", b"ijkl", b"mnop"):
        left.sendto(payload, right.getsockname())
    assert len(recvmmsg(right.fileno(), buffer, 4)) == 3
    assert buffer.tobytes() == b"abcdefghijkl"


@pytest.mark.parametrize(
    "buffer", [b"abc", memoryview(bytearray(9))[::2], None, "abc", 3]
)
def test_what_cannot_be_received_into_is_refused(sockets, buffer):
    left, right = sockets
    left.sendto(b"x", right.getsockname())
    with pytest.raises(TypeError):
        recvmmsg(right.fileno(), buffer, 1)
    assert right.recv(9) == b"x"


def released():
    view = memoryview(bytearray(9))
    view.release()
    return view


def closed():
    mapping = mmap.mmap(-1, 9)
    mapping.close()
    return mapping


@pytest.mark.parametrize("make", [released, closed])
def test_a_buffer_that_is_gone_is_refused_as_everywhere(sockets, make):
    left, right = sockets
    left.sendto(b"x", right.getsockname())
    with pytest.raises(BufferError, match="buffer has no bytes to give"):
        recvmmsg(right.fileno(), make(), 1)
    assert right.recv(9) == b"x"


@pytest.mark.parametrize(
    "wrong",
    [
        [(5, None)],
        [(b"x", ("localhost", 9))],
        [(b"x", None, 5)],
    ],
)
def test_an_error_that_is_kept_keeps_no_payload(sockets, wrong):
    near, _ = sockets
    payload = bytearray(b"x")
    with pytest.raises((TypeError, ValueError)) as kept:
        sendmmsg(near.fileno(), [(payload, None), *wrong])
    payload.append(0)
    assert kept.value.__traceback__


def test_a_descriptor_is_not_taken_modulo_2_32(sockets):
    near, far = sockets
    address = far.getsockname()
    with pytest.raises(OverflowError):
        sendmmsg(2**32 + near.fileno(), [(b"x", address)])
    with pytest.raises(OverflowError):
        recvmmsg(2**32 + near.fileno(), bytearray(8), 8)


def test_a_list_is_no_address(sockets):
    left, right = sockets
    wrong = list(right.getsockname())
    with pytest.raises(TypeError, match="not list"):
        sendmmsg(left.fileno(), [(b"x", wrong)])


@pytest.mark.parametrize("fd", [-1, -2, -(2**31)])
@pytest.mark.parametrize("way", ["one", "mixed", "metadata", "receive"])
def test_the_number_of_a_closed_socket_is_a_bad_descriptor(way, fd):
    target = ("127.0.0.1", 9)
    datagrams = {
        "one": [(b"a", target)],
        "mixed": [(b"a", target), (b"bc", target)],
        "metadata": [(b"a", target, Metadata())],
    }
    with pytest.raises(OSError, match="escriptor") as caught:
        if way == "receive":
            recvmmsg(fd, bytearray(10), 10)
        else:
            sendmmsg(fd, datagrams[way])
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("wrong", [None, "text", 5, b"read-only", [1]])
def test_what_is_no_buffer_is_called_by_its_name(sockets, wrong):
    with pytest.raises(TypeError, match=r"^buffer: "):
        recvmmsg(sockets[0].fileno(), wrong, 1)
