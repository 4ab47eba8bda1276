"""Copies of what is a subclass of a queue."""

from __future__ import annotations

import copy

import pytest

from triobatch import Buffers, Datagrams, FileSlice

A = ("127.0.0.1", 1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        yield file


def test_a_copy_of_buffers_has_what_that_has():
    class Named(Buffers):
        def __init__(self, name):
            super().__init__([b"x"])
            self.name = name

    twin = Named("n").copy()
    assert (type(twin), twin.name, list(twin)) == (Named, "n", [b"x"])


def test_a_copy_of_datagrams_has_what_that_has():
    class Named(Datagrams):
        def __init__(self, name):
            super().__init__([(b"x", A)])
            self.name = name

    twin = Named("n").copy()
    assert (type(twin), twin.name, list(twin)) == (Named, "n", [(b"x", A)])


def test_a_copy_of_a_part_has_what_that_has(file):
    class Named(FileSlice):
        def __init__(self, name):
            super().__init__(file, 2, 7)
            self.name = name

    twin = copy.copy(Named("n"))
    assert (type(twin), twin.name) == (Named, "n")
    assert (twin.offset, twin.nbytes) == (2, 7)
