"""Every kind of buffer there is, seen as its bytes."""

import ctypes
import mmap
from array import array

import pytest
from helpers import exports_lock

from triobatch import Buffers
from triobatch._queues import views as views_module
from triobatch._queues.views import (
    as_payload,
    as_payloads,
    is_buffer,
    kept_view,
    take_in,
    view_of_bytes,
    writable_views,
)


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_uint16), ("y", ctypes.c_uint32))


def mapping(data):
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    return mapped


class Bytes(bytes):
    __slots__ = ()


accepted = pytest.mark.parametrize(
    "buffer",
    [
        pytest.param(buffer, id=name)
        for name, buffer in {
            "bytes": b"abcdef",
            "bytes subclass": Bytes(b"abcdef"),
            "bytearray": bytearray(b"abcdef"),
            "memoryview": memoryview(b"abcdef"),
            "sliced memoryview": memoryview(b"abcdef")[1:4],
            "slice of one, with a step": memoryview(b"abcdef")[2:3:2],
            "memoryview of integers": memoryview(array("I", [1, 2, 3])),
            "sliced view of integers": memoryview(array("I", [1, 2, 3]))[1:],
            "signed characters": memoryview(b"abcdef").cast("b"),
            "characters": memoryview(b"abcdef").cast("c"),
            "two dimensions": memoryview(b"abcdef").cast("B", (2, 3)),
            "three dimensions": memoryview(bytes(24)).cast("I", (1, 2, 3)),
            "no dimension": memoryview(b"abcd").cast("I", ()),
            "array of doubles": array("d", [1.5, 2.5]),
            "mmap": mapping(b"abcdef"),
            "ctypes array": (ctypes.c_int32 * 3)(1, 2, 3),
            "ctypes matrix": (ctypes.c_int16 * 2 * 3)(),
            "ctypes integer": ctypes.c_uint64(2**40),
            "ctypes structure": Point(1, 2),
            "ctypes structures": (Point * 2)(),
        }.items()
    ],
)


@accepted
def test_a_buffer_is_seen_as_its_bytes(buffer):
    expected = memoryview(buffer).tobytes()
    with view_of_bytes(buffer) as view:
        assert (view.ndim, view.itemsize, len(view)) == (1, 1, len(expected))
        assert view.tobytes() == expected
        # What a slice at a byte's offset shows, len() must agree with.
        assert bytes(view[1:]) == expected[1:]


@accepted
def test_as_a_payload_its_length_is_its_size(buffer):
    expected = memoryview(buffer).tobytes()
    payload = as_payload(buffer)
    assert len(payload) == len(expected)
    assert bytes(payload) == expected


@accepted
def test_a_queue_takes_it_whole_and_in_pieces(buffer):
    expected = memoryview(buffer).tobytes()
    buffers = Buffers([b"<", buffer, b">"])
    assert buffers.nbytes == len(expected) + 2
    assert bytes(buffers) == b"<" + expected + b">"
    pieces = list(iter(lambda: buffers.read(1), b""))
    assert b"".join(pieces) == b"<" + expected + b">"


@pytest.mark.parametrize(
    "buffer",
    [
        b"",
        bytearray(),
        memoryview(b"abc")[3:],
        memoryview(bytearray(b"abc"))[1:1],
        array("I"),
        memoryview(array("d")),
        (ctypes.c_int * 0)(),
        memoryview(array("I", [1]))[1:],
    ],
)
def test_nothing_is_seen_as_nothing(buffer):
    view = view_of_bytes(buffer)
    assert (view.nbytes, view.ndim, view.format) == (0, 1, "B")
    assert view.readonly == memoryview(buffer).readonly
    assert take_in([buffer, buffer]) == ([], 0)
    # An empty datagram is one like the others.
    assert as_payload(buffer) == b""


@pytest.mark.parametrize(
    "buffer",
    [
        memoryview(b"abcdef")[::2],
        memoryview(b"abcdef")[::-1],
        memoryview(array("I", [1, 2, 3]))[::2],
    ],
)
def test_what_does_not_lie_in_a_row_is_refused(buffer):
    with pytest.raises(BufferError, match=r"shape .*, strides .*"):
        view_of_bytes(buffer)
    with pytest.raises(BufferError, match="payload is not contiguous"):
        as_payload(buffer)


@pytest.mark.parametrize("other", ["text", 3, None, 1.5, [b"x"], object()])
def test_what_is_not_a_buffer_is_refused(other):
    assert is_buffer(other) is False
    with pytest.raises(TypeError):
        view_of_bytes(other)
    with pytest.raises(
        TypeError, match=f"chunk 2 must be .*, not {type(other).__name__}"
    ):
        take_in([b"a", bytearray(b"b"), other])
    with pytest.raises(TypeError, match="payload must be a bytes-like"):
        as_payload(other)


def test_bytes_are_taken_in_as_they_are():
    data = b"abc"
    kept, size = take_in([data, bytearray(b"de"), b"", data])
    assert size == 8
    assert kept[0] is data
    assert kept[2] is data
    assert type(kept[1]) is memoryview


def test_payloads_that_are_bytes_are_taken_as_they_are():
    payloads = [b"a", b""]
    assert as_payloads(payloads) == payloads
    assert as_payloads(iter(payloads)) == payloads
    assert as_payloads([]) == []


def test_an_empty_payload_is_not_exported():
    data = bytearray()
    payloads = as_payloads([data, array("I")])
    data.append(0)
    assert payloads == [b"", b""]


@exports_lock
def test_a_payload_is_exported_until_it_is_let_go():
    data = bytearray(b"abc")
    (payload,) = as_payloads([data])
    with pytest.raises(BufferError):
        data.append(0)
    payload.release()
    data.append(0)


# NumPy


@pytest.fixture
def np():
    return pytest.importorskip("numpy", reason="NumPy is optional")


@pytest.mark.parametrize("kind", ["u1", "i1", "<i4", ">f8", "?", "S3", "c16"])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (3, 1, 2)])
def test_numpy_arrays_are_taken_whatever_the_shape(np, kind, shape):
    made = np.ones(shape, kind)
    buffers = Buffers([made])
    assert buffers.nbytes == made.nbytes
    assert buffers.read(1) + buffers.read() == made.tobytes()


def test_numpy_views_that_lie_in_a_row_are_taken(np):
    made = np.arange(12, dtype="<i2").reshape(3, 4)
    assert bytes(Buffers([made[1], made[1:], made[2, 1:3]])) == (
        made[1].tobytes() + made[1:].tobytes() + made[2, 1:3].tobytes()
    )


def test_numpy_views_that_do_not_are_refused(np):
    made = np.arange(12, dtype="<i2").reshape(3, 4)
    fortran = np.asfortranarray(made)
    buffers = Buffers([b"foo"])
    for strided in (made[:, 1], made.T, made[::2], made[:, :2], fortran):
        with pytest.raises(BufferError, match="not contiguous"):
            buffers.extend([b"x", strided])
        assert list(buffers) == [b"foo"]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_numpy_arrays_are_dropped(np, shape):
    assert len(Buffers([np.zeros(shape)])) == 0


def test_a_numpy_array_is_one_chunk_and_not_many(np):
    for made in (np.zeros(3, "u1"), np.zeros((3, 4))):
        with pytest.raises(TypeError, match=r"iterable .*, not ndarray"):
            Buffers(made)


# Buffers to fill


def test_one_buffer_to_fill_stands_for_a_list_of_one():
    target = bytearray(4)
    with writable_views(target) as (view,):
        view[:] = b"abcd"
    assert target == b"abcd"
    target.append(0)


@exports_lock
def test_many_buffers_to_fill_are_seen_as_their_bytes():
    targets = [bytearray(2), array("I", [0]), memoryview(bytearray(4))[1:3]]
    with writable_views(targets) as views:
        assert list(map(len, views)) == [2, 4, 2]
        with pytest.raises(BufferError):
            targets[0].append(0)
    targets[0].append(0)
    targets[1].append(0)


@pytest.mark.parametrize("make", [tuple, iter])
def test_buffers_to_fill_come_in_any_iterable(make):
    with writable_views(make([bytearray(2), bytearray(3)])) as views:
        assert list(map(len, views)) == [2, 3]


def test_buffers_without_room_are_left_out():
    targets = [bytearray(), bytearray(2), array("I"), bytearray(1)]
    with writable_views(targets) as views:
        assert list(map(len, views)) == [2, 1]


@pytest.mark.parametrize(
    "targets", [[], (), bytearray(), [bytearray(), array("I")], array("d")]
)
def test_no_room_at_all_is_refused(targets):
    with (
        pytest.raises(ValueError, match="room for at least 1 byte"),
        writable_views(targets),
    ):
        pass


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (b"abc", TypeError, "read-only bytes"),
        (b"", TypeError, "read-only bytes"),
        (memoryview(b"abc"), TypeError, "read-only memoryview"),
        ("text", TypeError, "str"),
        (3, TypeError, "int"),
        (memoryview(bytearray(4))[::2], BufferError, "not contiguous"),
    ],
)
def test_a_refused_target_lets_go_of_the_others(bad, error, message):
    first = bytearray(2)
    with (
        pytest.raises(error, match=message) as caught,
        writable_views([first, bad]),
    ):
        pass
    assert caught.value.__traceback__ is not None
    first.append(0)


@pytest.mark.parametrize("bad", [3, None, b"abc"])
def test_a_single_refused_target_is_told(bad):
    with pytest.raises(TypeError), writable_views(bad):
        pass


def test_targets_are_let_go_of_when_the_block_fails():
    target = bytearray(2)
    with pytest.raises(ZeroDivisionError), writable_views(target):
        raise ZeroDivisionError
    target.append(0)


# Where exports lock nothing


def test_what_may_move_is_kept_as_a_copy_where_exports_lock_nothing(
    monkeypatch,
):
    monkeypatch.setattr(views_module, "EXPORTS_LOCK", False)
    data = bytearray(b"abc")
    view = kept_view(data)
    data[0] = 0
    assert view == b"abc"
    stays = b"abc"
    assert kept_view(memoryview(stays)).obj is stays


@pytest.fixture
def released():
    view = memoryview(b"abc")
    view.release()
    return view


def test_a_view_that_was_released_is_a_buffer_without_bytes(released):
    assert is_buffer(released)
    with pytest.raises(BufferError, match="chunk has no bytes to give"):
        view_of_bytes(released)


@pytest.mark.parametrize("items", ["text", 3, b"bytes", bytearray()])
def test_one_is_not_taken_for_many(items):
    with pytest.raises(
        TypeError, match=f"iterable of .*, not {type(items).__name__}"
    ):
        as_payloads(items)


@exports_lock
def test_refused_payloads_are_let_go_of_even_while_the_traceback_lives():
    first = bytearray(2)
    with pytest.raises(TypeError, match="payload 1 must be") as caught:
        as_payloads([first, 3])
    assert caught.value.__traceback__ is not None
    first.append(0)
