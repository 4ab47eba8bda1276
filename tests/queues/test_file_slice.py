from __future__ import annotations

import copy
import gzip
import io
import os
import tempfile

import pytest
import trio

from triobatch import FileSlice
from triobatch._queues.file_slice import advance


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), (0, 10)),
        ((0, 0), (0, 0)),
        ((3,), (3, 7)),
        ((3, 4), (3, 4)),
        ((10,), (10, 0)),
        ((0, 10), (0, 10)),
    ],
)
def test_a_slice_is_a_part_of_the_file(file, arguments, part):
    found = FileSlice(file, *arguments)
    assert (found.offset, found.nbytes) == part


@pytest.mark.parametrize(
    "arguments", [(11,), (-1,), (0, 11), (1, 10), (0, -1)]
)
def test_a_part_that_is_not_there_is_refused(file, arguments):
    with pytest.raises(ValueError, match="must be between 0 and"):
        FileSlice(file, *arguments)


@pytest.mark.parametrize("arguments", [(1.0,), ("1",), (0, 1.5)])
def test_places_are_integers(file, arguments):
    with pytest.raises(TypeError, match="must be an int, not"):
        FileSlice(file, *arguments)


def test_a_closed_file_is_refused(file):
    file.close()
    with pytest.raises(ValueError, match="closed"):
        FileSlice(file)


def test_the_position_of_the_file_is_left_alone(file):
    file.seek(4)
    FileSlice(file, 2)
    assert file.read() == b"456789"
    assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 10


@pytest.mark.skipif(
    "TRIOBATCH_SIMULATE" in os.environ,
    reason="tempfile was made for the system that there is",
)
@pytest.mark.parametrize(
    "make", [tempfile.TemporaryFile, tempfile.NamedTemporaryFile]
)
def test_a_temporary_file_is_a_file(make):
    with make() as file:
        file.write(b"abc")
        file.flush()
        for one in (file, trio.wrap_file(file)):
            part = FileSlice(one, 1)
            assert part.nbytes == 2
            os.lseek(part.file.fileno(), 1, os.SEEK_SET)
            assert os.read(part.file.fileno(), 2) == b"bc"


def test_what_is_kept_in_memory_until_it_is_large_is_no_file():
    with (
        tempfile.SpooledTemporaryFile() as file,
        pytest.raises(TypeError, match="not SpooledTemporaryFile"),
    ):
        FileSlice(file)


def test_what_was_sent_is_dropped_from_the_front(file):
    part = FileSlice(file, 2, 7)
    advance(part, 3)
    assert (part.offset, part.nbytes) == (5, 4)
    advance(part, 0)
    assert (part.offset, part.nbytes) == (5, 4)
    assert repr(part) == "<FileSlice: 4 bytes from 5 left>"


def test_a_copy_has_a_position_of_its_own(file):
    part = FileSlice(file, 2, 7)
    other = copy.copy(part)
    advance(part, 3)
    assert (other.file, other.offset, other.nbytes) == (part.file, 2, 7)


def test_nobody_is_sending_a_new_one(file):
    assert FileSlice(file)._claimed is False


@pytest.mark.parametrize("make", [io.BytesIO, io.StringIO, object])
def test_what_is_no_file_is_refused(make):
    with pytest.raises(
        TypeError, match=f"in a binary mode, not {make.__name__}"
    ):
        FileSlice(make())


def test_a_file_whose_descriptor_has_other_bytes_is_refused(tmp_path):
    with gzip.open(tmp_path / "file.gz", "wb") as packed:
        packed.write(b"0123456789")
    with (
        gzip.open(tmp_path / "file.gz") as packed,
        pytest.raises(TypeError, match="not GzipFile"),
    ):
        FileSlice(packed)
    with (
        (tmp_path / "file.gz").open(encoding="latin-1") as text,
        pytest.raises(TypeError, match="not TextIOWrapper"),
    ):
        FileSlice(text)


class Limited:
    """A file that ends early, as servers have them for a request's body."""

    def __init__(self, file, name):
        setattr(self, name, file)
        self._file = file

    def read(self, size=-1):
        return self._file.read(min(size % 5, 4))


class LimitedAsync(Limited):
    """One with the file in a property, as Trio's wrapper has it."""

    @property
    def wrapped(self):
        return self._file


class LimitedTemporary(tempfile._TemporaryFileWrapper):
    def __init__(self, file, name):
        super().__init__(file, name, delete=False)

    def read(self, size=-1):
        return self.file.read(min(size % 5, 4))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Limited, "file"),
        (Limited, "wrapped"),
        (Limited, "raw"),
        (LimitedAsync, "_file"),
        (LimitedTemporary, "name"),
    ],
)
def test_the_file_in_somebody_elses_wrapper_is_not_taken_for_it(
    file, kind, name
):
    limited = kind(file, name)
    with pytest.raises(TypeError, match=f"binary mode, not {kind.__name__}"):
        FileSlice(limited)
    getattr(limited, "close", file.close)()


def test_a_buffer_over_what_is_no_descriptor_is_refused():
    class Raw(io.RawIOBase):
        def readable(self):
            return True

    with pytest.raises(TypeError, match="not BufferedReader"):
        FileSlice(io.BufferedReader(Raw()))


def test_a_file_that_is_only_written_is_refused(tmp_path):
    with (
        (tmp_path / "file").open("wb", buffering=0) as file,
        pytest.raises(ValueError, match="opened for reading"),
    ):
        FileSlice(file)


def test_a_pipe_is_no_regular_file():
    reading, writing = os.pipe()
    os.close(writing)
    with (
        open(reading, "rb") as pipe,
        pytest.raises(ValueError, match="must be a regular file"),
    ):
        FileSlice(pipe)
