from __future__ import annotations

import array
import errno
import gzip
import io
import os
import struct
import subprocess
import sys
import textwrap

import pytest
import trio
from helpers import exports_lock, loopback_is_through, receive_exactly
from trio.testing import (
    assert_checkpoints,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

import triobatch
from triobatch import Buffers, FileSlice
from triobatch._core import calls, splice_python

CONTENT = os.urandom(2**20) * 6 + b"the end"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def file(path):
    with path.open("rb") as file:
        yield file


class Receiving:
    """Receives so much beside something else."""

    def __init__(self, stream, size):
        self.stream, self.size = stream, size
        self.data = b""

    async def __call__(self):
        self.data = await receive_exactly(self.stream, self.size)


@pytest.mark.parametrize("size", [0, 1, 2**16, 2**20 - 1, 2**20 + 1, None])
@pytest.mark.parametrize("offset", [0, 1, 5000])
@pytest.mark.parametrize("around", [False, True])
async def test_a_part_of_a_file_is_sent(pair, file, size, offset, around):
    left, right = pair
    part = CONTENT[offset:] if size is None else CONTENT[offset:][:size]
    header = [b"head", b"er"] if around else ()
    trailer = (b"tra", bytearray(b"iler")) if around else ()
    whole = b"header" + part + b"trailer" if around else part
    receiving = Receiving(right, len(whole))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving)
        with assert_checkpoints():
            sent = await left.send_file(
                file, offset, size, header=header, trailer=trailer
            )
    assert sent == len(whole)
    assert receiving.data == whole
    assert left.statistics().bytes_sent == len(whole)
    assert file.tell() == 0


async def test_header_and_first_bytes_leave_together(
    pair, file, family, monkeypatch
):
    left, right = pair
    # That would send the header by itself.
    monkeypatch.delattr(calls, "send")
    await left.send_file(file, 0, 1000, header=[b"header "])
    await trio.testing.wait_all_tasks_blocked()
    received = await right.receive_some()
    if family == "tcp":
        assert received == b"header " + CONTENT[:1000]
        if sys.platform == "linux":
            # tcpi_data_segs_out in linux/tcp.h.
            info = left.getsockopt(
                trio.socket.IPPROTO_TCP, trio.socket.TCP_INFO, 192
            )
            assert struct.unpack_from("I", info, 156) == (1,)
    else:
        assert received.startswith(b"header ")
    assert left.statistics().send_calls == 2


@pytest.mark.parametrize("trailer", [[], [b"end"]])
async def test_a_header_alone_does_not_wait_for_more(pair, file, trailer):
    left, right = pair
    await left.send_file(file, 0, 0, header=[b"header"], trailer=trailer)
    # MSG_MORE that nothing follows would hold it for 200 ms.
    loopback_is_through()
    assert right.socket._sock.recv(7) == b"".join([b"header", *trailer])[:7]


async def test_an_asynchronous_file_is_a_file(pair, path):
    left, right = pair
    async with await trio.open_file(path, "rb") as file:
        assert await left.send_file(file, 10, 5) == 5
    assert await receive_exactly(right, 5) == CONTENT[10:15]


@pytest.mark.parametrize("mode", ["rb", "r+b"])
@pytest.mark.parametrize("buffering", [0, -1])
async def test_every_way_to_open_a_file(pair, path, mode, buffering):
    left, right = pair
    with path.open(mode, buffering=buffering) as file:
        file.seek(7)
        await left.send_file(file, 3, 5)
        assert file.tell() == 7
    assert await receive_exactly(right, 5) == CONTENT[3:8]


async def test_a_slice_is_consumed(pair, file):
    left, right = pair
    part = FileSlice(file, 10, 100)
    assert repr(part) == "<FileSlice: 100 bytes from 10 left>"
    assert await left.send_file(part) == 100
    assert (part.offset, part.nbytes) == (110, 0)
    with assert_checkpoints():
        assert await left.send_file(part) == 0
    assert await receive_exactly(right, 100) == CONTENT[10:110]


@pytest.mark.parametrize("kind", ["header", "file", "trailer"])
async def test_cancelled_it_holds_what_was_not_sent(make_streams, file, kind):
    left, right = await make_streams(send_size=2**16)
    big = CONTENT * 4
    header = Buffers([big if kind == "header" else b"header"])
    trailer = Buffers([big if kind == "trailer" else b"trailer"])
    size = len(CONTENT) if kind == "file" else 10
    part = FileSlice(file, 0, size)
    whole = bytes(header) + CONTENT[:size] + bytes(trailer)
    received = bytearray()
    rounds = 0
    while True:
        before = header.nbytes + part.nbytes + trailer.nbytes
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send():
                await left.send_file(part, header=header, trailer=trailer)

            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        rounds += 1
        left_over = header.nbytes + part.nbytes + trailer.nbytes
        received += await receive_exactly(right, before - left_over)
        if not left_over:
            break
    assert received == whole
    assert rounds > 2


async def test_a_pre_cancelled_call_sends_nothing(pair, file):
    left, _ = pair
    header, part = Buffers([b"a"]), FileSlice(file, 0, 5)
    with trio.CancelScope() as scope:
        scope.cancel()
        await left.send_file(part, header=header)
    assert scope.cancelled_caught
    assert (header.nbytes, part.nbytes) == (1, 5)
    assert not left.statistics().send_calls


async def test_what_is_being_sent_is_busy(clogged_pair, file):
    left, _ = clogged_pair
    header, trailer = Buffers([bytes(2**23)]), Buffers([b"b"])
    part = FileSlice(file)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            await left.send_file(part, header=header, trailer=trailer)

        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await left.send_all(b"x")
        for queue in (header, trailer):
            with pytest.raises(BufferError):
                queue.consume(1)
        other, _ = memory_stream_pair()
        with pytest.raises(trio.BusyResourceError):
            await triobatch.send_file(other, part)
        with pytest.raises(trio.BusyResourceError):
            await triobatch.send_file(other, file, trailer=trailer)
        nursery.cancel_scope.cancel()
    trailer.consume(1)
    assert not part._claimed


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("on_socket", [True, False])
async def test_a_file_that_shrinks_is_an_error(
    pair, path, monkeypatch, cached, on_socket
):
    if not cached:
        monkeypatch.setattr(calls, "cached", lambda *_: 0)
    left, right = pair if on_socket else memory_stream_pair()
    with path.open("rb") as file:
        part = FileSlice(file)
        os.truncate(path, 1000)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def drain():
                async for _ in right:
                    pass

            with pytest.raises(EOFError, match="shorter"):
                await triobatch.send_file(left, part)
            nursery.cancel_scope.cancel()
    if on_socket:
        assert part.nbytes == len(CONTENT) - 1000


@pytest.mark.parametrize("header", [(), [b"header"]])
async def test_the_error_of_a_file_is_a_checkpoint_too(pair, path, header):
    with path.open("rb") as file:
        part = FileSlice(file)
        os.truncate(path, 0)
        with assert_checkpoints(), pytest.raises(EOFError):
            await pair[0].send_file(part, header=header)


async def test_what_is_not_in_memory_is_read_in_a_thread(
    pair, path, monkeypatch
):
    left, right = pair
    hops = []
    original = trio.to_thread.run_sync

    async def run_sync(function, *arguments, **options):
        hops.append(arguments)
        return await original(function, *arguments, **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(calls, "cached", lambda *_: 0)
    receiving = Receiving(right, len(CONTENT))
    with path.open("rb") as file:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiving)
            await left.send_file(file)
    assert receiving.data == CONTENT
    assert len(hops) == 2
    assert hops[1][1:] == (2**22, len(CONTENT) - 2**22)


@pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise"
)
def test_what_is_in_memory_is_told(path):
    with path.open("rb") as file:
        fd = file.fileno()
        file.read()
        assert calls.cached(fd, 0, len(CONTENT)) == len(CONTENT)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert calls.cached(fd, 0, len(CONTENT)) in (0, len(CONTENT))
    # That cannot be told: it is for sendfile to say.
    assert calls.cached(fd, 0, 100) == 100


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
async def test_an_error_of_the_file_is_its_own(
    pair, file, monkeypatch, number
):
    def fail(*_):
        raise OSError(number, "")

    monkeypatch.setattr(calls, "send_file", fail)
    with pytest.raises(OSError, match=str(number)):
        await pair[0].send_file(file)
    await pair[0].send_all(b"not busy")


async def test_a_reset_is_told(pair, file, reset, family):
    left, right = pair
    part = FileSlice(file)
    await reset(right)
    with assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
        while True:
            await left.send_file(FileSlice(file))
    assert part.nbytes == len(CONTENT)


async def test_a_call_that_took_a_part_is_counted(make_streams, file):
    left, right = await make_streams(4608)
    # All of the file would wait for a hundred delayed acknowledgements.
    size = 300_000
    receiving = Receiving(right, size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_file, file, 0, size)
        await wait_all_tasks_blocked()
        nursery.start_soon(receiving)
    assert receiving.data == CONTENT[:size]
    done = left.statistics()
    assert done.partial_writes >= 1
    assert done.send_calls > done.partial_writes


@exports_lock
async def test_an_error_in_the_midst_lets_go_of_header_and_trailer(
    clogged_pair, file, reset
):
    left, right = clogged_pair
    header, trailer = bytearray(b"header"), bytearray(b"trailer")
    kept = []

    async def send():
        with pytest.raises(trio.BrokenResourceError) as error:
            await left.send_file(file, header=[header], trailer=[trailer])
        kept.append(error.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await reset(right)
    assert kept[0].__traceback__
    header.append(0)
    trailer.append(0)


async def test_a_closed_stream_says_so(pair, file):
    left, _ = pair
    await left.aclose()
    for size in (0, 5):
        with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await left.send_file(file, 0, size)


async def test_after_eof_nothing_is_sent(pair, file):
    left, _ = pair
    await left.send_eof()
    with pytest.raises(trio.ClosedResourceError, match="EOF"):
        await left.send_file(file)


async def test_closed_while_it_waits(clogged_pair, file):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(trio.ClosedResourceError):
                await left.send_file(file)

        await wait_all_tasks_blocked()
        await left.aclose()


async def test_a_file_closed_while_it_waits(clogged_pair, path):
    left, right = clogged_pair
    file = path.open("rb")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(ValueError, match="closed"):
                await left.send_file(file)
            nursery.cancel_scope.cancel()

        await wait_all_tasks_blocked()
        file.close()
        while True:
            await right.receive_some()


@pytest.mark.parametrize("moment", ["before it reads", "while it reads"])
@pytest.mark.parametrize("kind", ["socket", "other"])
async def test_a_file_closed_beside_the_thread_is_not_mistaken_for_another(
    pair, path, monkeypatch, kind, moment
):
    left, right = pair if kind == "socket" else memory_stream_pair()
    secret = path.with_name("secret")
    secret.write_bytes(b"secret" * 2**20)
    file, other = path.open("rb"), secret.open("rb")
    number = file.fileno()
    run_sync, read_file = trio.to_thread.run_sync, calls.read_file

    def take_its_number():
        if not file.closed:
            file.close()
            os.dup2(other.fileno(), number)

    async def run_in_thread(function, *arguments):
        take_its_number()
        return await run_sync(function, *arguments)

    def read(*arguments):
        take_its_number()
        return read_file(*arguments)

    monkeypatch.setattr(calls, "cached", lambda *_: 0)
    if moment == "before it reads":
        monkeypatch.setattr(trio.to_thread, "run_sync", run_in_thread)
    else:
        monkeypatch.setattr(calls, "read_file", read)
    with pytest.raises(ValueError, match="closed"):
        await triobatch.send_file(left, file)
    os.lseek(number, 0, os.SEEK_SET)
    assert os.read(number, 6) == b"secret"
    os.close(number)
    other.close()
    await left.aclose()
    assert await right.receive_some() == b""


@pytest.mark.parametrize(
    ("open_file", "error", "message"),
    [
        (lambda path: io.BytesIO(b"abc"), TypeError, "not BytesIO"),
        (lambda path: path.open(), TypeError, "not TextIOWrapper"),
        (gzip.GzipFile, TypeError, "not GzipFile"),
        (lambda path: path, TypeError, "not PosixPath"),
        (lambda path: path.open("ab"), TypeError, "not BufferedWriter"),
        (lambda path: path.open("ab", 0), ValueError, "for reading"),
        (
            lambda path: open(os.pipe()[0], "rb"),  # noqa: SIM115
            ValueError,
            "regular",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_what_is_no_file_is_refused(
    pair, path, open_file, error, message
):
    file = open_file(path)
    try:
        with pytest.raises(error, match=message):
            await pair[0].send_file(file)
    finally:
        getattr(file, "close", int)()


@pytest.mark.parametrize(
    ("offset", "size", "message"),
    [
        (-1, None, "offset must be between 0 and 6291463, not -1"),
        (len(CONTENT) + 1, None, "offset must be between"),
        (0, -1, "size must be between 0 and 6291463, not -1"),
        (3, len(CONTENT) - 2, "size must be between 0 and 6291460"),
    ],
)
async def test_a_part_that_is_not_there_is_refused(
    pair, file, offset, size, message
):
    with pytest.raises(ValueError, match=message):
        await pair[0].send_file(file, offset, size)
    assert not pair[0].statistics().send_calls


async def test_a_slice_has_its_own_offset(pair, file):
    for arguments in ((1,), (0, 1)):
        with pytest.raises(TypeError, match="FileSlice"):
            await pair[0].send_file(FileSlice(file), *arguments)
    with pytest.raises(TypeError, match="chunk"):
        await pair[0].send_file(file, header=["text"])
    with pytest.raises(TypeError, match="not int"):
        await triobatch.send_file(3, file)


async def test_items_of_any_size_are_bytes(pair, file):
    left, right = pair
    numbers = array.array("I", range(10))
    sent = await left.send_file(file, 0, 3, header=[memoryview(numbers)])
    assert sent == 43
    assert await receive_exactly(right, 43) == numbers.tobytes() + CONTENT[:3]
    numbers.append(1)


@pytest.mark.parametrize("size", [0, 1, 2**18, 2**18 + 1, None])
async def test_other_streams_get_pieces(file, size):
    left, right = memory_stream_pair()
    part = CONTENT[5:] if size is None else CONTENT[5 : 5 + size]
    header, trailer = Buffers([b"head", b"er"]), Buffers([b"trailer"])
    sliced = FileSlice(file, 5, size)
    with assert_checkpoints():
        sent = await triobatch.send_file(
            left, sliced, header=header, trailer=trailer
        )
    assert sent == len(part) + 13
    assert not header
    assert not trailer
    assert not sliced.nbytes
    assert await receive_exactly(right, sent) == b"header" + part + b"trailer"


async def test_a_stream_that_sends_files_is_left_to_it(pair, file):
    left, right = pair
    await triobatch.send_file(left, file, 3, 5, header=[b"a"])
    assert await receive_exactly(right, 6) == b"a" + CONTENT[3:8]


async def test_through_tls(pair, file, tls):
    left, right = pair
    client = trio.SSLStream(left, tls[0], server_hostname="localhost")
    server = trio.SSLStream(right, tls[1], server_side=True)
    receiving = Receiving(server, len(CONTENT) + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving)
        await triobatch.send_file(client, file, header=[b"a"])
    assert receiving.data == b"a" + CONTENT


async def test_others_get_their_turn(make_streams, file):
    left, right = await make_streams(send_size=2**24)
    turns = 0
    receiving = Receiving(right, len(CONTENT))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def count():
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as inner:
            inner.start_soon(receiving)
            inner.start_soon(left.send_file, file)
        nursery.cancel_scope.cancel()
    assert turns >= len(CONTENT) >> 20


PROGRAM = """
    import signal, sys, trio
    from triobatch import BatchSocketStream

    async def main():
        a, b = [BatchSocketStream(s) for s in trio.socket.socketpair()]
        await b.aclose()
        with open(sys.argv[1], "rb") as file:
            try:
                await a.send_file(file)
            except trio.BrokenResourceError as error:
                print(error.__cause__.errno)

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    trio.run(main)
    assert signal.SIGPIPE not in signal.sigpending()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""


def test_a_peer_that_went_does_not_kill_the_process(path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), path],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "32\n")


async def test_where_there_is_no_sendfile(pair, file, monkeypatch):
    left, right = pair
    if calls.send_file.__module__.endswith("_c"):
        pytest.skip("the C core has it")
    monkeypatch.delattr(os, "sendfile", raising=False)
    monkeypatch.setattr(splice_python, "_pread", splice_python._seek_and_read)
    file.seek(7)
    receiving = Receiving(right, len(CONTENT))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving)
        await left.send_file(file)
    assert receiving.data == CONTENT
    assert file.tell() == 7


async def test_header_and_trailer_are_two(pair, path):
    one = Buffers([b"x"])
    with (
        path.open("rb") as file,
        pytest.raises(ValueError, match="must be two Buffers"),
    ):
        await pair[0].send_file(file, header=one, trailer=one)
    one.consume(1)


@pytest.mark.parametrize("part", ["header", "trailer"])
async def test_a_connection_that_breaks_beside_the_file_says_so(
    pair, path, around, part
):
    def broken(*_):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    left, _ = pair
    path.write_bytes(b"")
    around("send", broken)
    chunks = Buffers([b"abc"])
    with (
        path.open("rb") as file,
        assert_checkpoints(),
        pytest.raises(trio.BrokenResourceError),
    ):
        await left.send_file(file, **{part: chunks})
    assert bytes(chunks) == b"abc"


class Meddled(trio.abc.SendStream):
    """Calls something once while it sends."""

    def __init__(self, meddle):
        self.meddle = meddle
        self.sent = bytearray()

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        self.sent += data
        self.meddle()

    async def wait_send_all_might_not_block(self):
        raise NotImplementedError

    async def aclose(self):
        raise NotImplementedError


async def test_what_a_header_gets_meanwhile_stays_in_it(file):
    header, part = Buffers([b"header"]), FileSlice(file)
    stream = Meddled(lambda: header.append(b"more"))
    sent = await triobatch.send_file(
        stream, part, header=header, trailer=[b"trailer"]
    )
    assert stream.sent == b"header" + CONTENT + b"trailer"
    assert sent == len(stream.sent)
    assert part.nbytes == 0
    assert set(header) == {b"more"}
