"""Arithmetic over lists of chunks: in Python, and the extension beside it."""

import ctypes
import importlib.util
import os
from array import array

import extensions
import pytest
from helpers import is_exported
from hypothesis import given
from hypothesis import strategies as st

from triobatch._core import choice as _core_choice
from triobatch._core import chunks as _chunks
from triobatch._queues.views import take_in


def load_python_twin():
    """Execute ``_chunks.py`` as where there is no extension."""
    spec = importlib.util.spec_from_file_location(
        "chunks_in_python", _chunks.__file__
    )
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_core_choice, "CORE", "python")
        spec.loader.exec_module(module)
    return module


python = load_python_twin()


@pytest.fixture(scope="module")
def extension():
    return extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)


@pytest.fixture(params=["python", "extension"])
def twin(request):
    if request.param == "python":
        return python
    return request.getfixturevalue("extension")


def test_the_extension_serves_where_the_c_core_does():
    if _core_choice.CORE == "python":
        assert _chunks.locate.__module__ == "triobatch._core.chunks"
    else:
        extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
        assert _chunks.locate.__module__ == "triobatch._core._chunks_c"
    assert python.locate.__module__ == "chunks_in_python"


def test_two_of_the_extensions_functions_have_a_twin_in_python(extension):
    offered = {name for name in vars(extension) if not name.startswith("_")}
    assert {name for name in offered if hasattr(python, name)} == {
        "locate",
        "measure",
    }
    assert offered - {"locate", "measure"} == {
        "copy",
        "facts",
        "flatten",
        "pack",
        "pack_pairs",
        "take",
        "take_messages",
        "point",
        "split",
    }


# measure


@pytest.mark.parametrize(
    ("chunks", "size"),
    [
        ([], 0),
        ([b"a"], 1),
        ([b"abc", b"de"], 5),
        ([b""], -1),
        ([b"abc", b""], -1),
        ([b"abc", bytearray(b"d")], -1),
        ([bytearray(b"d"), b"abc"], -1),
        ([memoryview(b"abc")], -1),
        (["abc"], -1),
        ([None], -1),
        ([b"abc", 3], -1),
        ([type("Bytes", (bytes,), {})(b"abc")], -1),
    ],
)
def test_measure_adds_up_lists_of_plain_bytes_only(twin, chunks, size):
    assert twin.measure(chunks) == size


# locate


@pytest.mark.parametrize(
    ("index", "offset", "size", "expected"),
    [
        (0, 0, 0, (0, 0)),
        (0, 0, 1, (0, 1)),
        (0, 0, 2, (0, 2)),
        (0, 0, 3, (1, 0)),
        (0, 0, 4, (2, 0)),
        (0, 0, 5, (2, 1)),
        (0, 0, 8, (3, 0)),
        (0, 0, 9, (3, 0)),
        (0, 0, 2**63 - 1, (3, 0)),
        (0, 2, 0, (0, 2)),
        (0, 2, 1, (1, 0)),
        (0, 2, 3, (2, 1)),
        (1, 0, 1, (2, 0)),
        (2, 3, 0, (2, 3)),
        (2, 3, 1, (3, 0)),
        (3, 0, 0, (3, 0)),
        (3, 0, 7, (3, 0)),
    ],
)
def test_locate_finds_a_position(twin, index, offset, size, expected):
    chunks = [b"foo", memoryview(b"x"), b"bars"]
    assert twin.locate(chunks, index, offset, size) == expected


def test_nothing_lies_in_an_empty_list(twin):
    assert twin.locate([], 0, 0, 0) == (0, 0)
    assert twin.locate([], 0, 0, 5) == (0, 0)


def test_locate_never_looks_behind_its_start(twin):
    # Consumed slots are None.
    assert twin.locate([None, None, b"foo"], 2, 1, 1) == (2, 2)


# front


@pytest.mark.parametrize(
    ("index", "offset", "size", "expected"),
    [
        (0, 0, 0, []),
        (0, 0, 2, [b"fo"]),
        (0, 0, 3, [b"foo"]),
        (0, 0, 4, [b"foo", b"b"]),
        (0, 0, 100, [b"foo", b"bars"]),
        (0, 1, 1, [b"o"]),
        (0, 1, 2, [b"oo"]),
        (0, 1, 3, [b"oo", b"b"]),
        (0, 1, 0, []),
        (1, 3, 1, [b"s"]),
        (1, 1, 2, [b"ar"]),
        (2, 0, 4, []),
    ],
)
def test_front_returns_what_lies_there(index, offset, size, expected):
    for chunks in ([b"foo", b"bars"], [memoryview(b"foo"), b"bars"]):
        found = _chunks.front(chunks, index, offset, size)
        assert list(map(bytes, found)) == expected


def test_front_hands_out_whole_bytes_as_they_are():
    chunks = [b"foo", b"bar", b"baz"]
    assert _chunks.front(chunks, 1, 0, 5)[0] is chunks[1]


# The twins beside each other

chunk_lists = st.lists(
    st.binary(min_size=1, max_size=10).flatmap(
        lambda data: st.sampled_from((data, memoryview(data)))
    ),
    max_size=10,
)


@st.composite
def positions(draw):
    chunks = draw(chunk_lists)
    index = draw(st.integers(0, len(chunks)))
    last = len(chunks[index]) - 1 if index < len(chunks) else 0
    return chunks, index, draw(st.integers(0, last))


@given(position=positions(), size=st.integers(0, 120))
def test_both_locate_the_same(extension, position, size):
    expected = python.locate(*position, size)
    assert extension.locate(*position, size) == expected


@given(position=positions(), size=st.integers(0, 120))
def test_front_is_that_much_of_the_whole(position, size):
    chunks, index, offset = position
    whole = b"".join(chunks[index:])[offset:]
    assert b"".join(python.front(*position, size)) == whole[:size]


@given(
    chunks=st.lists(
        st.binary(max_size=4)
        | st.sampled_from([bytearray(b"x"), memoryview(b"x"), "x", 3, None])
    )
)
def test_both_measure_the_same(extension, chunks):
    assert extension.measure(chunks) == python.measure(chunks)


@given(position=positions(), room=st.integers(0, 60))
def test_copy_takes_whole_chunks_of_bytes(extension, position, room):
    chunks, index, offset = position
    memory = ctypes.create_string_buffer(b"." * 70, 70)
    size, stop = extension.copy(
        chunks, index, offset, ctypes.addressof(memory), room
    )
    assert size <= room
    copied = chunks[index:stop]
    assert all(type(chunk) is bytes for chunk in copied)
    assert memory.raw[:size] == b"".join(copied)[offset:]
    assert memory.raw[size:] == b"." * (70 - size)
    if stop < len(chunks):
        skipped = offset if stop == index else 0
        left = len(chunks[stop]) - skipped
        assert type(chunks[stop]) is not bytes or size + left > room


class Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


@given(position=positions())
def test_point_gives_each_chunk_its_iovec(extension, position):
    chunks, index, offset = position
    chunks = chunks[index:]
    iovecs = (Iovec * (len(chunks) + 1))()
    iovecs[len(chunks)].size = 12345
    pointed = extension.point(chunks, offset, ctypes.addressof(iovecs))
    assert pointed == all(type(chunk) is bytes for chunk in chunks)
    if pointed:
        seen = [ctypes.string_at(iov.base, iov.size) for iov in iovecs[:-1]]
        assert b"".join(seen) == b"".join(chunks)[offset:]
        assert list(map(len, seen[1:])) == list(map(len, chunks[1:]))
    assert iovecs[len(chunks)].size == 12345


# Wrong arguments end in an exception, never in a crash.

memory = ctypes.create_string_buffer(64)
HERE = ctypes.addressof(memory)
HUGE = 2**63
LISTS = [(), b"abc", None, 3, "abc", iter([]), {}, array("B", b"abc")]


@pytest.mark.parametrize(
    "chunks", LISTS, ids=lambda chunks: type(chunks).__name__
)
def test_what_is_not_a_list_is_refused(extension, chunks):
    for call in (
        lambda: extension.measure(chunks),
        lambda: extension.locate(chunks, 0, 0, 0),
        lambda: extension.copy(chunks, 0, 0, HERE, 64),
        lambda: extension.point(chunks, 0, HERE),
    ):
        with pytest.raises(TypeError, match="must be a list"):
            call()


@pytest.mark.parametrize(
    ("name", "right"),
    [("measure", 1), ("locate", 4), ("copy", 5), ("point", 3)],
)
def test_a_wrong_number_of_arguments_is_refused(extension, name, right):
    for count in {*range(8)} - {right}:
        with pytest.raises(TypeError):
            getattr(extension, name)(*[[], 0, 0, HERE, 0, 0, 0, 0][:count])


@pytest.mark.parametrize("bad", ["0", None, 0.0, b"0", []])
def test_what_is_not_an_integer_is_refused(extension, bad):
    good = {"locate": (0, 0, 0), "copy": (0, 0, HERE, 8), "point": (0, HERE)}
    for name, arguments in good.items():
        for place in range(len(arguments)):
            wrong = (*arguments[:place], bad, *arguments[place + 1 :])
            with pytest.raises(TypeError):
                getattr(extension, name)([b"abc"], *wrong)


@pytest.mark.parametrize("bad", [-1, -(2**62), -HUGE, HUGE, -HUGE - 1, 2**200])
def test_negative_and_huge_numbers_are_refused(extension, bad):
    for name, arguments in (
        ("locate", (bad, 0, 0)),
        ("locate", (0, bad, 0)),
        ("locate", (0, 0, bad)),
        ("copy", (bad, 0, HERE, 8)),
        ("copy", (0, bad, HERE, 8)),
        ("copy", (0, 0, HERE, bad)),
        ("point", (bad, HERE)),
    ):
        with pytest.raises((ValueError, OverflowError)):
            getattr(extension, name)([b"abc"], *arguments)


@pytest.mark.parametrize("offset", [4, 64, HUGE - 1])
def test_an_offset_past_its_chunk_is_refused(extension, offset):
    for name, arguments in (
        ("locate", (0, offset, HUGE - 1)),
        ("copy", (0, offset, HERE, 64)),
        ("point", (offset, HERE)),
    ):
        with pytest.raises(ValueError, match="past the end of its chunk"):
            getattr(extension, name)([b"abc"], *arguments)


@pytest.mark.parametrize("index", [1, 2, HUGE - 1])
def test_an_index_past_the_list_finds_nothing(extension, index):
    assert extension.locate([b"abc"], index, 0, 5)[1] == 0
    assert extension.copy([b"abc"], index, 0, HERE, 64) == (0, index)


def test_chunks_without_a_size_are_refused(extension):
    with pytest.raises(TypeError):
        extension.locate([b"abc", None], 0, 0, 5)
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        extension.locate([b"abc", view], 0, 0, 5)


def test_a_list_that_shrinks_under_way_is_told(extension):
    class Shrinking:
        def __len__(self):
            chunks.clear()
            return 1

    chunks = [Shrinking(), b"abc"]
    with pytest.raises(IndexError):
        extension.locate(chunks, 0, 0, 5)


def test_the_extension_keeps_no_reference(extension):
    source = bytearray(b"abc")
    kept, _ = take_in([source])
    extension.locate(kept, 0, 0, 2)
    extension.copy(kept, 0, 0, HERE, 8)
    extension.point(kept, 0, HERE)
    kept[0].release()
    assert not is_exported(source)


@pytest.mark.parametrize(
    ("stated", "most"),
    [(ValueError, 16), (OSError, 16), (-1, 1024), (4096, 1024), (100, 100)],
)
def test_a_call_takes_as_many_buffers_as_the_system_says(
    monkeypatch, stated, most
):
    def sysconf(name):
        assert name == "SC_IOV_MAX"
        if isinstance(stated, int):
            return stated
        raise stated

    monkeypatch.setattr(os, "sysconf", sysconf, raising=False)
    assert _chunks._system_iov_max() == most
