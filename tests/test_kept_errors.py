"""An error that is kept does not keep what its frames held.

A traceback has the frames of the call, and these its payload: the results of
300 broadcasts of 2 MB to a peer that was gone kept 600 MB, and so did a log of
their errors. What is stored has no traceback; what is raised has the caller's,
and the causes below it have none.
"""

from __future__ import annotations

import errno
import gc
import os
import socket
import sys
import tempfile
import types

import pytest
import trio
from needs import needs_pipes
from traced import tracemalloc

import triobatch
from triobatch import BatchSocketStream, Buffers
from triobatch._resource import reason_of, without_frames
from triobatch.testing import os_error, scripted_calls

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

SIZE = 2**17


def payload_of(letter=b"p"):
    return letter * SIZE


def holds(kept, payload):
    """Tell whether an object leads to a payload, or to a copy of it."""
    seen = set()
    left = [kept]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType)):
            continue
        seen.add(id(one))
        if one is payload or (
            isinstance(one, (bytes, bytearray)) and len(one) >= SIZE
        ):
            return True
        if isinstance(one, types.FunctionType):
            # Not its module, which leads everywhere.
            left += one.__closure__ or ()
        else:
            left += gc.get_referents(one)
    return False


def below(error):
    """Return the causes and contexts of an error, and what it groups."""
    found, left = [], [error]
    while left:
        one = left.pop()
        more = [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            more += one.exceptions
        more = [e for e in more if e is not None and e not in found]
        found += more
        left += more
    return found


MADE = []


@pytest.fixture(autouse=True)
def closed_at_the_end():
    yield
    while MADE:
        MADE.pop().close()


def stream_and_gone_peer(kind=BatchSocketStream):
    left, right = socket.socketpair()
    right.close()
    MADE.append(left)
    return kind(trio.socket.from_stdlib_socket(left))


# What a result keeps.


class Raising(trio.abc.SendStream):
    """Any other stream, which raises what the test says."""

    def __init__(self, error):
        self.error = error

    async def send_all(self, data):
        try:
            self.inner(bytes(data))
        except OSError as error:
            raise self.error from error

    def inner(self, data):
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))

    async def wait_send_all_might_not_block(self):
        raise NotImplementedError

    async def aclose(self):
        await trio.lowlevel.checkpoint()


def broken_groups():
    try:
        raise LookupError
    except LookupError as error:
        return ExceptionGroup("several", [error])


@pytest.mark.parametrize(
    "make",
    [
        stream_and_gone_peer,
        lambda: Raising(trio.BrokenResourceError()),
        lambda: Raising(broken_groups()),
    ],
    ids=["socket", "other", "group"],
)
@pytest.mark.parametrize("within", [False, True])
async def test_a_result_keeps_no_frames(make, within):
    payload = payload_of()
    if within:
        # What is being handled meanwhile is the caller's own.
        try:
            raise LookupError("the caller's")
        except LookupError as caught:
            result = await triobatch.broadcast([make()], payload)
            own = caught
        assert own.__traceback__ is not None
    else:
        result = await triobatch.broadcast([make()], payload)
    (delivery,) = result.missed
    assert delivery.status == "broken"
    assert delivery.error.__traceback__ is None
    assert all(error.__traceback__ is None for error in below(delivery.error))
    assert str(delivery.error.__cause__)
    assert not holds(delivery.error, payload)
    assert not holds(result, payload)


async def test_a_result_of_a_call_without_waiting_keeps_no_frames():
    payload = payload_of()
    stream = stream_and_gone_peer()
    result = triobatch.broadcast_nowait([stream], payload)
    assert result.missed[0].status == "broken"
    assert not holds(result, payload)


async def test_a_result_keeps_no_frames_of_a_subclass():
    class Own(BatchSocketStream):
        def send_buffers_nowait(self, buffers):
            data = bytes(buffers)
            raise trio.BrokenResourceError(f"after {len(data)}")

    payload = payload_of()
    stream = stream_and_gone_peer(Own)
    result = triobatch.broadcast_nowait([stream], payload)
    assert result.missed[0].status == "broken"
    assert not holds(result, payload)


async def test_a_result_of_streams_that_are_busy_or_closed(clogged_pair):
    payload = payload_of()
    busy, _right = clogged_pair
    closed = stream_and_gone_peer()
    await closed.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.send_all, b"another's")
        await trio.testing.wait_all_tasks_blocked()
        result = await triobatch.broadcast([busy, closed], payload)
        nursery.cancel_scope.cancel()
    assert [d.status for d in result] == ["busy", "closed"]
    for delivery in result:
        assert not holds(delivery.error, payload)


async def test_a_result_of_a_stream_that_breaks_later(clogged_pair, reset):
    payload = bytes(2**24)
    left, right = clogged_pair
    result = triobatch.BroadcastResult()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            await triobatch.broadcast([left], payload, result=result)

        await trio.testing.wait_all_tasks_blocked()
        await reset(right)
    (delivery,) = result.missed
    assert delivery.status == "broken"
    assert not holds(delivery.error, payload)


@pytest.mark.parametrize("keep", [lambda r: r, lambda r: r.missed[0].error])
async def test_many_results_that_are_kept_take_no_memory(keep):
    stream = stream_and_gone_peer()
    kept = [keep(await triobatch.broadcast([stream], b"first"))]
    tracemalloc.start()
    try:
        for _ in range(300):
            message = bytes(2 * 2**20)
            kept.append(keep(await triobatch.broadcast([stream], message)))
            del message
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # As much as one message would be nearly half of them.
    assert grown < 2**20


# What a sender keeps.


async def broken_sender(target, payload):
    with pytest.raises(trio.BrokenResourceError) as caught:
        async with triobatch.open_batch_sender(target) as sender:
            await sender.send(payload)
            await sender.flush()
    return sender, caught.value


@pytest.mark.parametrize(
    "make",
    [stream_and_gone_peer, lambda: Raising(trio.BrokenResourceError())],
    ids=["socket", "other"],
)
async def test_the_cause_that_a_sender_keeps_has_no_frames(make):
    payload = payload_of()
    sender, error = await broken_sender(make(), payload)
    assert [*sender.unsent, *sender.uncertain] == [payload]
    # It is raised, so it has a traceback; the cause is kept, and has none.
    assert error.__cause__.__traceback__ is None
    assert not holds(error.__cause__, payload)
    assert not holds(error.with_traceback(None).__cause__, payload)


async def test_a_sender_that_broke_keeps_what_was_unsent_and_no_more(pair):
    left, _right = pair
    size = 2000
    first, second = b"1" * size, b"2" * size
    with (
        scripted_calls(left, sending=[size + 1, os_error(errno.EPIPE)]),
        pytest.raises(trio.BrokenResourceError),
    ):
        async with triobatch.open_batch_sender(left) as sender:
            sender.send_nowait(first)
            sender.send_nowait(second)
    assert sender.unfinished == second[1:]
    assert not holds(sender, first)
    assert not holds(sender, second)


async def test_the_cause_of_a_datagram_sender_has_no_frames(datagram_pair):
    left, _right = datagram_pair
    payload = b"d" * 1000
    with scripted_calls(left, sending=[os_error(errno.EBADMSG)] * 9):
        error = None
        try:
            async with triobatch.open_batch_sender(left) as sender:
                await sender.send(payload)
        except (OSError, trio.BrokenResourceError) as caught:
            error = caught.with_traceback(None)
    assert error is not None
    for one in below(error):
        assert one.__traceback__ is None


# What is raised: the causes have no frames.


async def by_send_all(stream, payload):
    await stream.send_all(payload)


async def by_send_buffers(stream, payload):
    await stream.send_buffers([payload, b"more"])


async def by_queue(stream, payload):
    await stream.send_buffers(Buffers([payload, bytearray(b"more")]))


async def by_nowait(stream, payload):
    stream.send_buffers_nowait(Buffers([payload]))


async def by_write_to(stream, payload):
    await Buffers([payload]).write_to(stream)


async def by_send_file(stream, payload):
    with tempfile.TemporaryFile() as file:
        await stream.send_file(file, header=[payload])


@pytest.mark.parametrize(
    "send",
    [
        by_send_all,
        by_send_buffers,
        by_queue,
        by_nowait,
        by_write_to,
        by_send_file,
    ],
)
async def test_an_error_of_a_stream_has_no_frames_below(send):
    payload = payload_of()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await send(stream_and_gone_peer(), payload)
    error = caught.value.with_traceback(None)
    assert isinstance(error.__cause__, OSError)
    assert all(one.__traceback__ is None for one in below(error))
    assert not holds(error, payload)


@needs_pipes
async def test_an_error_of_a_pipe_has_no_frames_below():
    payload = payload_of()
    reader, writer = os.pipe()
    os.close(reader)
    async with trio.lowlevel.FdStream(writer) as pipe:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await Buffers([payload]).write_to(pipe)
    error = caught.value.with_traceback(None)
    assert all(one.__traceback__ is None for one in below(error))
    assert not holds(error, payload)


async def one(sock, payload):
    await sock.send(payload)


async def batch(sock, payload):
    await sock.send_batch([(payload, None), (payload, None)])


async def many(sock, payload):
    await sock.send_many([payload, payload])


async def through_a_sender(sock, payload):
    async with triobatch.open_batch_sender(sock) as sender:
        await sender.send(payload)


async def batch_through_a_sender(sock, payload):
    async with triobatch.open_batch_sender(sock) as sender:
        await sender.send_batch([(payload, None)])


@pytest.mark.parametrize(
    "send", [one, batch, many, through_a_sender, batch_through_a_sender]
)
async def test_an_error_of_datagrams_has_no_frames_below(send):
    # Larger than a datagram can be.
    payload = payload_of()
    async with await triobatch.open_udp_socket(
        remote_address=("127.0.0.1", 9)
    ) as sock:
        with pytest.raises((OSError, triobatch.DatagramErrorGroup)) as caught:
            await send(sock, payload)
        error = caught.value.with_traceback(None)
        assert not holds(error, payload)


# The function.


def test_a_cycle_of_causes_ends():
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert without_frames(first) is first


def test_the_reason_is_the_first_that_is_said():
    silent, telling = trio.BrokenResourceError(), OSError("told")
    assert reason_of(silent) == "BrokenResourceError"
    silent.__cause__ = telling
    assert reason_of(silent) == "told"
    assert reason_of(telling) == "told"


WRONG = [
    {"address": ("localhost", 9)},
    {"metadata": 5},
    {"metadata": triobatch.Metadata(tos=999)},
    {"errors": "wrong"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
@pytest.mark.parametrize(
    "name", ["send", "send_many", "send_segments", "send_batch"]
)
@pytest.mark.parametrize("ending", ["", "_nowait"])
async def test_the_error_of_an_argument_keeps_no_payload(name, ending, wrong):
    if name + ending == "send_batch_nowait":
        pytest.skip("it is given a queue, which keeps them itself")
    async with await triobatch.open_udp_socket(
        local_address=("127.0.0.1", 0)
    ) as sock:
        payload = bytearray(b"12345678")
        options = {"address": sock.local_address, **wrong}
        address = options.pop("address")
        arguments = {
            "send": (payload, address),
            "send_many": ([payload], address),
            "send_segments": (payload, 3, address),
            "send_batch": ([(payload, address)],),
        }[name]
        with pytest.raises((TypeError, ValueError)) as kept:
            sent = getattr(sock, name + ending)(*arguments, **options)
            if not ending:
                await sent
        payload.append(0)
        assert kept.value.__traceback__
