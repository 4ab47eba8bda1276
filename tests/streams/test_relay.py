from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio
from trio.testing import (
    assert_checkpoints,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

from triobatch import BufferedReceiveStream, relay
from triobatch._core.choice import CORE
from triobatch._streams import relay as relay_module

MUCH = os.urandom(2**20) * 8


@pytest.fixture
async def ends(make_streams):
    """Return the two far ends, and the two that are to be relayed."""
    first, a = await make_streams()
    second, b = await make_streams()
    return first, second, a, b


async def receive_all(stream):
    received = bytearray()
    async for data in stream:
        received += data
    return bytes(received)


async def send_and_end(stream, data):
    await stream.send_all(data)
    await stream.send_eof()


async def send_in_vain(stream, data):
    """Send to somebody who may go, or be closed, in the midst of it."""
    with contextlib.suppress(
        trio.BrokenResourceError, trio.ClosedResourceError
    ):
        await stream.send_all(data)


class Result:
    """What a task has returned."""

    def __init__(self, function, *arguments):
        self._call = function, arguments
        self.value = None

    async def __call__(self):
        function, arguments = self._call
        self.value = await function(*arguments)


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**23])
async def test_all_goes_both_ways(ends, size):
    first, second, a, b = ends
    there, back = MUCH[:size], MUCH[-size // 2 :] if size else b""
    results = [
        Result(relay, a, b),
        Result(receive_all, first),
        Result(receive_all, second),
    ]
    async with trio.open_nursery() as nursery:
        for result in results:
            nursery.start_soon(result)
        nursery.start_soon(send_and_end, first, there)
        nursery.start_soon(send_and_end, second, back)
    moved, at_first, at_second = (result.value for result in results)
    assert moved == (len(there), len(back))
    assert at_second == there
    assert at_first == back
    assert b.statistics().bytes_sent == len(there)
    assert a.statistics().bytes_received == len(there)


async def test_little_is_handed_on_at_once(ends):
    first, second, a, b = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        for text in (b"question", b"another"):
            await first.send_all(text)
            assert await second.receive_some() == text
            await second.send_all(text.upper())
            assert await first.receive_some() == text.upper()
        nursery.cancel_scope.cancel()


async def test_after_much_a_little_is_handed_on_at_once(ends):
    first, second, a, b = ends
    reader = BufferedReceiveStream(second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(first.send_all, MUCH)
        assert await reader.receive_exactly(len(MUCH)) == MUCH
        for text in (b"question", b"another"):
            await first.send_all(text)
            assert await reader.receive_exactly(len(text)) == text
        nursery.cancel_scope.cancel()


async def test_the_end_is_handed_on_while_the_other_way_goes_on(ends):
    first, second, a, b = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        await send_and_end(first, b"request")
        assert await receive_all(second) == b"request"
        await wait_all_tasks_blocked()
        await send_and_end(second, b"answer")
        assert await receive_all(first) == b"answer"


@pytest.mark.skipif(CORE != "c", reason="the Python core copies")
async def test_much_is_left_to_the_kernel(ends, monkeypatch):
    first, second, a, b = ends
    copied = 0
    original = type(b).send_all

    async def send_all(self, data):
        nonlocal copied
        if self is b:
            copied += len(data)
        await original(self, data)

    monkeypatch.setattr(type(b), "send_all", send_all)
    received = Result(receive_all, second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(received)
        nursery.start_soon(send_and_end, first, MUCH)
        await second.send_eof()
    assert received.value == MUCH
    assert 2**16 <= copied < len(MUCH) / 4


@pytest.mark.skipif(CORE != "c", reason="the Python core copies")
async def test_the_calls_of_the_kernels_way_are_counted(ends, monkeypatch):
    first, second, a, b = ends
    pipes, real = [], relay_module.Relay

    def made():
        pipes.append(real())
        return pipes[-1]

    monkeypatch.setattr(relay_module, "Relay", made)
    received = Result(receive_all, second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(received)
        nursery.start_soon(send_and_end, first, MUCH)
        await second.send_eof()
    assert len(received.value) == len(MUCH)
    receives, sends = pipes[0].calls
    # One that has brought enough, one that has sent it on; and the end.
    assert a.statistics().receive_calls > receives > 10
    assert b.statistics().send_calls > sends > 10


async def test_a_connection_that_carries_little_costs_no_descriptors(ends):
    first, second, a, b = ends
    before = os.listdir("/proc/self/fd")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        await first.send_all(b"x" * (2**16 - 1))
        received = 0
        while received < 2**16 - 1:
            received += len(await second.receive_some())
        assert len(os.listdir("/proc/self/fd")) == len(before)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [10, 2**23])
@pytest.mark.parametrize("way", ["cancelled", "broken"])
async def test_no_descriptor_is_left(ends, size, way):
    first, second, a, b = ends
    before = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def run():
            with contextlib.suppress(trio.BrokenResourceError):
                await relay(a, b)

        nursery.start_soon(send_in_vain, first, MUCH[:size])
        await wait_all_tasks_blocked()
        if way == "broken":
            await second.aclose()
            await first.aclose()
            await wait_all_tasks_blocked()
            before -= 2
        nursery.cancel_scope.cancel()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("size", [10, 2**23])
async def test_a_reset_ends_both_ways(ends, reset, size, family):
    if family == "unix":
        pytest.skip("a Unix stream has no reset")
    first, second, a, b = ends
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def run():
            with pytest.raises(trio.BrokenResourceError) as caught:
                await relay(a, b)
            assert isinstance(caught.value.__cause__, OSError)

        nursery.start_soon(send_in_vain, first, MUCH[:size])
        await wait_all_tasks_blocked()
        await reset(second)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    # Busy no longer: the guard was let go of.
    with pytest.raises(trio.BrokenResourceError):
        await b.send_all(b"x")
        await b.send_all(b"x")


async def test_a_side_that_is_stuck_holds_up_one_direction(ends):
    first, second, a, b = ends
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)

        @nursery.start_soon
        async def send():
            nonlocal sent
            while True:
                sent += await first.socket.send(MUCH[: 2**16])

        await wait_all_tasks_blocked()
        for _ in range(10):
            await second.send_all(b"still there")
            assert await first.receive_some() == b"still there"
        await wait_all_tasks_blocked()
        # What the kernel's buffers take, and no more.
        assert sent < 2**26
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rest", [0, 5, 2**16])
async def test_what_a_reader_has_left_goes_first(ends, rest):
    first, second, a, b = ends
    reader = BufferedReceiveStream(a)
    received = Result(receive_all, second)
    moved = Result(relay, reader, b)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_and_end, first, b"header\n" + MUCH)
        await reader.receive_until(b"\n", 100)
        if rest:
            reader._received.put_back([await reader.receive_exactly(rest)])
        nursery.start_soon(moved)
        nursery.start_soon(received)
        await second.send_eof()
        assert await receive_all(first) == b""
    assert received.value == MUCH
    assert moved.value == (len(MUCH), 0)


async def test_a_reader_is_a_target_too(ends):
    first, second, a, b = ends
    received = Result(receive_all, second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_and_end, first, MUCH)
        nursery.start_soon(relay, a, BufferedReceiveStream(b))
        nursery.start_soon(received)
        await second.send_eof()
    assert received.value == MUCH


async def test_other_streams_are_copied(pair):
    (first, a), (b, second) = pair, memory_stream_pair()
    received = Result(receive_all, second)
    moved = Result(relay, a, b)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_and_end, first, MUCH)
        nursery.start_soon(moved)
        nursery.start_soon(received)
        await send_and_end(second, b"back")
        assert await receive_all(first) == b"back"
    assert received.value == MUCH
    assert moved.value == (len(MUCH), 4)


async def test_tls_that_cannot_be_half_closed_ends_the_relay(ends, tls):
    first, second, a, b = ends
    client = trio.SSLStream(b, tls[0], server_hostname="localhost")
    server = trio.SSLStream(second, tls[1], server_side=True)
    received = b""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def run():
            assert await relay(a, client) == (3, 2)
            await client.aclose()

        await first.send_all(b"abc")
        assert await server.receive_some() == b"abc"
        await server.send_all(b"de")
        assert await first.receive_some() == b"de"
        await first.send_eof()
        received = await server.receive_some()
    assert received == b""


async def test_two_streams_that_have_ended(ends):
    first, second, a, b = ends
    await first.send_eof()
    await second.send_eof()
    with assert_checkpoints():
        assert await relay(a, b) == (0, 0)


async def test_a_closed_stream_is_told(ends):
    _, _, a, b = ends
    await b.aclose()
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await relay(a, b)


# Not where nobody waits on it: behind a target that is full, it is told when
# that moves.
@pytest.mark.parametrize(("which", "size"), [(0, 0), (1, 0), (1, 2**23)])
async def test_closed_while_it_runs(ends, which, size):
    first, _, a, b = ends
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def run():
            with pytest.raises(trio.ClosedResourceError):
                await relay(a, b)
            nursery.cancel_scope.cancel()

        if size:
            nursery.start_soon(send_in_vain, first, MUCH[:size])
        await wait_all_tasks_blocked()
        await (a, b)[which].aclose()


async def test_a_second_sender_is_busy_while_the_kernel_moves(ends):
    first, _, a, b = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        nursery.start_soon(first.send_all, MUCH)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await b.send_all(b"x")
        if CORE == "c":
            # Who would come in between what the kernel moves.
            with pytest.raises(trio.BusyResourceError):
                b.send_buffers_nowait([b"x"])
        nursery.cancel_scope.cancel()


async def test_a_second_sender_ends_the_relay(ends, clog):
    first, _, a, b = ends
    await clog(b)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(b.send_all, b"x")
        await wait_all_tasks_blocked()
        await first.send_all(b"abc")
        with pytest.raises(trio.BusyResourceError):
            await relay(a, b)
        nursery.cancel_scope.cancel()


async def test_what_makes_no_sense_is_refused(pair):
    with pytest.raises(TypeError, match="not int"):
        await relay(pair[0], 3)
    with pytest.raises(TypeError, match="not MemorySendStream"):
        await relay(trio.testing.MemorySendStream(), pair[0])
    with pytest.raises(ValueError, match="two streams"):
        await relay(pair[0], pair[0])


async def test_others_get_their_turn(ends):
    first, second, a, b = ends
    turns = 0
    received = Result(receive_all, second)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def count():
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as inner:
            inner.start_soon(relay, a, b)
            inner.start_soon(received)
            inner.start_soon(send_and_end, first, MUCH)
            await second.send_eof()
        nursery.cancel_scope.cancel()
    assert turns >= len(MUCH) >> 20


PROGRAM = """
    import signal, socket, trio, triobatch
    from triobatch import BatchSocketStream

    async def main():
        def pair():
            return [
                BatchSocketStream(sock) for sock in trio.socket.socketpair()
            ]
        (first, a), (second, b) = pair(), pair()
        async with trio.open_nursery() as nursery:
            @nursery.start_soon
            async def run():
                try:
                    await triobatch.relay(a, b)
                except trio.BrokenResourceError as error:
                    print(error.__cause__.errno)
                nursery.cancel_scope.cancel()
            nursery.start_soon(first.send_all, bytes(2**23))
            await trio.testing.wait_all_tasks_blocked()
            await second.aclose()

    import trio.testing
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    trio.run(main)
"""


@pytest.mark.skipif(
    not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE"
)
def test_a_peer_that_went_does_not_kill_the_process():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # EPIPE, or ECONNRESET where the other way was first.
    assert done.stdout in ("32\n", "104\n")
    assert signal.SIGPIPE not in signal.sigpending()
