"""Messages for many streams, from lists to columns and back."""

from __future__ import annotations

import errno
import gc
import sys

import extensions
import pytest

from triobatch._core.messages import as_pieces, flatten

chunks_c = extensions.load("triobatch._core._chunks_c", extensions.CHUNKS)
core = extensions.load("triobatch._core._c", extensions.C_CORE)
ffi = core.ffi

BATCHES = [
    [],
    [b"a"],
    [[b"a"]],
    [[]],
    [b""],
    [b"a", [b"b", b"", b"c"], [], b"d"],
    [[b"%d" % i for i in range(100)], b"x" * 10_000],
]
NOT_MESSAGES = [
    [b"a", "b"],
    [b"a", bytearray(b"b")],
    [[b"a", memoryview(b"b")]],
    [[b"a", None]],
    [(b"a",)],
    [b"a", [[b"b"]]],
    [type("Own", (list,), {})([b"a"])],
    [type("Own", (bytes,), {})(b"a")],
]


class Columns:
    def __init__(self, room):
        self.iovecs = ffi.new("struct iovec[]", room + 1)
        self.counts = ffi.new("uint32_t[]", 10)
        self.room = room

    def addresses(self):
        return [
            int(ffi.cast("uintptr_t", column))
            for column in (self.iovecs, self.counts)
        ]

    def flatten(self, messages):
        return chunks_c.flatten(messages, *self.addresses(), self.room)


@pytest.mark.parametrize("messages", BATCHES)
def test_both_find_the_same_pieces(messages):
    pieces, counts = flatten(messages)
    assert pieces == [
        piece for message in messages for piece in as_pieces(message)
    ]
    columns = Columns(len(pieces))
    assert columns.flatten(messages) == pieces
    assert list(columns.counts[0 : len(messages)]) == counts
    for piece, iovec in zip(pieces, columns.iovecs, strict=False):
        assert ffi.buffer(iovec.iov_base, iovec.iov_len)[:] == piece
    # And nothing behind them.
    assert columns.iovecs[len(pieces)].iov_base == ffi.NULL


@pytest.mark.parametrize("messages", NOT_MESSAGES)
def test_what_is_no_message_is_refused(messages):
    assert Columns(10).flatten(messages) is None
    with pytest.raises(TypeError, match="bytes or a list of bytes, not "):
        flatten(messages)


def test_more_than_there_is_room_for_is_told_and_not_written():
    columns = Columns(2)
    assert columns.flatten([b"a", [b"b", b"c"]]) == 3
    assert columns.iovecs[0].iov_base == ffi.NULL


def test_the_pieces_are_kept_whatever_becomes_of_the_lists():
    messages = [[bytes([i]) * 1000 for i in range(50)]]
    columns = Columns(50)
    pieces = columns.flatten(messages)
    messages[0].clear()
    gc.collect()
    assert columns.iovecs[49].iov_base == ffi.from_buffer(pieces[49])
    assert ffi.buffer(columns.iovecs[49].iov_base, 1000)[:] == b"1" * 1000


class Meddling:
    """Garbage that changes a list when it is collected."""

    def __init__(self, change):
        self.change = change
        self.itself = self

    def __del__(self):
        self.change()


@pytest.mark.parametrize(
    "change",
    [
        lambda messages: messages.clear(),
        lambda messages: messages.append(b"more"),
        lambda messages: messages[1].clear(),
        lambda messages: messages[1].extend([b"x"] * 1000),
        lambda messages: messages[0].append("no bytes"),
        lambda messages: messages.__setitem__(0, "no message"),
    ],
)
def test_a_list_that_changes_under_way_is_not_believed(change):
    messages = [[b"a"], [b"b", b"c"], b"d"]
    columns = Columns(4)
    iovecs, counts = columns.addresses()
    gc.collect()
    thresholds = gc.get_threshold()
    gc.disable()
    Meddling(lambda: change(messages))
    gc.set_threshold(1)
    gc.enable()
    # Up to Python 3.11 the collector runs as soon as the list is made.
    try:
        found = chunks_c.flatten(messages, iovecs, counts, 4)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert columns.iovecs[4].iov_base == ffi.NULL
    if sys.version_info < (3, 12):
        assert found is None
    else:
        assert found == [b"a", b"b", b"c", b"d"]


def split(data, sizes):
    memory = ffi.new("char[]", data)
    column = ffi.new("ssize_t[]", sizes)
    return chunks_c.split(
        int(ffi.cast("uintptr_t", memory)),
        int(ffi.cast("uintptr_t", column)),
        len(sizes),
    )


def test_what_was_received_is_split_by_size():
    again = -errno.EAGAIN
    assert split(b"abcdef", [2, again, 0, 1, 3]) == [
        b"ab",
        again,
        b"",
        b"c",
        b"def",
    ]
    assert split(b"", []) == []


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("split", (0, 1, 1)),
        ("split", (1, 0, 1)),
        ("flatten", ([], 0, 1, 1)),
        ("flatten", ([], 1, 0, 1)),
    ],
)
def test_no_address_is_refused(call, arguments):
    with pytest.raises(ValueError, match="must not be 0"):
        getattr(chunks_c, call)(*arguments)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("split", (1, 1)),
        ("split", ("1", 1, 1)),
        ("split", (1, 1, "1")),
        ("flatten", ([], 1, 1)),
        ("flatten", ((), 1, 1, 1)),
        ("flatten", ([], "1", 1, 1)),
        ("flatten", ([], 1, 1, "1")),
    ],
)
def test_other_arguments_are_refused(call, arguments):
    with pytest.raises(TypeError):
        getattr(chunks_c, call)(*arguments)


def test_a_negative_count_is_refused():
    with pytest.raises(SystemError):
        chunks_c.split(1, 1, -1)
