"""The queue of datagrams."""

import copy
import pickle
from array import array

import pytest
from helpers import exports_lock, is_exported

from triobatch._queues.datagrams import (
    Datagrams,
    Directed,
    as_datagrams,
    undirected,
)
from triobatch._resource import Claim
from triobatch._wire.metadata import Metadata

A = ("127.0.0.1", 1)
B = ("127.0.0.1", 2)


def test_a_new_queue_is_empty():
    queue = Datagrams()
    assert not queue
    assert len(queue) == 0
    assert list(queue) == []
    assert queue.nbytes == 0


def test_pairs_come_out_in_order():
    queue = Datagrams([(b"a", A)])
    queue.append((b"b", B))
    queue.extend((payload, None) for payload in [b"c", b"d"])
    assert list(queue) == [(b"a", A), (b"b", B), (b"c", None), (b"d", None)]


def test_an_empty_payload_is_a_datagram():
    queue = Datagrams([(b"", A)])
    assert queue
    assert len(queue) == 1
    assert queue.nbytes == 0


def test_sizes_are_bytes():
    queue = Datagrams([(memoryview(array("I", [1, 2, 3])), A)])
    assert queue.nbytes == 12
    assert len(next(iter(queue))[0]) == 12


def test_a_view_without_bytes_is_an_empty_datagram():
    queue = Datagrams([(memoryview(array("I")), None)])
    assert list(queue) == [(b"", None)]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (("text", A), TypeError),
        ((7, A), TypeError),
        ((None, A), TypeError),
        (7, TypeError),
        ((b"alone",), ValueError),
        ((b"one", A, None, "too many"), ValueError),
        ((b"one", A, {"tos": 1}), TypeError),
        ((memoryview(b"abcd")[::2], A), BufferError),
    ],
)
def test_a_failed_extend_changes_nothing(item, error):
    queue = Datagrams([(b"a", A)])
    with pytest.raises(error):
        queue.extend([(b"b", B), item])
    assert list(queue) == [(b"a", A)]
    with pytest.raises(error):
        Datagrams([(b"b", B), item])


@exports_lock
def test_a_failed_extend_lets_go_even_while_its_traceback_lives():
    source = bytearray(b"b")
    with pytest.raises(TypeError) as caught:
        Datagrams([(source, B, Metadata()), (7, A)])
    assert caught.value.__traceback__ is not None
    assert not is_exported(source)


def test_consume_drops_from_the_front():
    queue = Datagrams([(b"a", A), (b"b", B), (b"c", None)])
    queue.consume(0)
    queue.consume(2)
    assert list(queue) == [(b"c", None)]
    queue.consume(1)
    assert not queue


@pytest.mark.parametrize("count", [-1, 3])
def test_consume_outside_the_queue_is_a_value_error(count):
    queue = Datagrams([(b"a", A), (b"b", B)])
    with pytest.raises(ValueError, match=rf"must be in 0\.\.2, not {count}"):
        queue.consume(count)
    assert len(queue) == 2


def test_a_copy_has_its_own_position():
    queue = Datagrams([(b"a", A), (b"b", B)])
    copy = queue.copy()
    queue.clear()
    assert not queue
    assert list(copy) == [(b"a", A), (b"b", B)]


@exports_lock
def test_a_queued_bytearray_cannot_be_resized_until_it_is_consumed():
    payload = bytearray(b"mutable")
    queue = Datagrams([(payload, A)])
    with pytest.raises(BufferError):
        payload.append(0)
    queue.consume(1)
    payload.append(0)


def test_a_lent_queue_grows_but_does_not_shrink():
    queue = Datagrams([(b"a", A)])
    with Claim(queue):
        queue.append((b"b", B))
        with pytest.raises(BufferError, match="is sending"):
            queue.consume(1)
        with pytest.raises(BufferError, match="is sending"):
            queue.clear()
    queue.clear()
    assert not queue


def test_a_queue_is_passed_on_and_pairs_are_queued():
    queue = Datagrams([(b"a", A)])
    assert as_datagrams(queue) is queue
    assert list(as_datagrams([(b"a", A)])) == [(b"a", A)]


def test_the_representation_tells_what_is_left():
    queue = Datagrams([(b"abc", A), (b"", B)])
    assert repr(queue) == "<Datagrams: 2 left, 3 bytes>"


METADATA = Metadata(tos=1)


def test_a_datagram_may_have_metadata_of_its_own():
    queue = Datagrams([(b"a", A), (b"b", B, METADATA), (b"c", A, None)])
    assert list(queue) == [(b"a", A), (b"b", B, METADATA), (b"c", A)]
    assert list(queue.copy()) == list(queue)
    queue.append((b"d", None, METADATA))
    queue.consume(2)
    assert list(queue) == [(b"c", A), (b"d", None, METADATA)]


@pytest.mark.parametrize("other", [{"tos": 1}, "no", 3, b"", (1, 2)])
def test_wrong_metadata_are_told_by_their_index_and_type(other):
    with pytest.raises(TypeError) as told:
        Datagrams([(b"a", A, METADATA), (b"b", B), (b"c", A, other)])
    name = type(other).__name__
    assert str(told.value) == (
        f"the metadata of datagram 2 must be a Metadata, not {name}"
    )


def test_a_pickled_queue_has_the_bytes_and_the_metadata():
    metadata = Metadata(ttl=3)
    queue = Datagrams([(bytearray(b"a"), A), (b"b", B, metadata)])
    again = pickle.loads(pickle.dumps(queue))
    assert list(again) == [(b"a", A), (b"b", B, metadata)]
    assert type(next(iter(again))[0]) is bytes


def test_the_columns_are_the_queues_own():
    queue = Datagrams([(b"a", A), (b"b", B)])
    for column in queue._columns():
        del column[0]
    assert list(queue) == [(b"b", B)]


def test_an_address_is_the_same_with_metadata_and_without():
    assert undirected(A) == A
    assert undirected(Directed(A, Metadata(ttl=3))) == A


class Marked(Datagrams):
    pass


@pytest.mark.parametrize(
    "twin_of",
    [Datagrams.copy, copy.copy, lambda q: pickle.loads(pickle.dumps(q))],
)
def test_a_twin_is_of_the_same_class(twin_of):
    twin = twin_of(Marked([(b"ab", None)]))
    assert type(twin) is Marked
    assert list(twin) == [(b"ab", None)]
