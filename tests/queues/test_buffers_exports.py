"""What a queue keeps alive and exported, and when it lets go."""

import gc
import sys
import weakref
from array import array
from mmap import mmap

import pytest
from helpers import exports_lock, is_exported

from triobatch import Buffers

pytestmark = exports_lock


class Source(bytearray):
    """A bytearray that can be watched."""


# bytearrays cannot be resized


def test_a_mutable_chunk_is_exported_until_its_last_byte_is_consumed():
    first, second = bytearray(b"foo"), bytearray(b"bar")
    buffers = Buffers([first, second])
    expected = [(1, 1), (1, 1), (1, 1), (0, 1), (0, 1), (0, 1), (0, 0)]
    for exported in expected:
        assert (is_exported(first), is_exported(second)) == exported
        if buffers:
            buffers.consume(1)


@pytest.mark.parametrize("size", [4, 5, 6])
@pytest.mark.parametrize(
    "take",
    [
        lambda buffers, size: buffers.consume(size),
        lambda buffers, size: buffers.read(size),
        lambda buffers, size: buffers.readinto(bytearray(size)),
    ],
    ids=["consume", "read", "readinto"],
)
def test_every_way_of_consuming_lets_go(take, size):
    first, second, third = (bytearray(b"ab") for _ in range(3))
    buffers = Buffers([first, b"xx", second, third])
    take(buffers, size)
    assert not is_exported(first)
    assert is_exported(second) == (size < 6)
    assert is_exported(third)


def test_clear_lets_go_of_everything():
    sources = [bytearray(b"foo") for _ in range(3)]
    buffers = Buffers(sources)
    buffers.consume(4)
    assert list(map(is_exported, sources)) == [False, True, True]
    buffers.clear()
    assert list(map(is_exported, sources)) == [False, False, False]


def test_what_the_same_chunk_is_queued_twice_for_counts_twice():
    source = bytearray(b"foo")
    buffers = Buffers([source, source])
    buffers.consume(3)
    assert is_exported(source)
    buffers.consume(3)
    assert not is_exported(source)


def test_a_copy_exports_for_itself():
    source = bytearray(b"foo")
    buffers = Buffers([source])
    twin = buffers.copy()
    buffers.clear()
    assert is_exported(source)
    twin.consume(3)
    assert not is_exported(source)


def test_an_empty_chunk_is_not_exported():
    source = bytearray()
    buffers = Buffers([b"x", source, bytearray(b"y")])
    assert not is_exported(source)
    assert len(buffers) == 2


def test_bytes_that_come_after_a_view_do_not_hold_it():
    source = bytearray(b"foo")
    buffers = Buffers([source])
    buffers.append(b"bar")
    buffers.consume(3)
    assert not is_exported(source)
    assert bytes(buffers) == b"bar"


def test_views_are_let_go_of_after_the_queue_ran_dry_once():
    buffers = Buffers([bytearray(b"foo")])
    buffers.consume(3)
    buffers.extend([b"bar"])
    source = bytearray(b"baz")
    buffers.append(source)
    buffers.consume(6)
    assert not is_exported(source)


def test_a_dropped_queue_lets_go():
    source = bytearray(b"foo")
    buffers = Buffers([source])
    assert is_exported(source)
    del buffers
    gc.collect()
    assert not is_exported(source)


def test_bytes_and_iteration_hold_nothing_afterwards():
    source = bytearray(b"foo")
    buffers = Buffers([source])
    assert bytes(buffers) == b"foo"
    assert list(map(bytes, buffers)) == [b"foo"]
    buffers.clear()
    assert not is_exported(source)


# Other exporters


def test_an_array_can_grow_once_it_is_consumed():
    numbers = array("I", [1, 2, 3])
    buffers = Buffers([numbers])
    buffers.consume(11)
    with pytest.raises(BufferError):
        numbers.append(4)
    buffers.consume(1)
    numbers.append(4)


def test_a_mapping_can_be_closed_once_it_is_consumed():
    mapping = mmap(-1, 4096)
    buffers = Buffers([mapping])
    buffers.consume(4095)
    with pytest.raises(BufferError):
        mapping.close()
    buffers.consume(1)
    mapping.close()


def test_a_view_that_the_caller_releases_is_held_by_the_queue():
    source = bytearray(b"foobar")
    with memoryview(source) as view, view[1:4] as part:
        buffers = Buffers([part])
    assert is_exported(source)
    assert buffers.read() == b"oob"
    assert not is_exported(source)


def test_a_view_of_wide_items_is_held_through_to_its_source():
    numbers = array("I", [1, 2, 3])
    with memoryview(numbers) as view:
        buffers = Buffers([view])
    with pytest.raises(BufferError):
        numbers.append(4)
    buffers.clear()
    numbers.append(4)


# After a refusal


def refused(source):
    yield [source, "text"]
    yield [b"x", source, 7]
    yield [source, None, source]
    yield [source, memoryview(b"abcd")[::2]]

    def half_way():
        yield source
        raise ZeroDivisionError

    yield half_way()


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("take", [Buffers, Buffers([b"foo"]).extend])
def test_a_refusal_lets_go_even_while_its_traceback_lives(take, case):
    source = bytearray(b"bar")
    chunks = list(refused(source))[case]
    with pytest.raises((TypeError, BufferError, ZeroDivisionError)) as caught:
        take(chunks)
    assert caught.value.__traceback__ is not None
    assert not is_exported(source)


def test_a_refused_view_is_let_go_of_even_while_its_traceback_lives():
    source = bytearray(b"abcd")
    view = memoryview(source)[::2]
    with pytest.raises(BufferError) as caught:
        Buffers([view])
    view.release()
    assert caught.value.__traceback__ is not None
    assert not is_exported(source)


def test_a_refused_target_of_readinto_is_let_go_of():
    source = bytearray(b"abcd")
    view = memoryview(source)[::2]
    with pytest.raises(BufferError) as caught:
        Buffers([b"foo"]).readinto(view)
    view.release()
    assert caught.value.__traceback__ is not None
    assert not is_exported(source)


def test_what_was_queued_before_a_refusal_stays_exported():
    source = bytearray(b"foo")
    buffers = Buffers([source])
    with pytest.raises(TypeError):
        buffers.extend([bytearray(b"bar"), 7])
    assert is_exported(source)


# Memory


def test_consumed_chunks_are_dropped_at_once():
    sources = [Source(b"foo") for _ in range(10)]
    watched = [weakref.ref(source) for source in sources]
    buffers = Buffers(sources)
    del sources
    for consumed in range(10):
        alive = [reference() is not None for reference in watched]
        assert alive == [False] * consumed + [True] * (10 - consumed)
        buffers.consume(2)
        assert watched[consumed]() is not None
        buffers.consume(1)
        gc.collect()


@pytest.mark.skipif(
    not hasattr(sys, "getrefcount"), reason="PyPy counts no references"
)
def test_consumed_bytes_are_dropped_at_once():
    # bytes() of an integer is never a shared constant.
    chunks = [bytes(100) for _ in range(10)]

    def references():
        return [sys.getrefcount(chunks[i]) for i in range(10)]

    before = references()
    buffers = Buffers(chunks)
    for consumed in range(11):
        held = [
            now - was for now, was in zip(references(), before, strict=True)
        ]
        assert held == [0] * consumed + [1] * (10 - consumed)
        if buffers:
            buffers.consume(99)
            assert references()[consumed] > before[consumed]
            buffers.consume(1)


def test_a_queue_can_be_referred_to_weakly():
    buffers = Buffers()
    assert weakref.ref(buffers)() is buffers


# Code that runs while a chunk is let go of


class Meddler(bytearray):
    """Calls back when it is dropped, which is when its view is released."""

    callback = None

    def __del__(self):
        if self.callback is not None:
            self.callback()


@pytest.mark.parametrize("size", [3, 4, 6, 9])
def test_a_finalizer_finds_the_queue_as_it_will_be(size):
    seen = []
    meddler = Meddler(b"foo")
    buffers = Buffers([meddler, b"bar", bytearray(b"baz")])
    meddler.callback = lambda: seen.append((buffers.nbytes, bytes(buffers)))
    del meddler
    buffers.consume(size)
    gc.collect()
    assert seen == [(9 - size, b"foobarbaz"[size:])]


@pytest.mark.parametrize("size", [3, 4, 6, 7])
def test_a_finalizer_may_use_the_queue(size):
    meddler = Meddler(b"foo")
    buffers = Buffers([meddler, b"bar", bytearray(b"baz")])

    def meddle():
        buffers.consume(1)
        buffers.append(b"qux")

    meddler.callback = meddle
    del meddler
    buffers.consume(size)
    gc.collect()
    left = b"foobarbazqux"[size + 1 :]
    assert (buffers.nbytes, bytes(buffers)) == (len(left), left)
