"""A stream that many send on, and a library owns."""

from __future__ import annotations

import pytest
import trio
from helpers import discard, receive_exactly, receive_to_end
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketStream, Buffers, open_shared_stream


async def test_every_call_is_a_checkpoint(pair):
    left, right = pair
    async with open_shared_stream(left) as shared:
        for call in (
            lambda: shared.send_all(b"bytes"),
            lambda: shared.send_all(b""),
            lambda: shared.send_buffers([b"chunk", bytearray(b"s")]),
            lambda: shared.send_buffers(Buffers([b"chunk"])),
            shared.wait_send_all_might_not_block,
            shared.send_eof,
            shared.send_eof,
            shared.aclose,
            shared.aclose,
            shared.wait_closed,
        ):
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await call()
    assert await receive_to_end(right) == b"byteschunkschunk"


async def test_messages_leave_in_the_order_of_the_calls(pair):
    left, right = pair
    async with open_shared_stream(left) as shared:
        await shared.send_all(b"library ")
        await shared.sender.send(b"sender ")
        triobatch.broadcast_nowait([shared], b"broadcast ")
        chunk = bytearray(b"chunks ")
        assert await shared.send_buffers([b"two ", chunk]) == 11
        # It was copied.
        chunk[:] = b"xxxxxx "
        await triobatch.send_buffers(shared, [b"gathered"])
    expected = b"library sender broadcast two chunks gathered"
    assert await receive_exactly(right, len(expected)) == expected


async def test_nobody_is_busy_while_a_message_is_stuck(clogged_pair):
    left, right = clogged_pair
    async with (
        open_shared_stream(left, max_buffered=2**25) as shared,
        trio.open_nursery() as nursery,
    ):
        shared.queue_nowait(bytes(20_000_000))
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await left.send_all(b"pong")
        for _ in range(3):
            await shared.send_all(b"pong")
        nursery.start_soon(discard, right)
        await shared.sender.flush()
        nursery.cancel_scope.cancel()


async def test_who_sends_waits_for_room(clogged_pair):
    left, right = clogged_pair
    events = []
    async with (
        open_shared_stream(left, max_buffered=10) as shared,
        trio.open_nursery() as nursery,
    ):
        await shared.send_all(b"x" * 11)

        async def send():
            await shared.send_all(b"y")
            events.append("sent")

        async def wait():
            await shared.wait_send_all_might_not_block()
            events.append("room")

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert events == []
        with pytest.raises(trio.WouldBlock):
            shared.queue_nowait(b"z")
        nursery.start_soon(discard, right)
        await shared.sender.flush()
        await wait_all_tasks_blocked()
        assert sorted(events) == ["room", "sent"]
        nursery.cancel_scope.cancel()


async def test_receiving_is_the_streams(pair):
    left, right = pair
    async with open_shared_stream(left) as shared:
        await right.send_all(b"request")
        assert await shared.receive_some(3) == b"req"
        assert await shared.receive_some() == b"uest"
        assert shared.stream is left
        assert shared.socket is left.socket


async def test_an_end_of_file_comes_after_what_is_queued(clogged_pair):
    left, right = clogged_pair
    async with (
        open_shared_stream(left) as shared,
        trio.open_nursery() as nursery,
    ):
        await shared.send_all(b"last")
        nursery.start_soon(shared.send_eof)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            await shared.send_all(b"too late")
        received = await receive_to_end(right)
        assert received.endswith(b"xlast")
        await right.send_all(b"answer")
        assert await shared.receive_some() == b"answer"


async def test_an_end_of_file_that_was_cancelled_can_be_sent_again(
    clogged_pair,
):
    left, right = clogged_pair
    async with (
        open_shared_stream(left) as shared,
        trio.open_nursery() as nursery,
    ):
        await shared.send_all(b"last")
        with trio.move_on_after(0.01) as scope:
            await shared.send_eof()
        assert scope.cancelled_caught
        nursery.start_soon(shared.send_eof)
        assert (await receive_to_end(right)).endswith(b"xlast")


async def test_a_stream_without_an_end_of_file_of_its_own_goes_on():
    left, right = trio.testing.memory_stream_pair()

    class Plain(trio.abc.Stream):
        async def send_all(self, data):
            await left.send_all(data)

        async def wait_send_all_might_not_block(self):
            await left.wait_send_all_might_not_block()

        async def receive_some(self, max_bytes=None):
            return await left.receive_some(max_bytes)

        async def aclose(self):
            await left.aclose()

    async with open_shared_stream(Plain()) as shared:
        # As trio.SSLStream has none, which Hypercorn knows.
        with pytest.raises(AttributeError):
            await shared.send_eof()
        with pytest.raises(AttributeError):
            _ = shared.socket
        await shared.send_all(b"goes on")
    assert await right.receive_some() == b"goes on"


async def test_closing_sends_what_is_queued(clogged_pair):
    left, right = clogged_pair
    async with (
        open_shared_stream(left) as shared,
        trio.open_nursery() as nursery,
    ):
        await shared.send_all(b"close frame")
        nursery.start_soon(shared.aclose)
        assert (await receive_to_end(right)).endswith(b"xclose frame")
        with pytest.raises(trio.ClosedResourceError):
            await shared.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await shared.receive_some()
    assert shared.sender.unsent == []


@pytest.mark.parametrize("forcefully", [True, False])
async def test_closing_in_vain_tells_what_was_not_sent(
    clogged_pair, forcefully
):
    left, _right = clogged_pair
    async with open_shared_stream(
        left, grace=100 if forcefully else 0.01
    ) as shared:
        await shared.send_all(b"first")
        await wait_all_tasks_blocked()
        await shared.send_all(b"second")
        if forcefully:
            await trio.aclose_forcefully(shared)
        else:
            await shared.aclose()
        assert left.socket.fileno() == -1
    assert shared.sender.unfinished == b""
    assert shared.sender.unsent == [b"first", b"second"]


async def test_a_broken_connection_is_told_to_all(pair, reset):
    left, right = pair
    with pytest.raises(trio.BrokenResourceError):
        async with open_shared_stream(left) as shared:
            await reset(right)
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await shared.send_all(b"x" * 10_000)
            for call in (
                shared.send_eof,
                shared.wait_send_all_might_not_block,
            ):
                with pytest.raises(trio.BrokenResourceError):
                    await call()
            await shared.send_all(b"x")
    assert left.socket.fileno() != -1


async def test_it_says_what_it_shares_and_whether_it_was_closed(pair):
    left, _right = pair
    async with open_shared_stream(left) as shared:
        assert repr(shared) == f"<SharedStream: on {left!r}>"
        await shared.aclose()
        assert repr(shared) == f"<SharedStream: closed, on {left!r}>"


@pytest.mark.parametrize("kind", [list, tuple, iter, Buffers])
async def test_it_tells_how_many_bytes_were_queued(pair, kind):
    async with open_shared_stream(pair[0]) as shared:
        assert await shared.send_buffers(kind([b"four", b"five"])) == 8


@pytest.mark.parametrize("what", ["text", b"one chunk", 5])
async def test_what_is_no_list_of_chunks_is_refused(pair, what):
    async with open_shared_stream(pair[0]) as shared:
        with pytest.raises(TypeError, match="buffers must be an iterable"):
            await shared.send_buffers(what)


async def test_closing_by_force_gives_no_grace(small_pair):
    left, _right = small_pair
    async with open_shared_stream(
        left, max_buffered=2**25, grace=1000
    ) as shared:
        await shared.send_all(bytes(5_000_000))
        await wait_all_tasks_blocked()
        await trio.aclose_forcefully(shared)
    assert shared.sender.unfinished


@pytest.mark.parametrize("what", [None, 3, b"bytes", object()])
async def test_what_is_no_stream_is_refused(what):
    with pytest.raises(TypeError, match="stream must be"):
        async with open_shared_stream(what):
            raise AssertionError


async def test_a_datagram_socket_is_no_stream(udp_pair):
    with pytest.raises(TypeError, match="not DatagramSocket"):
        async with open_shared_stream(udp_pair[0]):
            raise AssertionError


async def tls_ends(make_streams, tls):
    """Return the two ends of a connection that have not shaken hands."""
    client, server = tls
    near, far = await make_streams()
    return (
        trio.SSLStream(near, server, server_side=True),
        trio.SSLStream(far, client, server_hostname="localhost"),
    )


async def test_it_shares_a_tls_stream(make_streams, tls):
    left, right = await tls_ends(make_streams, tls)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.do_handshake)
        async with open_shared_stream(left) as shared:
            for number in range(100):
                nursery.start_soon(shared.send_all, b"%02d;" % number)
            received = await receive_exactly(right, 300)
            await right.send_all(b"back")
            assert await shared.receive_some() == b"back"
    assert isinstance(left.transport_stream, BatchSocketStream)
    assert sorted(received.split(b";")[:-1]) == [
        b"%02d" % number for number in range(100)
    ]


async def test_the_grace_may_be_a_number_that_no_float_holds(pair):
    async with open_shared_stream(pair[0], grace=10**400) as shared:
        await shared.send_all(b"x")
        await shared.aclose()
    assert await pair[1].receive_some() == b"x"


async def test_closing_a_tls_stream_that_is_stuck_does_not_hang(
    make_streams, tls
):
    client, server = tls
    near, far = await make_streams()
    left = trio.SSLStream(near, server, server_side=True)
    right = trio.SSLStream(far, client, server_hostname="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.do_handshake)
        await left.do_handshake()
    async with open_shared_stream(
        left, max_buffered=2**25, grace=0.01
    ) as shared:
        await shared.send_all(bytes(20_000_000))
        await wait_all_tasks_blocked()
        await shared.send_all(b"next")
        await shared.aclose()
        assert near.socket.fileno() == -1
    assert shared.sender.unfinished
    assert shared.sender.unsent == [b"next"]


class StuckAtTheEnd(trio.abc.HalfCloseableStream):
    """One that has something to say when it is closed, as TLS has."""

    def __init__(self, stream, is_stuck):
        self._stream = stream
        self._is_stuck = is_stuck

    async def send_all(self, data):
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self):
        await self._stream.send_eof()

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def aclose(self):
        try:
            if self._is_stuck:
                await trio.sleep_forever()
            await self._stream.send_all(b"[end]")
        finally:
            await self._stream.aclose()


@pytest.mark.parametrize("grace", [0, 0.5])
async def test_a_peer_that_takes_no_end_cannot_hold_up_closing(
    pair, grace, autojump_clock
):
    left, right = pair
    stream = StuckAtTheEnd(left, is_stuck=True)
    async with open_shared_stream(stream, grace=grace) as shared:
        await shared.send_all(b"message")
        await shared.sender.flush()
        started = trio.current_time()
        await shared.aclose()
        assert trio.current_time() - started <= grace + 0.2
    assert await receive_to_end(right) == b"message"


@pytest.mark.parametrize("grace", [0, 0.5])
async def test_the_end_is_said_whatever_the_grace_time(pair, grace):
    left, right = pair
    stream = StuckAtTheEnd(left, is_stuck=False)
    async with open_shared_stream(stream, grace=grace) as shared:
        await shared.send_all(b"message")
        await shared.sender.flush()
        await shared.aclose()
    assert await receive_to_end(right) == b"message[end]"


async def shaken_tls(make_streams, tls):
    left, right = await tls_ends(make_streams, tls)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.do_handshake)
        await left.do_handshake()
    return left, right


@pytest.mark.parametrize("closers", [2, 3])
async def test_several_may_close_a_tls_stream(make_streams, tls, closers):
    for _ in range(10):  # the order of the tasks is Trio's
        left, right = await shaken_tls(make_streams, tls)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def close(left=left):
                async with open_shared_stream(left) as shared:
                    await shared.send_all(b"message")
                    async with trio.open_nursery() as inner:
                        for _ in range(closers):
                            inner.start_soon(shared.aclose)

            # BrokenResourceError where TLS has not said its end.
            assert await receive_to_end(right) == b"message"
        await right.aclose()


async def test_who_is_cancelled_closes_what_another_closes_slowly(
    make_streams, tls
):
    near, _ = await make_streams()
    left = trio.SSLStream(near, tls[1], server_side=True)
    with trio.fail_after(5):
        async with (
            open_shared_stream(left, grace=60) as shared,
            trio.open_nursery() as nursery,
        ):
            # Waits for a handshake that does not come.
            nursery.start_soon(shared.aclose)
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.01):
                await shared.aclose()
            assert near.socket.fileno() == -1


class Counting(triobatch.SharedStream):
    def __init__(self, shared):
        super().__init__(shared.stream, shared.sender, 1)
        self.counted = 0

    async def send_all(self, data):
        self.counted += len(data)
        await super().send_all(data)


@pytest.mark.parametrize("below", [False, True])
async def test_chunks_are_one_message_of_a_subclass_too(pair, below, tmp_path):
    left, right = pair
    (tmp_path / "file").write_bytes(b"f" * 300_000)
    async with open_shared_stream(left, max_buffered=1) as shared:
        counting = Counting(shared)
        stream = triobatch.BufferedReceiveStream(counting)
        stream = stream if below else counting

        async def send():
            chunks = Buffers([b"b" * 100_000] * 3)
            await triobatch.send_buffers(stream, chunks)
            with (tmp_path / "file").open("rb") as file:
                await triobatch.send_file(stream, file)

        async def disturb():
            for _ in range(30):
                await shared.send_all(b"-")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(disturb)
            received = await receive_exactly(right, 600_030)
    assert counting.counted == 600_000
    assert b"b" * 300_000 in received
    assert b"f" * 300_000 in received
