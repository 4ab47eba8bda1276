"""``Buffers.write_to`` for files: as if ``file.write`` had written them."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager

import pytest
import trio
from helpers import is_exported
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Buffers, _write_to
from triobatch._core.chunks import IOV_MAX

resource = pytest.importorskip("resource")

OLD = b"0123456789"
CHUNKS = [b"abc", bytearray(b"d"), memoryview(b"efgh")]


def buffers_of(data, size=3):
    return Buffers(
        data[start : start + size] for start in range(0, len(data), size)
    )


def apply_with_write(file, operations):
    """Do to a file what ``apply_with_write_to`` does, with its own methods."""
    results = []
    for name, argument in operations:
        if name == "write_to":
            results.append(file.write(argument))
            file.flush()
            if argument and "a" in file.mode:
                # Where the kernel is after appending. CPython's buffered
                # files believe otherwise if they were elsewhere before.
                file.seek(0, os.SEEK_END)
        elif argument is None:
            results.append(getattr(file, name)())
        else:
            results.append(getattr(file, name)(argument))
    return results


async def apply_with_write_to(file, operations):
    results = []
    for name, argument in operations:
        if name == "write_to":
            results.append(await buffers_of(argument).write_to(file))
        elif argument is None:
            results.append(await getattr(file, name)())
        else:
            results.append(await getattr(file, name)(argument))
    return results


async def check_like_write(folder, mode, buffering, operations):
    """Compare two files: one written with write_to, the other with write."""
    ours, theirs = folder / "ours", folder / "theirs"
    for path in ours, theirs:
        path.unlink(missing_ok=True)
        if "x" not in mode:
            path.write_bytes(OLD)
    async with await trio.open_file(ours, mode, buffering) as file:
        results = await apply_with_write_to(file, operations)
    with theirs.open(mode, buffering) as twin:
        expected = apply_with_write(twin, operations)
    assert results == expected
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("mode", ["wb", "ab", "r+b", "w+b", "a+b", "xb"])
@pytest.mark.parametrize(
    "operations",
    [
        [("write_to", b"abcdefgh")],
        [("write", b"AB"), ("write_to", b"cdefgh"), ("tell", None)],
        [("write_to", b"abcdefgh"), ("write", b"IJ"), ("tell", None)],
        [("seek", 4), ("write_to", b"abcd"), ("tell", None), ("write", b"E")],
        [("write", b"ABC"), ("seek", 1), ("write_to", b"d"), ("write", b"E")],
        [("write_to", b"abc"), ("truncate", None), ("write_to", b"def")],
        [("seek", 20), ("write_to", b"beyond the end"), ("tell", None)],
        [("write_to", b""), ("tell", None)],
    ],
)
async def test_a_file_is_written_as_with_write(
    tmp_path, mode, buffering, operations
):
    await check_like_write(tmp_path, mode, buffering, operations)


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("mode", ["r+b", "w+b", "a+b"])
@pytest.mark.parametrize(
    "operations",
    [
        [("read", 3), ("write_to", b"abc"), ("read", 2), ("tell", None)],
        [("write_to", b"abc"), ("seek", 0), ("read", None)],
        [("read", None), ("write_to", b"abc"), ("read", None), ("seek", 1)],
        [("write", b"ABC"), ("write_to", b"def"), ("seek", 2), ("read", 5)],
        # The last seek stays within what the first read took in.
        [("write_to", b"abc"), ("read", 1), ("seek", 5), ("read", 2)],
    ],
)
async def test_a_file_is_read_between_as_with_write(
    tmp_path, mode, buffering, operations
):
    await check_like_write(tmp_path, mode, buffering, operations)


DATA = st.binary(max_size=20)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["write_to", "write"]), DATA)
    | st.tuples(st.just("seek"), st.integers(0, 30))
    | st.tuples(st.just("read"), st.integers(0, 10))
    | st.tuples(st.sampled_from(["tell", "flush", "truncate"]), st.none()),
    max_size=8,
)


@given(
    mode=st.sampled_from(["r+b", "w+b", "a+b"]),
    buffering=st.sampled_from([0, 8, -1]),
    operations=OPERATIONS,
)
@settings(max_examples=100, deadline=None)
async def test_any_mix_of_operations_is_as_with_write(
    tmp_path_factory, mode, buffering, operations
):
    folder = tmp_path_factory.mktemp("files")
    await check_like_write(folder, mode, buffering, operations)


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_file_consumes_the_buffers_at_a_checkpoint(
    tmp_path, buffering
):
    path = tmp_path / "file"
    buffers = Buffers(CHUNKS)
    async with await trio.open_file(path, "wb", buffering) as file:
        with assert_checkpoints():
            assert await buffers.write_to(file) == 8
        assert not buffers
        # In the kernel already, without a flush.
        assert path.read_bytes() == b"abcdefgh"


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_file_that_cannot_seek_is_written(tmp_path, buffering):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    async with await trio.open_file(path, "wb", buffering) as file:
        await file.write(b"before ")
        assert await Buffers(CHUNKS).write_to(file) == 8
        assert os.read(reader, 100) == b"before abcdefgh"
    os.close(reader)


async def test_a_file_and_no_bytes_is_a_checkpoint(tmp_path):
    async with await trio.open_file(tmp_path / "file", "wb") as file:
        with assert_checkpoints():
            assert await Buffers().write_to(file) == 0


@pytest.mark.parametrize(
    "count", [1, IOV_MAX - 1, IOV_MAX, IOV_MAX + 1, 3 * IOV_MAX]
)
async def test_a_call_takes_as_many_chunks_as_the_kernel_allows(
    tmp_path, monkeypatch, count
):
    calls = []
    system_call = _write_to.writev

    def writev(fd, buffers):
        calls.append(len(buffers))
        return system_call(fd, buffers)

    monkeypatch.setattr(_write_to, "writev", writev)
    content = os.urandom(2 * count)
    path = tmp_path / "file"
    async with await trio.open_file(path, "wb") as file:
        assert await buffers_of(content, 2).write_to(file) == 2 * count
    assert path.read_bytes() == content
    assert max(calls) <= IOV_MAX
    assert len(calls) == -(-count // IOV_MAX)


async def test_short_writes_resume_inside_a_chunk(tmp_path, monkeypatch):
    system_call = _write_to.writev

    def writev(fd, buffers):
        return system_call(fd, [bytes(b"".join(buffers))[:5]])

    monkeypatch.setattr(_write_to, "writev", writev)
    content = bytes(range(100))
    path = tmp_path / "file"
    buffers = buffers_of(content, 7)
    buffers.consume(1)
    async with await trio.open_file(path, "wb") as file:
        assert await buffers.write_to(file) == 99
    assert path.read_bytes() == content[1:]


async def test_many_hops_write_it_all(tmp_path, small_hops):
    content = bytes(range(100))
    path = tmp_path / "file"
    async with await trio.open_file(path, "wb") as file:
        with assert_checkpoints():
            assert await buffers_of(content).write_to(file) == 100
        assert await file.tell() == 100
    assert path.read_bytes() == content


async def test_cancelled_between_hops_the_buffers_hold_the_rest(
    tmp_path, small_hops, monkeypatch
):
    content = bytes(range(100))
    path = tmp_path / "file"
    buffers = buffers_of(content)
    system_call = _write_to.writev
    with trio.CancelScope() as scope:

        def writev(fd, chunks):
            if path.stat().st_size == 14:
                trio.from_thread.run_sync(scope.cancel)
            return system_call(fd, chunks)

        monkeypatch.setattr(_write_to, "writev", writev)
        async with await trio.open_file(path, "wb") as file:
            await buffers.write_to(file)
    assert scope.cancelled_caught
    # The hop that was under way ran to its end, and was counted.
    assert path.read_bytes() == content[:21]
    assert bytes(buffers) == content[21:]
    async with await trio.open_file(path, "ab") as file:
        assert await buffers.write_to(file) == 79
    assert path.read_bytes() == content


async def test_cancelled_before_the_start_a_file_gets_nothing(tmp_path):
    path = tmp_path / "file"
    buffers = Buffers([b"kept"])
    async with await trio.open_file(path, "wb") as file:
        with trio.CancelScope() as scope:
            scope.cancel()
            await buffers.write_to(file)
    assert scope.cancelled_caught
    assert path.read_bytes() == b""
    assert bytes(buffers) == b"kept"


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_full_disk_leaves_all_that_was_not_written(buffering):
    buffers = Buffers(CHUNKS)
    async with await trio.open_file("/dev/full", "wb", buffering) as file:
        with pytest.raises(OSError, match="No space left") as caught:
            await buffers.write_to(file)
    assert caught.value.errno == errno.ENOSPC
    assert bytes(buffers) == b"abcdefgh"


@contextmanager
def file_size_limit(size):
    """Let no file grow beyond ``size`` (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 99])
async def test_a_disk_that_fills_up_leaves_exactly_the_rest(
    tmp_path, buffering, limit
):
    content = bytes(range(100))
    buffers = buffers_of(content)
    path = tmp_path / "file"
    async with await trio.open_file(path, "wb", buffering) as file:
        with (
            file_size_limit(limit),
            pytest.raises(OSError, match="too large") as caught,
        ):
            await buffers.write_to(file)
        assert caught.value.errno == errno.EFBIG
        assert path.read_bytes() == content[:limit]
        assert bytes(buffers) == content[limit:]
        # There is room again, and it goes on where it stopped.
        assert await file.tell() == limit
        assert await buffers.write_to(file) == 100 - limit
    assert path.read_bytes() == content


async def test_what_the_file_had_buffered_and_cannot_write_stays_first(
    tmp_path,
):
    path = tmp_path / "file"
    buffers = Buffers([b"second"])
    async with await trio.open_file(path, "wb") as file:
        await file.write(b"first")
        with file_size_limit(0), pytest.raises(OSError, match="too large"):
            await buffers.write_to(file)
        assert bytes(buffers) == b"second"
        await buffers.write_to(file)
    assert path.read_bytes() == b"firstsecond"


async def test_a_file_closed_meanwhile_writes_to_no_other_file(tmp_path):
    # A FIFO whose reader is slow, so that writev(2) waits in its thread.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    content = bytes(range(256)) * 500
    buffers = buffers_of(content, 100)
    file = await trio.open_file(fifo, "wb", 0)
    number = file.fileno()
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write():
            with pytest.raises(ValueError, match="closed file"):
                await buffers.write_to(file)
            ended.set()

        await trio.lowlevel.wait_readable(reader)
        await wait_all_tasks_blocked()
        await file.aclose()
        # Takes the number that is free now.
        with (tmp_path / "other").open("wb") as other:
            assert other.fileno() == number
            received = b""
            while len(received) < 100 * IOV_MAX:
                await trio.lowlevel.wait_readable(reader)
                received += os.read(reader, 1_000_000)
            await ended.wait()
    os.close(reader)
    assert (tmp_path / "other").read_bytes() == b""
    assert received + bytes(buffers) == content


@pytest.mark.parametrize("mode", ["w", "r+", "a"])
async def test_a_file_opened_for_text_is_refused(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    buffers = Buffers([b"kept"])
    async with await trio.open_file(path, mode, encoding="utf-8") as file:
        with pytest.raises(TypeError, match="binary mode"):
            await buffers.write_to(file)
    assert bytes(buffers) == b"kept"


async def test_a_wrapped_text_buffer_is_refused():
    with pytest.raises(TypeError, match="binary mode"):
        await Buffers([b"x"]).write_to(trio.wrap_file(io.StringIO()))


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_file_opened_for_reading_is_refused(tmp_path, buffering):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    buffers = Buffers([b"kept"])
    async with await trio.open_file(path, "rb", buffering) as file:
        with pytest.raises(io.UnsupportedOperation, match="not writable"):
            await buffers.write_to(file)
    assert bytes(buffers) == b"kept"


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_closed_file_is_refused(tmp_path, buffering):
    file = await trio.open_file(tmp_path / "file", "wb", buffering)
    await file.aclose()
    buffers = Buffers([b"kept"])
    with pytest.raises(ValueError, match="closed file"):
        await buffers.write_to(file)
    assert bytes(buffers) == b"kept"


async def test_a_file_that_is_not_asynchronous_is_refused(tmp_path):
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(TypeError, match="asynchronous binary file"),
    ):
        await Buffers([b"x"]).write_to(file)


async def test_a_mutable_chunk_is_free_again_once_it_is_written(
    tmp_path, small_hops
):
    chunk = bytearray(10)
    async with await trio.open_file(tmp_path / "file", "wb") as file:
        await Buffers([chunk, b"more"]).write_to(file)
    assert not is_exported(chunk)


# Several tasks, one file


async def test_the_records_of_several_tasks_stay_whole(tmp_path, small_hops):
    path = tmp_path / "file"

    async def write(letter):
        for _ in range(5):
            assert await buffers_of(letter * 50).write_to(file) == 50

    async with (
        await trio.open_file(path, "ab") as file,
        trio.open_nursery() as nursery,
    ):
        for letter in (b"a", b"b", b"c"):
            nursery.start_soon(write, letter)
    content = path.read_bytes()
    records = {content[i : i + 50] for i in range(0, len(content), 50)}
    assert records == {letter * 50 for letter in (b"a", b"b", b"c")}
    assert len(content) == 750


async def test_two_wrappers_of_one_file_are_one_file(tmp_path, small_hops):
    with (tmp_path / "file").open("ab") as file:
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b"):
                nursery.start_soon(
                    buffers_of(letter * 50).write_to, trio.wrap_file(file)
                )
    content = (tmp_path / "file").read_bytes()
    assert content in (b"a" * 50 + b"b" * 50, b"b" * 50 + b"a" * 50)


async def test_two_files_do_not_wait_for_one_another(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    async with (
        await trio.open_file(fifo, "wb", 0) as slow,
        await trio.open_file(tmp_path / "file", "wb", 0) as other,
        trio.open_nursery() as nursery,
    ):
        # More than a FIFO holds.
        nursery.start_soon(buffers_of(bytes(100_000), 1000).write_to, slow)
        await wait_all_tasks_blocked()
        await buffers_of(b"abc").write_to(other)
        assert (tmp_path / "file").read_bytes() == b"abc"
        received = 0
        while received < 100_000:
            await trio.lowlevel.wait_readable(reader)
            received += len(os.read(reader, 100_000))
    os.close(reader)


async def test_a_task_that_is_cancelled_while_it_waits_has_written_nothing(
    tmp_path,
):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    first, second = buffers_of(b"a" * 100_000, 1000), Buffers([b"b"])
    async with (
        await trio.open_file(fifo, "wb", 0) as file,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(first.write_to, file)
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(second.write_to, file)
                await wait_all_tasks_blocked()
                # Others can tell that it is on its way.
                with pytest.raises(trio.BusyResourceError):
                    await second.write_to(file)
                scope.cancel()
        assert bytes(second) == b"b"
        received = b""
        while len(received) < 100_000:
            await trio.lowlevel.wait_readable(reader)
            received += os.read(reader, 100_000)
    assert received == b"a" * 100_000
    os.close(reader)


async def test_a_task_after_one_that_failed_writes(tmp_path, monkeypatch):
    path = tmp_path / "file"
    system_call = _write_to.writev
    errors = [OSError(errno.EIO, "once")]

    def writev(fd, chunks):
        if errors:
            raise errors.pop()
        return system_call(fd, chunks)

    monkeypatch.setattr(_write_to, "writev", writev)
    async with await trio.open_file(path, "wb", 0) as file:
        with pytest.raises(OSError, match="once"):
            await Buffers([b"lost"]).write_to(file)
        await Buffers([b"kept"]).write_to(file)
    assert path.read_bytes() == b"kept"


def test_a_file_may_be_written_in_one_run_after_another(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        for _ in range(2):
            trio.run(Buffers([b"abc"]).write_to, trio.wrap_file(file))
    assert (tmp_path / "file").read_bytes() == b"abcabc"
