"""Buffers beside a plain list of bytes, under whatever order of calls."""

import copy
import sys
from array import array
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from triobatch import Buffers
from triobatch._queues.views import EXPORTS_LOCK

# Empty, tiny and larger ones, so that positions fall within and between.
pieces = st.binary(max_size=12)


class Model:
    """What a queue should hold: bytes, and where they came from."""

    def __init__(self, items=()):
        self.items = list(items)

    def extend(self, chunks):
        self.items += [
            (bytes(data), source) for data, source in chunks if data
        ]

    def consume(self, size):
        consumed = b"".join(data for data, _ in self.items)[:size]
        while size:
            data, source = self.items.pop(0)
            if size < len(data):
                self.items.insert(0, (data[size:], source))
            size -= min(size, len(data))
        return consumed

    @property
    def contents(self):
        return [data for data, _ in self.items]

    @property
    def nbytes(self):
        return sum(map(len, self.contents))


class Comparison(RuleBasedStateMachine):
    """A queue and a copy of it, which share chunks."""

    def __init__(self):
        super().__init__()
        self.queues = [(Buffers(), Model())]
        self.sources = []

    which = st.integers(0, 1)
    offered = st.lists(st.tuples(st.integers(0, 3), pieces), max_size=8)

    def chunk(self, kind, data):
        """Return a chunk, its bytes, and the bytearray that is behind it."""
        if kind == 0:
            return data, data, None
        if kind == 1:
            numbers = array("I", range(len(data)))
            return numbers, numbers.tobytes(), None
        source = bytearray(data)
        self.sources.append(source)
        if kind == 2:
            return source, data, source
        view = memoryview(source)
        part, size = view[1:], len(data[1:])
        view.release()
        self.views.append(part)
        return part, data[len(data) - size :], source

    def chunks(self, offered):
        # The queue holds what it needs: our own views are let go of.
        self.views = []
        return [self.chunk(kind, data) for kind, data in offered]

    def release_views(self):
        for view in self.views:
            view.release()

    def queue(self, which):
        return self.queues[which % len(self.queues)]

    @rule(which=which, offered=offered)
    def extend(self, which, offered):
        buffers, model = self.queue(which)
        made = self.chunks(offered)
        buffers.extend([chunk for chunk, _, _ in made])
        model.extend([(data, source) for _, data, source in made])
        self.release_views()

    @rule(which=which, kind=st.integers(0, 3), data=pieces)
    def append(self, which, kind, data):
        buffers, model = self.queue(which)
        ((chunk, data, source),) = self.chunks([(kind, data)])
        buffers.append(chunk)
        model.extend([(data, source)])
        self.release_views()

    @rule(
        which=which,
        offered=offered,
        bad=st.sampled_from(["text", 3, None, memoryview(b"abcd")[::2]]),
        where=st.integers(0, 8),
    )
    def extend_with_something_bad(self, which, offered, bad, where):
        buffers, _ = self.queue(which)
        chunks = [chunk for chunk, _, _ in self.chunks(offered)]
        chunks.insert(where, bad)
        with pytest.raises((TypeError, BufferError)):
            buffers.extend(chunks)
        self.release_views()

    @rule(which=which, share=st.floats(0, 1))
    def consume(self, which, share):
        buffers, model = self.queue(which)
        size = round(model.nbytes * share)
        buffers.consume(size)
        model.consume(size)

    @rule(which=which, excess=st.integers(1, 2**70))
    def consume_too_much(self, which, excess):
        buffers, model = self.queue(which)
        with pytest.raises(ValueError, match="size must be between"):
            buffers.consume(model.nbytes + excess)
        with pytest.raises(ValueError, match="size must be between"):
            buffers.consume(-excess)

    @rule(which=which, size=st.integers(-1, 40))
    def read(self, which, size):
        buffers, model = self.queue(which)
        expected = model.nbytes if size < 0 else min(size, model.nbytes)
        assert buffers.read(size) == model.consume(expected)

    @rule(which=which, room=st.integers(0, 40))
    def readinto(self, which, room):
        buffers, model = self.queue(which)
        target = bytearray(room)
        size = buffers.readinto(target)
        assert size == min(room, model.nbytes)
        assert target == model.consume(size) + bytes(room - size)

    @rule(which=which)
    def clear(self, which):
        buffers, model = self.queue(which)
        buffers.clear()
        model.items.clear()

    @rule(which=which)
    def copy(self, which):
        buffers, model = self.queue(which)
        self.queues = [(buffers, model), (buffers.copy(), Model(model.items))]

    @rule(which=which)
    def queue_what_is_left_again(self, which):
        buffers, model = self.queue(which)
        if model.nbytes < 200:
            buffers.extend(buffers)
            model.extend(list(model.items))

    @precondition(lambda self: len(self.queues) > 1)
    @rule()
    def drop_the_copy(self):
        del self.queues[1]

    @invariant()
    def what_is_left_agrees(self):
        for buffers, model in self.queues:
            assert list(map(bytes, buffers)) == model.contents
            assert bytes(buffers) == b"".join(model.contents)
            assert buffers.nbytes == model.nbytes
            assert len(buffers) == len(model.contents)
            assert bool(buffers) == (model.nbytes > 0)

    @invariant()
    def exactly_what_is_left_is_exported(self):
        queued = Counter(
            id(source) for _, model in self.queues for _, source in model.items
        )
        if not EXPORTS_LOCK:
            # It was copied: that a source changes here, changes nothing.
            queued.clear()
        for source in self.sources:
            try:
                source.append(0)
            except BufferError:
                exported = True
            else:
                exported = False
                del source[-1]
            assert exported == (id(source) in queued)


TestBuffersAgainstAModel = Comparison.TestCase
TestBuffersAgainstAModel.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)


def interrupt():
    raise KeyboardInterrupt


def interrupted_at(call, code, position, handler=interrupt):
    """Call, with a signal seen to where one is: after a call in ``code``.

    Returns whether it came to that many calls.
    """
    seen = 0

    def look(frame, event, argument):
        nonlocal seen
        ended = {"c_return": frame, "return": frame.f_back}.get(event)
        if ended is not None and ended.f_code is code:
            seen += 1
            if seen == position:
                sys.setprofile(None)
                handler()

    sys.setprofile(look)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return seen >= position


@pytest.mark.parametrize("make", [bytes, bytearray])
@pytest.mark.parametrize("size", [0, 7, 10, 15, 25, 40, 59, 60])
def test_an_interrupted_consume_has_happened_or_not(make, size):
    original = b"".join(b"%d" % i * 10 for i in range(6))
    position = 1
    while True:
        buffers = Buffers(make(b"%d" % i * 10) for i in range(6))
        interrupted = interrupted_at(
            lambda: buffers.consume(size),  # noqa: B023
            Buffers._consume.__code__,
            position,
        )
        left = bytes(buffers)
        assert buffers.nbytes == len(left)
        assert left in (original, original[size:])
        if not interrupted:
            break
        position += 1
    assert left == original[size:]


def test_an_interrupted_extend_has_happened_or_not():
    position = 1
    while True:
        buffers = Buffers([b"abc"])
        interrupted = interrupted_at(
            lambda: buffers.extend([b"def", b"ghi"]),  # noqa: B023
            Buffers.extend.__code__,
            position,
        )
        left = bytes(buffers)
        assert buffers.nbytes == len(left)
        assert left in (b"abc", b"abcdefghi")
        if not interrupted:
            break
        position += 1
    assert left == b"abcdefghi"


@pytest.mark.parametrize("make", [bytes, bytearray])
@pytest.mark.parametrize(
    ("operation", "code", "expected"),
    [
        *(
            (
                lambda buffers, size=size: buffers.consume(size),
                Buffers._consume.__code__,
                {b"abcdefghi"[size:] + b"new"},
            )
            for size in (0, 2, 3, 7, 9)
        ),
        (
            lambda buffers: buffers.extend([b"more"]),
            Buffers.extend.__code__,
            {b"abcdefghinewmore", b"abcdefghimorenew"},
        ),
    ],
    ids=[
        "consume 0",
        "consume 2",
        "consume 3",
        "consume 7",
        "consume 9",
        "extend",
    ],
)
def test_what_a_signal_handler_appends_is_not_lost(
    make, operation, code, expected
):
    position = 0
    came = True
    while came:
        buffers = Buffers(map(make, (b"abc", b"def", b"ghi")))
        new = bytearray(b"new")
        position += 1
        came = interrupted_at(
            lambda: operation(buffers),  # noqa: B023
            code,
            position,
            lambda: buffers.append(new),  # noqa: B023
        )
        if came:
            assert buffers.nbytes == len(bytes(buffers))
            assert bytes(buffers) in expected
        buffers.clear()
        # It is let go of, too.
        new.append(0)


def test_copy_copy_has_a_position_of_its_own():
    buffers = Buffers([b"foo", bytearray(b"bar")])
    twin = copy.copy(buffers)
    buffers.consume(4)
    assert bytes(twin) == b"foobar"
    twin.clear()
    assert bytes(buffers) == b"ar"
