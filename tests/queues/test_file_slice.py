from __future__ import annotations

import os

import pytest

from triobatch import FileSlice


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
