"""A turn ends: others run, deadlines are met, and what does not move pauses.

A loop that goes on while it can is one that never ends where the other side
keeps up; and one that asks again at once takes a whole CPU where nothing
moves, however ready it is called.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading

import pytest
import trio
from faults import build, needs_preload, run
from helpers import writes_descriptors
from needs import needs_unix_sockets
from trio import socket as tsocket

import triobatch
from triobatch import (
    BatchSocketStream,
    Buffers,
    Datagrams,
    DatagramSocket,
    _write_to,
)
from triobatch._core import calls
from triobatch._core.choice import CORE
from triobatch._datagrams import driving as _datagram_driving
from triobatch._resource import pause_after
from triobatch._streams import gather, sending

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX's")


class Turns:
    """How often another task has run."""

    def __init__(self):
        self.count = 0

    async def take(self):
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


@pytest.fixture
async def turns():
    async with trio.open_nursery() as nursery:
        taken = Turns()
        nursery.start_soon(taken.take)
        await trio.lowlevel.checkpoint()
        yield taken
        nursery.cancel_scope.cancel()


# A peer that keeps up


@pytest.fixture
def swallowed(monkeypatch):
    """A kernel that takes all that a stream or a pipe sends; it says how."""
    sizes = []

    def take_pointed(fd, chunks, offset):
        sizes.append(sum(map(len, chunks)) - offset)
        return sizes[-1], True

    def take_copied(fd, chunks, index, offset):
        size = sum(map(len, chunks[index : index + 1000])) - offset
        sizes.append(size)
        return size, True

    def writev(fd, chunks):
        # What a pipe holds (pipe(7)).
        sizes.append(min(65536, sum(map(len, chunks))))
        return sizes[-1]

    monkeypatch.setattr(calls, "send_list", lambda *_: None)
    monkeypatch.setattr(calls, "send_pointed", take_pointed)
    monkeypatch.setattr(calls, "send_copied", take_copied)
    monkeypatch.setattr(_write_to, "writev", writev)
    return sizes


@posix
@pytest.mark.parametrize(
    ("chunk", "count", "least"),
    [(bytes(100_000), 200, 19), (b"x", 100_000, 6)],
)
async def test_a_pipe_whose_reader_keeps_up_lets_others_run(
    swallowed, turns, chunk, count, least
):
    reader, writer = os.pipe()
    async with trio.lowlevel.FdStream(writer) as pipe:
        buffers = Buffers([chunk] * count)
        assert await buffers.write_to(pipe) == len(chunk) * count
    assert least <= turns.count
    os.close(reader)


@posix
async def test_a_pipe_whose_reader_keeps_up_is_written_until_the_deadline(
    swallowed, monkeypatch
):
    reader, writer = os.pipe()
    whole = [bytes(100_000)] * 1000
    buffers = Buffers(whole)
    take = _write_to.writev

    def writev(fd, chunks):
        if len(swallowed) == 3:
            scope.cancel()
        return take(fd, chunks[:1])

    monkeypatch.setattr(_write_to, "writev", writev)
    async with trio.lowlevel.FdStream(writer) as pipe:
        with trio.CancelScope() as scope:
            await buffers.write_to(pipe)
    assert scope.cancelled_caught
    # Within a megabyte after that.
    assert len(swallowed) < 20
    assert buffers.nbytes == 100_000_000 - sum(swallowed)
    os.close(reader)


@posix
async def test_a_pipe_that_is_written_is_busy_at_each_turn(swallowed):
    reader, writer = os.pipe()
    busy = []

    async def intrude():
        for _ in range(10):
            try:
                await pipe.send_all(b"in between")
            except trio.BusyResourceError:
                busy.append(True)
            await trio.lowlevel.checkpoint()

    async with (
        trio.lowlevel.FdStream(writer) as pipe,
        trio.open_nursery() as nursery,
    ):
        buffers = Buffers([bytes(100_000)] * 1000)
        nursery.start_soon(buffers.write_to, pipe)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(intrude)
    assert len(busy) == 10
    os.close(reader)


@pytest.mark.parametrize("size", [64, 100_000, 300_000_000])
async def test_a_long_send_lets_others_run(swallowed, turns, pair, size):
    total = 300_000_000 if size > 64 else 6_400_000
    left, _ = pair
    chunk = bytes(size)
    await left.send_buffers(Buffers([chunk] * (total // size)))
    # 4 MiB are some 2 ms.
    assert max(swallowed) <= 2**22
    assert turns.count >= total // 2**22


@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_a_chunk_of_any_size_is_offered_in_parts(
    pair, kind, monkeypatch
):
    monkeypatch.setattr(gather, "MAX_OFFERED", 50_000)
    content = os.urandom(1_000_000)
    chunk = kind(content)
    buffers = Buffers([b"head", chunk, b"tail"])
    left, right = pair
    received = bytearray()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            async for piece in right:
                received.extend(piece)

        assert await left.send_buffers(buffers) == 1_000_008
        await left.send_eof()
    assert received == b"head" + content + b"tail"
    if kind is bytearray:
        # Nothing holds it any more.
        chunk.clear()


@pytest.mark.parametrize("size", [64, 200_000])
async def test_a_call_that_never_waits_ends(swallowed, pair, size):
    left, _ = pair
    buffers = Buffers([bytes(size)] * (64_000_000 // size))
    taken = left.send_buffers_nowait(buffers)
    assert 2**21 <= taken <= 2**21 + 2**22
    assert taken == sum(swallowed)
    assert buffers.nbytes == 64_000_000 - taken
    # And goes on when it is called again.
    while buffers:
        assert left.send_buffers_nowait(buffers)


@pytest.fixture
async def loopback():
    sink = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    source = await triobatch.open_udp_socket(
        remote_address=sink.socket.getsockname()
    )
    async with sink, source:
        yield source


def queue(payloads):
    return Datagrams([(payload, None) for payload in payloads])


@pytest.mark.parametrize(
    "send",
    [
        lambda sock, few: sock.send_many_nowait(few),
        lambda sock, few: sock.send_batch_nowait(queue(few)),
        lambda sock, few: sock.send_segments_nowait(
            b"".join(few), len(few[0])
        ),
    ],
)
@pytest.mark.parametrize("size", [1400, 60_000])
async def test_datagrams_that_never_wait_end_on_loopback(loopback, send, size):
    payloads = [bytes(size)] * (20_000_000 // size)
    sent = send(loopback, payloads)
    assert 0 < sent * size <= 4 * _datagram_driving.NOWAIT_BYTES


async def test_small_datagrams_that_never_wait_end_on_loopback(loopback):
    payloads = [bytes(1 + i % 7) for i in range(20_000)]
    batch = queue(payloads)
    sent = loopback.send_batch_nowait(batch)
    most = _datagram_driving.NOWAIT_STEPS * 256
    assert 0 < sent <= most < 20_000
    assert len(batch) == 20_000 - sent


# Files


class Nothing(io.RawIOBase):
    """A file that takes nothing."""

    calls = 0

    def writable(self):
        return True

    def write(self, data):
        self.calls += 1
        return 0


async def test_a_file_that_takes_nothing_is_an_error():
    file = Nothing()
    buffers = Buffers([b"abc"])
    with pytest.raises(OSError, match="takes nothing"):
        await buffers.write_to(trio.wrap_file(file))
    assert file.calls == 1
    assert bytes(buffers) == b"abc"


@writes_descriptors
async def test_a_descriptor_that_takes_nothing_is_an_error(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_write_to, "writev", lambda *_: 0)
    buffers = Buffers([b"abc"])
    async with await trio.open_file(tmp_path / "file", "wb") as file:
        with pytest.raises(OSError, match="takes nothing"):
            await buffers.write_to(file)
    assert bytes(buffers) == b"abc"


class Slow(io.BytesIO):
    """Waits in each call until it is told how to go on."""

    def __init__(self):
        super().__init__()
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def write(self, data):
        self.begun.set()
        assert self.go_on.wait(30)
        return super().write(data)


@pytest.mark.parametrize("count", [1, 8])
async def test_a_file_is_written_until_the_deadline(count):
    """Within the call that is under way, and not the hop."""
    size = 8 * _write_to._CALL_SIZE
    buffers = Buffers([bytes(size // count)] * count)
    file = Slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffers.write_to, trio.wrap_file(file))
        await trio.to_thread.run_sync(file.begun.wait)
        nursery.cancel_scope.cancel()
        file.go_on.set()
    assert len(file.getvalue()) == _write_to._CALL_SIZE
    assert buffers.nbytes == size - _write_to._CALL_SIZE


@writes_descriptors
async def test_a_descriptor_is_written_until_the_deadline(
    tmp_path, monkeypatch
):
    size = 8 * _write_to._CALL_SIZE
    buffers = Buffers([bytes(size)])
    real = _write_to.writev

    written = []

    def writev(fd, chunks):
        trio.from_thread.run_sync(scope.cancel)
        written.append(real(fd, chunks))
        return written[-1]

    monkeypatch.setattr(_write_to, "writev", writev)
    path = tmp_path / "file"
    async with await trio.open_file(path, "wb") as file:
        with trio.CancelScope() as scope:
            await buffers.write_to(file)
    assert scope.cancelled_caught
    # One call, which takes less where it is one on one piece.
    assert [path.stat().st_size] == written
    assert 0 < written[0] <= _write_to._CALL_SIZE
    assert buffers.nbytes == size - written[0]


# What is ready for ever, and never moves


async def test_after_a_few_idle_wakes_a_wait_is_longer(autojump_clock):
    start = trio.current_time()
    for wakes in range(5):
        await pause_after(wakes)
    assert trio.current_time() == start
    pauses = []
    for wakes in (5, 6, 7, 8, 9, 10, 10**9):
        before = trio.current_time()
        await pause_after(wakes)
        pauses.append(round(1000 * (trio.current_time() - before)))
    assert pauses == [1, 2, 4, 8, 16, 16, 16]


PROGRAM = """
import ctypes, json, os, socket, sys, time
import trio, trio.testing, triobatch
from triobatch import Buffers, BatchSocketStream, DatagramSocket

libc = ctypes.CDLL(None)
count = ctypes.c_long.in_dll(libc, "fault_count")
wrap = trio.socket.from_stdlib_socket
kind = int(sys.argv[1])


async def stream(use):
    near, far = socket.socketpair()
    far.send(b"something to receive")
    libc.set_fault(near.fileno(), kind)
    async with BatchSocketStream(wrap(near)) as stream:
        await use(stream)


async def datagrams(use):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.send(b"something to receive")
    libc.set_fault(near.fileno(), kind)
    async with DatagramSocket(wrap(near)) as sock:
        await use(sock)


async def pipe(use):
    reader, writer = os.pipe()
    libc.set_fault(writer, kind)
    async with trio.lowlevel.FdStream(writer) as stream:
        await Buffers([b"x"]).write_to(stream)


async def nowait(stream):
    try:
        stream.send_buffers_nowait(Buffers([b"x"]))
    except trio.WouldBlock:
        await trio.sleep_forever()


async def group_sends(stream):
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        assert group.send_batch_nowait([(stream, b"x")]) == []
        await group.flush()


async def group_receives(stream):
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        await group.receive_batch()


CASES = {
    "from a group": (stream, group_receives),
    "to a group": (stream, group_sends),
    "a list": (stream, lambda s: s.send_buffers([b"x"] * 9)),
    "copied": (stream, lambda s: s.send_buffers(Buffers([b"x"] * 9))),
    "pointed": (stream, lambda s: s.send_buffers([bytes(10_000)] * 2)),
    "send_all": (stream, lambda s: s.send_all(b"x")),
    "nowait": (stream, nowait),
    "broadcast": (stream, lambda s: triobatch.broadcast([s], b"x")),
    "receive_into": (stream, lambda s: s.receive_into(bytearray(9))),
    "receive_some": (stream, lambda s: s.receive_some()),
    "pipe": (pipe, None),
    "datagrams": (datagrams, lambda s: s.send_many([b"a", b"bc"])),
    "datagrams of one size": (datagrams, lambda s: s.send_many([b"a", b"b"])),
    "receive_batch": (datagrams, lambda s: s.receive_batch()),
}


async def main(name):
    make, use = CASES[name]
    ticks = 0
    with trio.move_on_after(0.3) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make, use)
            while True:
                await trio.sleep(0.01)
                ticks += 1
    return [scope.cancelled_caught, ticks, count.value]


answers = {}
for name in sys.argv[2].split(";"):
    # However long a turn takes on a busy machine.
    clock = trio.testing.MockClock(autojump_threshold=0)
    answers[name] = trio.run(main, name, clock=clock)
    libc.set_fault(-1, 0)
print(json.dumps(answers))
"""

INTERRUPTED, AGAIN = 2, 3
WAYS = [
    "a list",
    "copied",
    "pointed",
    "send_all",
    "nowait",
    "broadcast",
    "to a group",
    "receive_into",
    "datagrams",
    "datagrams of one size",
]
# read(2) is the Python core's call there, which the library leaves alone.
WAYS += ["from a group"] if CORE == "c" else []
# CPython's own loops repeat an interrupted call (PEP 475).
NOT_INTERRUPTED = ["receive_some", "pipe"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def answers(library):
    found = {}
    for kind, ways in [
        (AGAIN, [*WAYS, *NOT_INTERRUPTED]),
        (INTERRUPTED, WAYS if CORE == "c" else []),
    ]:
        if ways:
            [line] = run(library, PROGRAM, str(kind), ";".join(ways))
            found[kind] = json.loads(line)
    return found


# As many calls as the pauses allow, with those before the first.
MOST = 5 + 5 + 0.3 / 0.016 + 5


@needs_preload
@pytest.mark.parametrize("way", [*WAYS, *NOT_INTERRUPTED])
def test_what_is_ready_and_takes_nothing_pauses(answers, way):
    cancelled, ticks, count = answers[AGAIN][way]
    assert cancelled
    assert ticks > 3
    assert 0 < count < MOST


@needs_preload
@pytest.mark.skipif(CORE != "c", reason="CPython repeats it for ever")
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_that_does_not_end_ends_no_turn(answers, way):
    cancelled, ticks, count = answers[INTERRUPTED][way]
    assert cancelled
    assert ticks > 3
    # A call is repeated 16 times before it would block.
    assert 16 < count < 17 * MOST


async def test_a_listener_that_is_ready_and_gives_nothing_pauses(
    monkeypatch, autojump_clock
):
    tried = []

    def accept(fd):
        tried.append(fd)
        raise BlockingIOError

    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    monkeypatch.setattr(calls, "accept", accept)
    with socket.create_connection(listener.socket.getsockname()):
        async with listener:
            with trio.move_on_after(0.2):
                await listener.accept()
    assert 5 < len(tried) < MOST


@needs_unix_sockets
async def test_a_datagram_socket_that_is_ready_and_gives_nothing_pauses(
    monkeypatch, autojump_clock
):
    tried = []

    def receive(fd, arena, count):
        tried.append(fd)
        return 0

    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.send(b"x")
    monkeypatch.setattr(calls, "receive_datagrams", receive)
    wrapped = tsocket.from_stdlib_socket(near)
    with far:
        async with DatagramSocket(wrapped) as sock:
            with trio.move_on_after(0.2):
                await sock.receive()
    assert 5 < len(tried) < MOST


async def test_a_stream_that_moves_now_and_then_is_not_paused(
    pair, monkeypatch
):
    """Idle wakes count in a row."""
    paused = []

    async def note(idle):
        paused.append(idle)

    monkeypatch.setattr(sending, "pause_after", note)
    answers = iter([1, 0, 0, 1, 0, 1] * 2)

    def send(fd, chunks, index, offset):
        answer = next(answers, 1)
        if not answer:
            raise BlockingIOError
        return answer, False

    monkeypatch.setattr(calls, "send_copied", send)
    left, _ = pair
    await BatchSocketStream.send_buffers(left, Buffers([b"x" * 12]))
    assert max(paused) == 2
