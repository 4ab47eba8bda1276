"""A system that says it took, or brought, more than it was offered.

It is an error, and what was queued stays queued: on every way to the kernel,
under a C library that says so on one descriptor.
"""

from __future__ import annotations

import io
import json
import sys

import pytest
import trio
from faults import build, needs_preload, run
from helpers import writes_descriptors

from triobatch import Buffers, _write_to
from triobatch._core.choice import CORE
from triobatch._core.counts import checked, checked_vector

PROGRAM = """
import ctypes, json, os, socket, sys, tempfile
import trio, triobatch
from triobatch import Buffers, BatchSocketStream, Datagrams, DatagramSocket

MORE = 1
libc = ctypes.CDLL(None)
SMALL, LARGE = [b"x" * 10, b"y" * 10], [b"x" * 20000, b"y" * 20000]
wrap = trio.socket.from_stdlib_socket


class Case:
    def __init__(self, chunks, more=b"later"):
        self.buffers = Buffers(chunks)
        self.chunks = chunks

    def left(self):
        whole = bytes(self.buffers) == b"".join(self.chunks)
        self.buffers.append(b"later")
        return whole and bytes(self.buffers).endswith(b"later")


async def stream_send(chunks, send):
    near, far = socket.socketpair()
    stream = BatchSocketStream(wrap(near))
    case = Case(chunks)
    libc.set_fault(near.fileno(), MORE)
    await report(lambda: send(stream, case.buffers), case.left, far)


async def report(call, left, *_):
    try:
        await call()
        error = None
    except (OSError, trio.BrokenResourceError) as caught:
        error = caught
    cause = error.__cause__ or error
    results.append([type(error).__name__, str(cause), left()])


async def broadcast(stream, buffers):
    for result in (
        await triobatch.broadcast([stream], bytes(buffers)),
        triobatch.broadcast_nowait([stream], bytes(buffers)),
    ):
        [delivery] = result
        assert delivery.sent == 0, result
    raise delivery.error


async def nowait(stream, buffers):
    stream.send_buffers_nowait(buffers)


async def pipe(chunks):
    reader, writer = os.pipe()
    case = Case(chunks)
    async with trio.lowlevel.FdStream(writer) as stream:
        libc.set_fault(writer, MORE)
        await report(lambda: case.buffers.write_to(stream), case.left)


async def file():
    with tempfile.TemporaryDirectory() as directory:
        case = Case(SMALL)
        async with await trio.open_file(directory + "/f", "wb", 0) as opened:
            libc.set_fault(opened.fileno(), MORE)
            await report(lambda: case.buffers.write_to(opened), case.left)


async def stream_receive(receive):
    near, far = socket.socketpair()
    stream = BatchSocketStream(wrap(near))
    libc.set_fault(near.fileno(), MORE)
    await report(lambda: receive(stream), lambda: True, far)


async def datagrams(payloads):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock = DatagramSocket(wrap(near))
    queue = Datagrams([(payload, None) for payload in payloads])
    libc.set_fault(near.fileno(), MORE)
    await report(
        lambda: sock.send_batch(queue),
        lambda: [payload for payload, _ in queue] == payloads,
        far,
    )


async def one_size(payloads):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock = DatagramSocket(wrap(near))
    libc.set_fault(near.fileno(), MORE)
    await report(
        lambda: sock.send_many(payloads),
        lambda: sock.statistics().datagrams_sent == 0, far,
    )


async def receive_batch():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock = DatagramSocket(wrap(near))
    libc.set_fault(near.fileno(), MORE)
    await report(sock.receive_batch, lambda: True, far)


async def group_sends(message):
    near, far = socket.socketpair()
    other, other_far = socket.socketpair()
    stream = BatchSocketStream(wrap(near))
    well = BatchSocketStream(wrap(other))
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        group.add(well)
        libc.set_fault(near.fileno(), MORE)
        # Two, and so a call of the core for many.
        refused = group.send_batch_nowait([(stream, message), (well, b"x")])

        async def call():
            [(_, error)] = refused
            raise error

        await report(
            call,
            lambda: refused[0][0] is stream
            and other_far.recv(9) == b"x"
            and stream.statistics().bytes_sent == 0,
            far,
        )


async def group_sends_one(message):
    near, far = socket.socketpair()
    stream = BatchSocketStream(wrap(near))
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        libc.set_fault(near.fileno(), MORE)

        async def call():
            [(_, error)] = group.send_batch_nowait([(stream, message)])
            raise error

        await report(call, lambda: stream.statistics().bytes_sent == 0, far)


async def group_receives():
    near, far = socket.socketpair()
    stream = BatchSocketStream(wrap(near))
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        far.send(b"x")
        libc.set_fault(near.fileno(), MORE)
        batch = await group.receive_batch()

        async def call():
            raise trio.BrokenResourceError from group.error(stream)

        await report(call, lambda: batch == [(stream, b"")], far)


CASES = {
    "copied": lambda: stream_send(SMALL, BatchSocketStream.send_buffers),
    "pointed": lambda: stream_send(LARGE, BatchSocketStream.send_buffers),
    "much pointed": lambda: stream_send(
        LARGE * 1000, BatchSocketStream.send_buffers
    ),
    "one too large": lambda: stream_send(
        [bytes(5_000_000), b"x"], BatchSocketStream.send_buffers
    ),
    "views": lambda: stream_send(
        list(map(memoryview, SMALL)), BatchSocketStream.send_buffers
    ),
    "a list": lambda: stream_send(
        SMALL, lambda stream, buffers: stream.send_buffers(SMALL)
    ),
    "send_all": lambda: stream_send(
        SMALL, lambda stream, buffers: stream.send_all(b"x" * 20)
    ),
    "nowait": lambda: stream_send(SMALL, nowait),
    "broadcast": lambda: stream_send(SMALL, broadcast),
    "to one of a group": lambda: group_sends_one(b"x" * 20),
    "to many, one piece": lambda: group_sends(b"x" * 20),
    "to many, copied": lambda: group_sends(SMALL),
    "to many, pointed": lambda: group_sends(LARGE),
    "from a group": group_receives,
    "pipe": lambda: pipe(SMALL),
    "pipe, more than IOV_MAX": lambda: pipe([b"x"] * 3000),
    "file": file,
    "receive_some": lambda: stream_receive(lambda s: s.receive_some(100)),
    "receive_into": lambda: stream_receive(
        lambda s: s.receive_into([bytearray(9), bytearray(9)])
    ),
    "datagrams": lambda: datagrams([b"a", b"bc", b"def"]),
    "datagrams of one size": lambda: one_size([b"ab", b"cd", b"ef"]),
    "receive_batch": receive_batch,
}

results = []
answers = {}
for name in sys.argv[1].split(";"):
    results.clear()
    trio.run(CASES[name])
    libc.set_fault(-1, 0)
    [answers[name]] = results
print(json.dumps(answers))
"""

MESSAGE = "the system reports more than it was offered"
BROKEN = [
    "copied",
    "pointed",
    "much pointed",
    "one too large",
    "views",
    "a list",
    "send_all",
    "nowait",
    "broadcast",
    "to one of a group",
    "to many, one piece",
    "to many, copied",
    "to many, pointed",
    "pipe",
    "pipe, more than IOV_MAX",
]
# PyPy's own recv ends the process.
if CORE == "c" or sys.implementation.name == "cpython":
    BROKEN += ["receive_some", "receive_into"]
# read(2) is the Python core's call there, which that library leaves alone.
BROKEN += ["from a group"] if CORE == "c" else []
# The standard library sends and receives these one by one, and says nothing
# of a number of datagrams.
OF_THE_C_CORE = ["datagrams", "datagrams of one size", "receive_batch"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def answers(library):
    cases = [*BROKEN, "file"]
    if CORE == "c":
        cases += OF_THE_C_CORE
    [line] = run(library, PROGRAM, ";".join(cases))
    return json.loads(line)


@needs_preload
@pytest.mark.parametrize("case", BROKEN)
def test_a_stream_or_pipe_is_broken_and_the_queue_whole(answers, case):
    kind, text, left = answers[case]
    assert kind == "BrokenResourceError"
    assert MESSAGE in text
    assert left


@needs_preload
def test_a_file_has_failed_and_the_queue_is_whole(answers):
    kind, text, left = answers["file"]
    assert kind == "OSError"
    assert MESSAGE in text
    assert left


@needs_preload
@pytest.mark.skipif(CORE != "c", reason="a call a batch is the C core's")
@pytest.mark.parametrize("case", OF_THE_C_CORE)
def test_a_datagram_socket_has_failed_and_the_queue_is_whole(answers, case):
    kind, text, left = answers[case]
    assert kind == "OSError"
    assert MESSAGE in text
    assert left


class Boastful(io.RawIOBase):
    """A file of a program's own that counts wrongly."""

    def __init__(self, count):
        self.count = count

    def writable(self):
        return True

    def write(self, data):
        if isinstance(self.count, Exception):
            raise self.count
        return self.count


@pytest.mark.parametrize(
    "count", [4, 10**30, -1, BlockingIOError(11, "full", 4)]
)
async def test_a_file_of_ones_own_is_not_believed_either(count):
    buffers = Buffers([b"abc", b"defg"])
    with pytest.raises(OSError, match=MESSAGE):
        await buffers.write_to(trio.wrap_file(Boastful(count)))
    assert bytes(buffers) == b"abcdefg"


@writes_descriptors
async def test_a_call_that_was_cut_short_is_counted_before_it_boasts(
    tmp_path, monkeypatch
):
    real = _write_to.writev
    answers = iter([3, 100])

    def writev(fd, chunks):
        answer = next(answers)
        return answer if answer > 3 else real(fd, [chunks[0][:answer]])

    monkeypatch.setattr(_write_to, "writev", writev)
    buffers = Buffers([b"abcd", b"efgh"])
    async with await trio.open_file(tmp_path / "file", "wb", 0) as file:
        with pytest.raises(OSError, match=MESSAGE):
            await buffers.write_to(file)
    assert (tmp_path / "file").read_bytes() == b"abc"
    assert bytes(buffers) == b"defgh"


@pytest.mark.parametrize("size", [6, 2**64])
def test_a_queue_never_gives_more_than_it_has(size):
    buffers = Buffers([b"hello"])
    with pytest.raises(OSError, match=MESSAGE):
        buffers._consume(size)
    buffers.append(b" later")
    assert bytes(buffers) == b"hello later"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_count_up_to_the_offer_is_believed(count):
    assert checked(count, 5) == count
    assert checked_vector(count, [b"ab", memoryview(b"cde")]) == count


@pytest.mark.parametrize("chunks", [[b"ab", b"cde"], [memoryview(b"abcde")]])
@pytest.mark.parametrize("count", [6, 7, 2**63 - 1])
def test_a_count_beyond_the_offer_is_not(count, chunks):
    with pytest.raises(OSError, match=MESSAGE):
        checked(count, 5)
    with pytest.raises(OSError, match=MESSAGE):
        checked_vector(count, chunks)
