"""The reader against a model: any cuts, any order of calls, cancelled."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from triobatch import BufferedReceiveStream, FrameTooLargeError

SIZES = st.integers(0, 12)
CALLS = st.one_of(
    st.tuples(st.just("some"), st.integers(1, 12)),
    st.tuples(st.just("exactly"), SIZES),
    st.tuples(st.just("until"), st.sampled_from([b"a", b"ab", b"ba"])),
    st.tuples(st.just("frames"), st.integers(1, 4)),
    st.tuples(st.just("views"), st.integers(1, 4)),
    st.tuples(
        st.just("into"), st.lists(SIZES, min_size=1, max_size=4).filter(any)
    ),
)
LIMIT = 9


class Cut(trio.abc.ReceiveStream):
    """Gives pieces; before each it is cancelled, if the schedule says so."""

    def __init__(self, data, cuts, cancels):
        self.pieces = []
        start = 0
        for size in cuts:
            self.pieces.append(data[start : start + size])
            start += size
        self.pieces.append(data[start:])
        self.pieces = [piece for piece in self.pieces if piece]
        self.cancels = list(cancels)
        self.scope = None

    async def receive_some(self, max_bytes=None):
        if self.cancels and self.cancels.pop():
            self.scope.cancel()
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if max_bytes is not None and len(piece) > max_bytes:
            self.pieces.insert(0, piece[max_bytes:])
            piece = piece[:max_bytes]
        return piece

    async def aclose(self):
        await trio.lowlevel.checkpoint()


def by_twos(size, copy):
    def split(data):
        end = len(data) // size * size
        frames = [data[i : i + size] for i in range(0, end, size)]
        return [bytes(f) if copy else f for f in frames], end

    return split


async def call(reader, kind, argument):
    if kind == "some":
        return await reader.receive_some(argument)
    if kind == "exactly":
        return await reader.receive_exactly(argument)
    if kind == "until":
        return await reader.receive_until(argument, LIMIT)
    if kind == "into":
        memory = [bytearray(size) for size in argument]
        size = await reader.receive_into(memory)
        assert size in (0, sum(argument))
        return b"".join(memory)[:size]
    frames = await reader.receive_frames(by_twos(argument, kind == "frames"))
    assert all(len(frame) == argument for frame in frames)
    if kind == "views":
        KEPT.append((frames, b"".join(frames)))
    return b"".join(frames)


KEPT = []


def check(kind, argument, got, left):
    """Hold what came against what the model has left."""
    assert left.startswith(got)
    if kind == "exactly":
        assert len(got) == argument
    elif kind == "into":
        assert len(got) == (sum(argument) if left else 0)
    elif kind == "until":
        assert len(got) <= LIMIT
        assert got == left[: left.find(argument) + len(argument)]
        assert got or not left
    else:
        assert got or not left


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=60).map(
        lambda data: bytes(b"abc"[byte % 3] for byte in data)
    ),
    st.lists(st.integers(1, 12), max_size=30),
    st.lists(CALLS, max_size=30),
    st.lists(st.booleans(), max_size=20),
)
def test_nothing_is_lost_whatever_happens(data, cuts, calls, cancels):
    async def run():
        KEPT.clear()
        stream = Cut(data, cuts, cancels)
        reader = BufferedReceiveStream(stream)
        left = data
        for kind, argument in calls:
            got = None
            with trio.CancelScope() as stream.scope:
                try:
                    got = await call(reader, kind, argument)
                except EOFError:
                    assert not stream.pieces
                    assert reader.nbytes == len(left)
                except FrameTooLargeError:
                    assert kind == "until"
                    assert argument not in left[:LIMIT]
                    assert len(left) >= LIMIT
            if got is not None:
                check(kind, argument, got, left)
                left = left[len(got) :]
        rest = b""
        with trio.CancelScope() as stream.scope:
            stream.cancels = []
            while piece := await reader.receive_some():
                rest += piece
        assert rest == left
        for frames, text in KEPT:
            assert b"".join(frames) == text

    trio.run(run)


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("cut", range(1, 12))
async def test_every_cut_of_every_frame(cut, cancelled):
    data = b"\3abc\0\1d\4efgh"
    for second in range(cut, 13):
        stream = Cut(data, [cut, second - cut], [cancelled] * 2)
        reader = BufferedReceiveStream(stream)
        frames = []
        while len(frames) < 4:
            with trio.CancelScope() as stream.scope:
                size = (await reader.receive_exactly(1))[0]
                try:
                    frames.append(await reader.receive_exactly(size))
                except trio.Cancelled:
                    # Only the body is missing: it is there the next time.
                    reader._received.put_back([bytes([size])])
                    raise
        assert frames == [b"abc", b"", b"d", b"efgh"]
