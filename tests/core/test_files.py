"""The system calls themselves, on files, pipes and sockets."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
from array import array

import pytest
from helpers import exports_lock

import triobatch
from triobatch import lowlevel
from triobatch._core import files

IOV_MAX = triobatch.capabilities().iov_max

# Beside the limit on how many buffers a call takes.
COUNTS = [0, 1, 2, IOV_MAX - 1, IOV_MAX, IOV_MAX + 1, 2 * IOV_MAX]


each_call = pytest.mark.parametrize(
    "call",
    [
        lowlevel.writev,
        lowlevel.readv,
        lambda fd, buffers: lowlevel.pwritev(fd, buffers, 0),
        lambda fd, buffers: lowlevel.preadv(fd, buffers, 0),
    ],
)


@pytest.fixture(params=["vectored", "in one piece"], autouse=True)
def system(request, monkeypatch):
    """The calls that there are, and what stands for them elsewhere."""
    if not hasattr(os, "pread"):
        pytest.skip("this system cannot read or write at a place in a file")
    if request.param == "vectored":
        if not hasattr(os, "preadv"):
            pytest.skip("this Python has no vectored calls")
    else:
        monkeypatch.setattr(files, "_writev", files._write_joined)
        monkeypatch.setattr(files, "_readv", files._read_and_spread)
        monkeypatch.setattr(files, "_pwritev", files._pwrite_joined)
        monkeypatch.setattr(files, "_preadv", files._pread_and_spread)


@pytest.fixture
def fd(tmp_path):
    """A file open for reading and writing."""
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


@pytest.fixture
def pipe():
    """The two ends of an empty pipe, neither of which blocks."""
    reader, writer = os.pipe()
    for number in reader, writer:
        os.set_blocking(number, False)
    yield reader, writer
    for number in reader, writer:
        os.close(number)


def position(fd):
    return os.lseek(fd, 0, os.SEEK_CUR)


def content(fd):
    return os.pread(fd, 1_000_000, 0)


def test_the_module_is_what_it_says():
    assert lowlevel.__all__ == [
        "preadv",
        "pwritev",
        "readv",
        "recvmmsg",
        "sendmmsg",
        "writev",
    ]


@pytest.mark.parametrize("count", COUNTS)
def test_writev_writes_at_most_the_limit_with_one_call(fd, count):
    buffers = [b"%03d" % (i % 1000) for i in range(count)]
    taken = b"".join(buffers[:IOV_MAX])
    assert lowlevel.writev(fd, buffers) == len(taken)
    assert content(fd) == taken
    assert position(fd) == len(taken)


@pytest.mark.parametrize("count", COUNTS)
def test_pwritev_writes_at_most_the_limit_with_one_call(fd, count):
    buffers = [b"%03d" % (i % 1000) for i in range(count)]
    taken = b"".join(buffers[:IOV_MAX])
    os.write(fd, b"12345")
    assert lowlevel.pwritev(fd, buffers, 2) == len(taken)
    assert content(fd) == b"12" + (taken or b"345")
    assert position(fd) == 5


@pytest.mark.parametrize("count", COUNTS)
def test_readv_fills_at_most_the_limit_with_one_call(fd, count):
    data = os.urandom(3 * count)
    os.pwrite(fd, data, 0)
    buffers = [bytearray(3) for _ in range(count)]
    size = 3 * min(count, IOV_MAX)
    assert lowlevel.readv(fd, buffers) == size
    assert b"".join(buffers) == data[:size] + bytes(3 * count - size)
    assert position(fd) == size


@pytest.mark.parametrize("count", COUNTS)
def test_preadv_fills_at_most_the_limit_with_one_call(fd, count):
    data = os.urandom(3 * count)
    os.pwrite(fd, b"xx" + data, 0)
    buffers = [bytearray(3) for _ in range(count)]
    size = 3 * min(count, IOV_MAX)
    assert lowlevel.preadv(fd, buffers, 2) == size
    assert b"".join(buffers) == data[:size] + bytes(3 * count - size)
    assert position(fd) == 0


def test_any_kind_of_buffer_is_written(fd):
    numbers = array("I", [1, 2, 3])
    buffers = (b"a", bytearray(b"b"), memoryview(b"cde")[1:2], numbers)
    assert lowlevel.writev(fd, buffers) == 3 + 12
    assert content(fd) == b"abd" + numbers.tobytes()


def test_reading_stops_short_at_the_end_of_the_file(fd):
    os.pwrite(fd, b"12345", 0)
    buffers = [bytearray(b"...") for _ in range(3)]
    assert lowlevel.readv(fd, buffers) == 5
    assert b"".join(buffers) == b"12345...."
    assert lowlevel.readv(fd, buffers) == 0
    assert lowlevel.preadv(fd, buffers, 5) == 0
    assert lowlevel.preadv(fd, buffers, 4) == 1


def test_a_full_pipe_takes_part_and_then_nothing(pipe):
    reader, writer = pipe
    buffers = [b"x" * 50_000] * 10
    taken = lowlevel.writev(writer, buffers)
    assert 0 < taken < 500_000
    with pytest.raises(BlockingIOError) as caught:
        lowlevel.writev(writer, buffers)
    assert caught.value.errno == errno.EAGAIN
    assert len(os.read(reader, 1_000_000)) == taken


def test_an_empty_pipe_would_block(pipe):
    reader, _ = pipe
    with pytest.raises(BlockingIOError) as caught:
        lowlevel.readv(reader, [bytearray(1)])
    assert caught.value.errno == errno.EAGAIN


def test_sockets_are_written_and_read():
    left, right = socket.socketpair()
    with left, right:
        assert lowlevel.writev(left.fileno(), [b"ab", b"cd"]) == 4
        buffers = [bytearray(3), bytearray(3)]
        assert lowlevel.readv(right.fileno(), buffers) == 4
        assert buffers == [b"abc", b"d\0\0"]


def test_appending_is_stronger_than_an_offset(tmp_path):
    # pwrite(2), BUGS.
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"123")
    assert lowlevel.pwritev(fd, [b"4", b"5"], 0) == 2
    assert content(fd) == b"12345"
    os.close(fd)


CALLS = [
    lambda fd: lowlevel.writev(fd, [b"x"]),
    lambda fd: lowlevel.readv(fd, [bytearray(1)]),
    lambda fd: lowlevel.pwritev(fd, [b"x"], 0),
    lambda fd: lowlevel.preadv(fd, [bytearray(1)], 0),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_descriptor_that_is_closed_is_ebadf(call):
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        call(-1)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("call", CALLS[2:])
def test_what_cannot_seek_is_espipe(call, pipe):
    for fd in pipe:
        with pytest.raises(OSError, match=r"Illegal seek|Bad file") as caught:
            call(fd)
        assert caught.value.errno in (errno.ESPIPE, errno.EBADF)


def test_a_pipe_without_a_reader_is_epipe():
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError) as caught:
        lowlevel.writev(writer, [b"x"])
    assert caught.value.errno == errno.EPIPE
    os.close(writer)


@pytest.mark.parametrize("offset", [-1, -2])
def test_a_negative_offset_is_einval(fd, offset):
    # -1 would be the file's own position to preadv2(2), and CPython calls it.
    with pytest.raises(OSError, match="Invalid argument"):
        lowlevel.pwritev(fd, [b"x"], offset)
    with pytest.raises(OSError, match="Invalid argument"):
        lowlevel.preadv(fd, [bytearray(1)], offset)
    assert content(fd) == b""


@pytest.mark.parametrize("buffers", [["text"], [1], [None], 1])
def test_what_is_no_buffer_is_a_type_error(fd, buffers):
    with pytest.raises(TypeError):
        lowlevel.writev(fd, buffers)
    assert content(fd) == b""


def test_reading_into_what_is_read_only_is_a_buffer_error(fd):
    os.pwrite(fd, b"x", 0)
    with pytest.raises(BufferError):
        lowlevel.readv(fd, [b"no"])
    with pytest.raises(BufferError):
        lowlevel.preadv(fd, [b"no"], 0)
    assert position(fd) == 0


def test_any_iterable_will_do():
    reader, writer = os.pipe()
    try:
        queue = triobatch.Buffers([b"foo", b"bar"])
        assert lowlevel.writev(writer, queue) == 6
        assert queue.nbytes == 6
        assert lowlevel.writev(writer, (b"%d" % i for i in range(5))) == 5
        assert os.read(reader, 20) == b"foobar01234"
    finally:
        os.close(reader)
        os.close(writer)


@each_call
def test_what_has_no_bytes_to_give_is_a_buffer_error(fd, call):
    released = memoryview(bytearray(1))
    released.release()
    with pytest.raises(BufferError):
        call(fd, [released])


@each_call
def test_what_is_not_contiguous_is_a_buffer_error(fd, call):
    os.pwrite(fd, b"content", 0)
    octets = bytearray(4)
    with pytest.raises(BufferError, match="contiguous"):
        call(fd, [bytearray(1), memoryview(octets)[::2]])
    assert position(fd) == 0
    assert content(fd) == b"content"
    octets.append(1)


def test_an_array_of_no_rows_is_an_empty_buffer(fd):
    rows = (ctypes.c_uint16 * 3 * 0)()
    assert lowlevel.writev(fd, [rows, b"ab", rows]) == 2
    os.lseek(fd, 0, os.SEEK_SET)
    room = bytearray(2)
    assert lowlevel.readv(fd, [rows, room, rows]) == 2
    assert room == b"ab"


def test_one_view_of_two_dimensions_is_no_list_of_buffers(fd):
    view = memoryview(bytearray(4)).cast("B", (2, 2))
    with pytest.raises(TypeError, match="iterable of buffers"):
        lowlevel.writev(fd, view)


def test_one_piece_is_no_larger_than_a_copy(fd, system):
    buffers = [bytes(files.COPY_SIZE - 1), b"ab", b"c"]
    written = lowlevel.pwritev(fd, buffers, 0)
    in_one_piece = files._writev is files._write_joined
    assert written == files.COPY_SIZE + (0 if in_one_piece else 2)


@pytest.mark.parametrize("name", ["pwrite", "pread"])
def test_a_system_without_offsets_says_so(fd, monkeypatch, name):
    monkeypatch.delattr(os, name)
    call = {
        "pwrite": files._pwrite_joined,
        "pread": files._pread_and_spread,
    }[name]
    with pytest.raises(OSError, match=f"this system has no {name}v"):
        call(fd, [bytearray(1)], 0)


@pytest.mark.parametrize(
    "error", [ValueError, NotImplementedError, SystemError, KeyError]
)
@pytest.mark.parametrize("name", ["writev", "readv", "pwritev", "preadv"])
def test_what_the_buffers_raise_themselves_comes_out(fd, name, error):
    def buffers():
        yield bytearray(1)
        raise error("of the generator")

    offset = (0,) if name.startswith("p") else ()
    with pytest.raises(error, match="of the generator"):
        getattr(lowlevel, name)(fd, buffers(), *offset)
    assert content(fd) == b""


@pytest.mark.parametrize("name", ["writev", "readv"])
def test_a_buffer_in_the_place_of_many_that_is_closed_is_told(fd, name):
    closed = mmap.mmap(-1, 10)
    closed.close()
    with pytest.raises(BufferError, match="no bytes to give"):
        getattr(lowlevel, name)(fd, closed)


@pytest.mark.parametrize("name", ["writev", "readv", "pwritev", "preadv"])
@exports_lock
def test_what_was_offered_is_let_go_of_by_an_error(name):
    chunk = bytearray(1)
    offset = (0,) if name.startswith("p") else ()
    views = (memoryview(chunk) for _ in range(2))
    with pytest.raises(OSError, match="descriptor") as caught:
        getattr(lowlevel, name)(-1, views, *offset)
    assert caught.value.__traceback__ is not None
    chunk.append(1)
