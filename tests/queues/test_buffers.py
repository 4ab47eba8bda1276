"""Buffers as a queue: what goes in, what is left, what comes out."""

import copy
import ctypes
import mmap
import pickle
import sys
from array import array

import pytest
from helpers import exports_lock
from traced import tracemalloc

from triobatch import Buffers
from triobatch._queues.buffers import (
    drop,
    first_chunks,
    first_piece,
    position,
)
from triobatch._resource import Claim

# Linux's, which Python does not name everywhere.
MAP_NORESERVE = 0x4000


def contents(buffers):
    return [bytes(chunk) for chunk in buffers]


def lines_run(function, *args):
    """Count the lines of Python that a call runs."""
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        # Only ours: a collection of garbage runs other people's callbacks.
        ours = frame.f_globals.get("__name__", "").startswith("triobatch.")
        lines += ours and event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return lines


def peak_of(function, *args):
    """Return the most memory, in bytes, that a call had allocated."""
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# What is left


def test_a_new_queue_is_empty():
    buffers = Buffers()
    assert (buffers.nbytes, len(buffers), bool(buffers)) == (0, 0, False)
    assert list(buffers) == []
    assert bytes(buffers) == b""


def test_chunks_are_kept_in_order_and_counted():
    buffers = Buffers([b"header", bytearray(b"body"), memoryview(b"end")])
    assert (buffers.nbytes, len(buffers), bool(buffers)) == (13, 3, True)
    assert contents(buffers) == [b"header", b"body", b"end"]
    assert bytes(buffers) == b"headerbodyend"


@pytest.mark.parametrize(
    "chunks",
    [
        [b"", b""],
        [b"", bytearray(), memoryview(b""), array("I")],
        [memoryview(b"abc")[1:1]],
    ],
)
def test_empty_chunks_are_dropped_on_entry(chunks):
    buffers = Buffers(chunks)
    assert (buffers.nbytes, len(buffers), bool(buffers)) == (0, 0, False)
    buffers.append(b"")
    assert len(buffers) == 0
    buffers.extend([b"", b"x", bytearray()])
    assert contents(buffers) == [b"x"]


def test_sizes_are_bytes_whatever_the_item():
    numbers = array("I", [1, 2, 3])
    buffers = Buffers([memoryview(numbers)])
    assert buffers.nbytes == 12
    assert bytes(buffers) == numbers.tobytes()
    buffers.consume(5)
    assert bytes(buffers) == numbers.tobytes()[5:]


def test_append_and_extend_add_at_the_end():
    buffers = Buffers([b"a"])
    buffers.append(b"b")
    buffers.extend(chunk for chunk in (b"c", bytearray(b"d")))
    buffers.append(bytearray(b"e"))
    assert contents(buffers) == [b"a", b"b", b"c", b"d", b"e"]


def test_the_list_that_was_given_stays_the_callers():
    chunks = [b"abc", b"def"]
    buffers = Buffers(chunks)
    buffers.append(b"ghi")
    buffers.consume(4)
    assert chunks == [b"abc", b"def"]
    chunks.clear()
    assert bytes(buffers) == b"efghi"


@pytest.mark.parametrize(
    ("size", "piece"), [(0, b""), (2, b"ab"), (3, b"abc"), (4, b"abcd")]
)
def test_a_piece_is_joined_where_it_has_parts(size, piece):
    buffers = Buffers([b"abc", b"def"])
    assert bytes(first_piece(buffers, size)) == piece
    assert buffers.nbytes == 6


def test_a_piece_that_is_a_chunk_is_not_copied():
    chunk = b"abc"
    assert first_piece(Buffers([chunk, b"def"]), 3) is chunk


@exports_lock
def test_cleared_buffers_are_let_go_of_whoever_looks_at_them():
    data = bytearray(b"abc")
    buffers = Buffers([data])
    chunks, *_ = position(buffers)
    buffers.clear()
    data.append(0)
    assert len(chunks) == 1


def test_iterating_trims_the_first_chunk_and_consumes_nothing():
    buffers = Buffers([b"foo", bytearray(b"bar")])
    buffers.consume(2)
    assert contents(buffers) == [b"o", b"bar"]
    assert contents(buffers) == [b"o", b"bar"]
    assert buffers.nbytes == 4


def test_iterating_hands_out_views_that_outlive_the_queue():
    source = bytearray(b"foobar")
    buffers = Buffers([source])
    (view,) = buffers
    buffers.clear()
    assert bytes(view) == b"foobar"
    view.release()
    source.append(0)


def test_releasing_what_was_iterated_leaves_the_queue_whole():
    buffers = Buffers([bytearray(b"foo"), bytearray(b"bar")])
    buffers.consume(1)
    for view in buffers:
        view.release()
    assert bytes(buffers) == b"oobar"


def test_a_queue_can_be_added_to_itself():
    buffers = Buffers([b"abc", bytearray(b"def")])
    buffers.consume(1)
    buffers.extend(buffers)
    assert contents(buffers) == [b"bc", b"def", b"bc", b"def"]


def test_repr_tells_what_is_left():
    buffers = Buffers([b"abc", b"def"])
    buffers.consume(3)
    assert repr(buffers) == "<Buffers: 1 chunks, 3 bytes left>"


# consume


@pytest.mark.parametrize(
    ("chunks", "size", "left"),
    [
        # Go's own table: internal/poll's TestConsume, net's
        # TestBuffers_consume. nil is an empty slice there.
        ([b"foo", b"bar"], 0, [b"foo", b"bar"]),
        ([b"foo", b"bar"], 2, [b"o", b"bar"]),
        ([b"foo", b"bar"], 3, [b"bar"]),
        ([b"foo", b"bar"], 4, [b"ar"]),
        ([b"", b"", b"", b"bar"], 1, [b"ar"]),
        ([b"", b"", b"", b"foo"], 0, [b"foo"]),
        ([b"", b"", b""], 0, []),
        # And the ends.
        ([b"foo", b"bar"], 5, [b"r"]),
        ([b"foo", b"bar"], 6, []),
        ([b"foo"], 3, []),
        ([], 0, []),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_consume_drops_bytes_from_the_front(kind, chunks, size, left):
    buffers = Buffers(map(kind, chunks))
    before = buffers.nbytes
    buffers.consume(size)
    assert contents(buffers) == left
    assert len(buffers) == len(left)
    assert buffers.nbytes == before - size


def test_consume_resumes_inside_a_chunk():
    buffers = Buffers([b"foobar", b"baz"])
    for left in (b"oobarbaz", b"obarbaz", b"barbaz", b"arbaz"):
        buffers.consume(1)
        assert bytes(buffers) == left
    buffers.consume(4)
    assert contents(buffers) == [b"z"]


@pytest.mark.parametrize("size", [-1, 4, 2**63, 2**100, -(2**100)])
def test_consume_refuses_more_than_there_is(size):
    buffers = Buffers([b"foo"])
    with pytest.raises(ValueError, match=f"between 0 and 3, not {size}$"):
        buffers.consume(size)
    assert bytes(buffers) == b"foo"


@pytest.mark.parametrize("size", [1.0, "1", None])
def test_consume_refuses_what_is_not_a_whole_number(size):
    buffers = Buffers([b"foo"])
    with pytest.raises(TypeError):
        buffers.consume(size)
    assert bytes(buffers) == b"foo"


def test_a_queue_can_be_filled_again_after_it_ran_dry():
    buffers = Buffers([b"foo", bytearray(b"bar")])
    buffers.consume(6)
    buffers.extend([b"baz", b"qux"])
    buffers.consume(4)
    assert (contents(buffers), buffers.nbytes) == ([b"ux"], 2)


# read, readinto


def test_read_copies_everything_by_default():
    buffers = Buffers([b"foo", bytearray(b"bar")])
    assert buffers.read() == b"foobar"
    assert not buffers
    assert buffers.read() == b""


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (0, b""),
        (1, b"f"),
        (3, b"foo"),
        (4, b"foob"),
        (6, b"foobar"),
        (7, b"foobar"),
        (2**100, b"foobar"),
        (-1, b"foobar"),
    ],
)
def test_read_consumes_what_it_copies(size, read):
    buffers = Buffers([b"foo", bytearray(b"bar")])
    assert buffers.read(size) == read
    assert bytes(buffers) == b"foobar"[len(read) :]


def test_read_through_many_slices_as_go_does():
    # Go's TestBuffers_read: six slices through io.ReadAll.
    story = [
        b"once upon a time in ",
        b"Gopherland ",
        b"... ",
        b"fin",
        b".",
        b" ",
    ]
    buffers = Buffers(story)
    assert b"".join(iter(lambda: buffers.read(8), b"")) == b"".join(story)
    assert len(buffers) == 0


def test_read_returns_bytes_that_change_no_more():
    source = bytearray(b"foo")
    read = Buffers([source]).read()
    source[:] = b"xxx"
    assert (read, type(read)) == (b"foo", bytes)


@pytest.mark.parametrize("room", [0, 1, 3, 4, 6, 7, 100])
def test_readinto_fills_what_it_can(room):
    buffers = Buffers([b"foo", bytearray(b"bar")])
    target = bytearray(b"." * room)
    expected = b"foobar"[:room]
    assert buffers.readinto(target) == len(expected)
    assert target == expected + b"." * (room - len(expected))
    assert bytes(buffers) == b"foobar"[len(expected) :]
    target.append(0)


def test_readinto_counts_the_bytes_of_wide_items():
    target = array("I", [0, 0])
    assert (
        Buffers([b"\x01\x00\x00\x00\x02\x00\x00\x00\x03"]).readinto(target)
        == 8
    )
    assert target.tobytes() == b"\x01\x00\x00\x00\x02\x00\x00\x00"
    target.append(0)


@pytest.mark.parametrize("kind", ["B", "I"])
def test_readinto_of_no_room_reads_nothing(kind):
    buffers = Buffers([b"foo"])
    assert buffers.readinto(array(kind)) == 0
    assert bytes(buffers) == b"foo"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (b"...", TypeError),
        (memoryview(b"..."), TypeError),
        ("...", TypeError),
        (3, TypeError),
        (None, TypeError),
        (memoryview(bytearray(6))[::2], BufferError),
    ],
)
def test_readinto_refuses_with_nothing_consumed(target, error):
    buffers = Buffers([b"foo"])
    with pytest.raises(error):
        buffers.readinto(target)
    assert bytes(buffers) == b"foo"


# copy, clear


@exports_lock
def test_a_copy_shares_the_chunks_and_has_its_own_position():
    source = bytearray(b"bar")
    buffers = Buffers([b"foo", source])
    buffers.consume(1)
    twin = buffers.copy()
    assert (contents(twin), twin.nbytes) == ([b"oo", b"bar"], 5)
    buffers.consume(3)
    twin.append(b"baz")
    source[:] = b"BAR"
    assert bytes(buffers) == b"AR"
    assert bytes(twin) == b"ooBARbaz"


def test_clear_leaves_a_queue_as_good_as_new():
    buffers = Buffers([b"foo", bytearray(b"bar")])
    buffers.consume(1)
    buffers.clear()
    buffers.clear()
    assert (buffers.nbytes, len(buffers)) == (0, 0)
    buffers.append(b"baz")
    assert contents(buffers) == [b"baz"]


# What is refused


def half_way():
    yield b"x"
    yield bytearray(b"y")
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ([b"x", "text"], TypeError, "chunk 1 must be .*, not str"),
        ([bytearray(b"x"), 7], TypeError, "chunk 1 must be .*, not int"),
        ([None], TypeError, "chunk 0 must be .*, not NoneType"),
        ([[b"x"]], TypeError, "chunk 0 must be .*, not list"),
        ([b"x", memoryview(b"abcd")[::2]], BufferError, "not contiguous"),
        (half_way(), ZeroDivisionError, None),
        ("text", TypeError, "must be an iterable .*, not str"),
        (b"one", TypeError, "must be an iterable .*, not bytes"),
        (
            bytearray(b"one"),
            TypeError,
            "must be an iterable .*, not bytearray",
        ),
        (memoryview(b"one"), TypeError, "an iterable .*, not memoryview"),
        (array("B", b"one"), TypeError, "must be an iterable .*, not array"),
        (7, TypeError, "must be an iterable of .*, not int"),
        (None, TypeError, "an iterable of .*, not NoneType"),
    ],
)
def test_what_is_refused_changes_nothing(chunks, error, message):
    buffers = Buffers([b"foo", bytearray(b"bar")])
    buffers.consume(1)
    with pytest.raises(error, match=message):
        buffers.extend(chunks)
    assert contents(buffers) == [b"oo", b"bar"]
    assert buffers.nbytes == 5


@pytest.mark.parametrize("chunk", ["text", 7, None, [b"x"]])
def test_append_refuses_what_is_not_a_buffer(chunk):
    buffers = Buffers([b"foo"])
    with pytest.raises(TypeError, match="must be a bytes-like object"):
        buffers.append(chunk)
    assert bytes(buffers) == b"foo"


def test_a_constructor_takes_the_same_as_extend():
    with pytest.raises(TypeError, match="chunk 0"):
        Buffers([7])
    with pytest.raises(TypeError, match="iterable"):
        Buffers(b"one")


@pytest.mark.parametrize(
    "change",
    [
        lambda buffers: buffers.consume(0),
        lambda buffers: buffers.read(0),
        lambda buffers: buffers.readinto(bytearray()),
        lambda buffers: buffers.clear(),
    ],
)
def test_nobody_consumes_what_is_being_sent(change):
    buffers = Buffers([b"foo"])
    with Claim(buffers):
        with pytest.raises(BufferError, match="being sent"):
            change(buffers)
        buffers.append(b"bar")
        assert bytes(buffers) == b"foobar"
    change(buffers)


# What it costs


@pytest.mark.parametrize("make", [list, tuple, iter])
def test_bytes_are_taken_in_without_a_python_loop(make):
    few, many = make([b"x"] * 10), make([b"x"] * 1000)
    assert lines_run(Buffers, few) == lines_run(Buffers, many)


def test_counting_does_not_look_at_the_chunks():
    few, many = Buffers([b"x"] * 10), Buffers([bytearray(b"x")] * 1000)
    for count in (len, bool, lambda buffers: buffers.nbytes):
        assert lines_run(count, few) == lines_run(count, many)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_consuming_runs_no_line_for_the_chunks_that_stay(kind):
    few = Buffers([kind(b"xx")] * 100)
    many = Buffers([kind(b"xx")] * 10_000)
    for size in (1, 1, 2, 3, 5, 7):
        assert lines_run(few.consume, size) == lines_run(many.consume, size)


def test_consuming_moves_no_chunk_that_stays_but_once_on_average():
    count = 10_000
    buffers = Buffers([b"x"] * count)
    moved = slots = 0
    while buffers:
        buffers.consume(1)
        if len(buffers._chunks) != slots:
            slots = len(buffers._chunks)
            moved += slots
    # The first look counts all of the slots, unmoved.
    assert moved - count <= count


def test_the_slots_of_consumed_chunks_do_not_pile_up():
    buffers = Buffers([b"x"] * 10)
    for _ in range(1000):
        buffers.append(b"y")
        buffers.consume(1)
        assert len(buffers._chunks) <= 2 * len(buffers) + 1


def test_consuming_copies_no_list():
    buffers = Buffers([b"x"] * 100_000)

    def consume_a_few():
        for _ in range(100):
            buffers.consume(1)

    assert peak_of(consume_a_few) < 10_000


def test_a_queue_is_equal_to_itself_alone():
    buffers = Buffers([b"a"])
    same = buffers
    assert buffers == same
    assert buffers != Buffers([b"a"])
    assert buffers.copy() != buffers
    assert hash(buffers) == hash(same)


@pytest.mark.slow
@exports_lock
@pytest.mark.parametrize(
    "read", [bytes, Buffers.read, lambda q: q.read(q.nbytes)]
)
@pytest.mark.parametrize("count", [2**17, 2**18])
def test_more_than_memory_holds_is_a_memory_error_and_changes_nothing(
    read, count
):
    """2**63 bytes, and 2**64, which are more than SSIZE_MAX."""
    try:
        huge = mmap.mmap(
            -1, 2**46, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        )
    except (AttributeError, OSError):
        pytest.skip("no such mapping here")
    buffers = Buffers([huge] * count)
    before = len(buffers), buffers.nbytes
    with pytest.raises(MemoryError, match="more than memory holds"):
        read(buffers)
    assert (len(buffers), buffers.nbytes) == before
    assert buffers.read(2) == bytes(2)
    buffers.clear()
    huge.close()


@exports_lock
def test_more_than_memory_holds_is_consumed_all_the_same():
    # Nothing looks at what is there.
    huge = (ctypes.c_char * (sys.maxsize // 2 + 1)).from_address(1)
    buffers = Buffers([huge] * 5)
    assert buffers.nbytes > 2 * sys.maxsize
    buffers.consume(buffers.nbytes - 2)
    assert buffers.nbytes == 2
    buffers.clear()


@pytest.mark.parametrize(
    ("consumed", "count", "chunks"),
    [(0, 1, [b"abc"]), (1, 2, [b"bc", b"d"]), (3, 9, [b"d", b"ef"])],
)
def test_the_first_chunks_are_handed_out_from_where_it_is(
    consumed, count, chunks
):
    buffers = Buffers([b"abc", b"d", b"ef"])
    buffers.consume(consumed)
    assert list(map(bytes, first_chunks(buffers, count))) == chunks


def test_more_than_there_is_cannot_have_been_sent():
    buffers = Buffers([b"abc"])
    with pytest.raises(OSError, match="more than"):
        drop(buffers, 4)
    assert buffers.nbytes == 3


def test_what_writes_is_handed_in_from_above():
    async def write(buffers, target):
        return buffers.nbytes, target

    class Written(Buffers):
        __slots__ = ()
        _write_to = write

    with pytest.raises(StopIteration) as done:
        Written([b"abc"]).write_to("target").send(None)
    assert done.value.value == (3, "target")


class Marked(Buffers):
    pass


@pytest.mark.parametrize(
    "twin_of",
    [Buffers.copy, copy.copy, lambda q: pickle.loads(pickle.dumps(q))],
)
def test_a_twin_is_of_the_same_class(twin_of):
    twin = twin_of(Marked([b"ab", b"c"]))
    assert type(twin) is Marked
    assert bytes(twin) == b"abc"


def test_a_copy_of_a_subclass_needs_nothing_of_its_constructor():
    class Named(Buffers):
        def __init__(self, name):
            super().__init__([b"of ", name])

    twin = Named(b"one").copy()
    assert type(twin) is Named
    assert bytes(twin) == b"of one"


@exports_lock
@pytest.mark.parametrize(
    "read", [bytes, Buffers.read, lambda q: q.read(q.nbytes)]
)
def test_more_than_a_size_can_say_is_a_memory_error(read):
    # Nothing looks at what is there.
    huge = (ctypes.c_char * (sys.maxsize // 2 + 1)).from_address(1)
    buffers = Buffers([huge] * 2)
    with pytest.raises(MemoryError, match="more than memory holds"):
        read(buffers)
    assert buffers.nbytes == sys.maxsize + 1
    buffers.clear()
