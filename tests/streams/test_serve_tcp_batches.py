"""A server on a group: who is accepted, answered and closed."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import socket
import struct

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch._core import calls
from triobatch._streams import group_members

pytestmark = pytest.mark.usefixtures("sets")


async def echo(group, batch):
    assert group.send_batch_nowait(batch) == []


@pytest.fixture
def serve(nursery):
    """An async function that starts a server, and returns its port."""

    async def start(handler, **options):
        listeners = await nursery.start(
            lambda task_status: triobatch.serve_tcp_batches(
                handler,
                0,
                host="127.0.0.1",
                task_status=task_status,
                **options,
            )
        )
        return listeners[0].socket.getsockname()[1]

    return start


async def connect(port):
    return await triobatch.open_tcp_stream("127.0.0.1", port)


async def test_many_are_answered(serve):
    port = await serve(echo)

    async def client(i):
        message = b"%03d" % i * 50_000
        async with await connect(port) as stream:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, message)
                received = bytearray()
                while len(received) < len(message):
                    received += await stream.receive_some()
            assert received == message
            await stream.send_eof()
            assert await stream.receive_some() == b""

    async with trio.open_nursery() as nursery:
        # More than are accepted in a turn.
        for i in range(100):
            nursery.start_soon(client, i)


async def test_a_batch_is_of_many(serve):
    largest = 0

    async def handler(group, batch):
        nonlocal largest
        largest = max(largest, len(batch))
        assert len(batch) <= 5
        group.send_batch_nowait(batch)

    port = await serve(handler, max_streams=5)
    streams = [await connect(port) for _ in range(20)]
    await wait_all_tasks_blocked()
    # Not a checkpoint: all of them are there at once.
    for stream in streams:
        calls.send(stream.socket.fileno(), b"x")
    for stream in streams:
        assert await stream.receive_some() == b"x"
        await stream.aclose()
    assert largest == 5


async def test_who_ends_is_closed_when_the_answer_has_left(serve):
    answer = bytes(10_000_000)
    groups = []

    async def handler(group, batch):
        groups[:] = [group]
        group.send_batch_nowait(
            (stream, answer) for stream, data in batch if data
        )

    port = await serve(handler)
    async with await connect(port) as stream:
        await stream.send_all(b"request")
        await stream.send_eof()
        size = 0
        while data := await stream.receive_some():
            size += len(data)
    assert size == len(answer)
    await wait_all_tasks_blocked()
    assert len(groups[0]) == 0


async def test_who_ends_is_closed_by_a_handler_that_consumes_its_batch(serve):
    async def handler(group, batch):
        while batch:
            stream, data = batch.pop()
            if data:
                group.send_batch_nowait([(stream, data)])

    port = await serve(handler)
    async with await connect(port) as stream:
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        await stream.send_eof()
        with trio.fail_after(60):
            assert await stream.receive_some() == b""


async def test_who_breaks_with_bytes_queued_is_closed(serve):
    groups = []

    async def handler(group, batch):
        groups[:] = [group]
        group.send_batch_nowait(
            (stream, bytes(10_000_000)) for stream, data in batch if data
        )

    port = await serve(handler)
    stream = await connect(port)
    await stream.send_all(b"request")
    await stream.send_eof()
    await wait_all_tasks_blocked()
    assert len(groups[0]) == 1
    stream.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    await stream.aclose()
    await wait_all_tasks_blocked()
    assert len(groups[0]) == 0


async def test_who_was_removed_is_the_handlers(serve, nursery):
    async def goodbye(stream):
        async with stream:
            await stream.send_all(b"goodbye")

    async def handler(group, batch):
        for stream, data in batch:
            if not data:
                assert not group.remove(stream)
                nursery.start_soon(goodbye, stream)

    port = await serve(handler)
    async with await connect(port) as stream:
        await stream.send_eof()
        assert await stream.receive_some() == b"goodbye"
        assert await stream.receive_some() == b""


async def test_slow_work_answers_when_it_is_done(serve, nursery):
    go_on = trio.Event()

    async def slow(group, stream):
        await go_on.wait()
        assert group.send_batch_nowait([(stream, b"slow")]) == []

    async def handler(group, batch):
        for stream, data in batch:
            if data == b"slow":
                nursery.start_soon(slow, group, stream)
            elif data:
                group.send_batch_nowait([(stream, b"quick")])

    port = await serve(handler)
    async with await connect(port) as first, await connect(port) as second:
        await first.send_all(b"slow")
        await second.send_all(b"x")
        assert await second.receive_some() == b"quick"
        go_on.set()
        assert await first.receive_some() == b"slow"


async def test_an_exception_of_the_handler_ends_the_server():
    async def handler(group, batch):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as raised:
        try:
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(
                    triobatch.serve_tcp_batches, handler, 0
                )
                port = listeners[0].socket.getsockname()[1]
                stream = await connect(port)
                await stream.send_all(b"x")
                await trio.sleep_forever()
        except BaseException as error:
            while hasattr(error, "exceptions"):
                (error,) = error.exceptions
            raise error from None
    assert raised.value.args == ("mine",)
    with pytest.raises((trio.BrokenResourceError, EOFError)):
        if await stream.receive_some() == b"":
            raise EOFError
    await stream.aclose()
    assert all(each.socket.fileno() == -1 for each in listeners)


async def test_a_cancelled_server_closes_everything():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(triobatch.serve_tcp_batches, echo, 0)
        stream = await connect(listeners[0].socket.getsockname()[1])
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        nursery.cancel_scope.cancel()
    assert await stream.receive_some() == b""
    await stream.aclose()
    assert all(each.socket.fileno() == -1 for each in listeners)


async def test_listeners_taken_out_of_the_list_are_closed_too():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(triobatch.serve_tcp_batches, echo, 0)
        taken = [listeners.pop() for _ in listeners[:]]
        nursery.cancel_scope.cancel()
    assert taken
    assert all(each.socket.fileno() == -1 for each in taken)


async def test_out_of_descriptors_it_tries_again(
    serve, monkeypatch, caplog, autojump_clock
):
    port = await serve(echo)
    real = calls.accept
    failures = [errno.EMFILE, errno.ENOBUFS]

    def accept(fd):
        if failures:
            raise OSError(failures.pop(), "no more")
        return real(fd)

    monkeypatch.setattr(calls, "accept", accept)
    streams = [await connect(port) for _ in range(4)]
    with caplog.at_level(logging.ERROR, "trio.serve_listeners"):
        with trio.move_on_after(1):
            await trio.sleep_forever()
        last = await connect(port)
        await last.send_all(b"x")
        assert await last.receive_some() == b"x"
    assert len(caplog.records) == 2
    # As trio.serve_listeners logs it, with the error.
    assert all(record.exc_info for record in caplog.records)
    for stream in [*streams, last]:
        await stream.aclose()


async def test_one_that_cannot_be_watched_is_closed_and_the_others_live(
    serve, monkeypatch, caplog, autojump_clock
):
    port = await serve(echo)
    first = await connect(port)
    await first.send_all(b"x")
    assert await first.receive_some() == b"x"
    real = group_members.Members.add
    failures = [errno.ENOSPC, errno.ENOMEM]

    def add(*arguments):
        if failures:
            raise OSError(failures.pop(), "no more")
        real(*arguments)

    monkeypatch.setattr(group_members.Members, "add", add)
    refused = [await connect(port) for _ in range(2)]
    with caplog.at_level(logging.ERROR, "trio.serve_listeners"):
        for stream in refused:
            assert await stream.receive_some() == b""
    for stream in (first, await connect(port)):
        await stream.send_all(b"y")
        assert await stream.receive_some() == b"y"
        await stream.aclose()
    for stream in refused:
        await stream.aclose()


async def test_out_of_descriptors_it_pauses(
    serve, monkeypatch, autojump_clock
):
    tries = []

    def accept(fd):
        tries.append(trio.current_time())
        raise OSError(errno.EMFILE, "no more")

    port = await serve(echo)
    monkeypatch.setattr(calls, "accept", accept)
    async with await connect(port):
        await trio.sleep(1)
    assert 5 <= len(tries) <= 15


async def test_an_error_of_another_kind_ends_it(monkeypatch):
    def accept(fd):
        raise OSError(errno.EFAULT, "a fault")

    monkeypatch.setattr(calls, "accept", accept)
    with pytest.RaisesGroup(
        pytest.RaisesExc(OSError, match="a fault"), flatten_subgroups=True
    ):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(
                lambda task_status: triobatch.serve_tcp_batches(
                    echo, 0, host="127.0.0.1", task_status=task_status
                )
            )
            with socket.create_connection(listener.socket.getsockname()):
                await trio.sleep_forever()


def test_its_group_has_the_sizes_of_any_other():
    server = inspect.signature(triobatch.serve_tcp_batches).parameters
    group = inspect.signature(triobatch.open_stream_group).parameters
    batch = inspect.signature(triobatch.StreamGroup.receive_batch).parameters
    for own, other in (
        ("receive_size", group["receive_size"]),
        ("max_queued", group["max_queued"]),
        ("max_streams", batch["max_streams"]),
    ):
        assert server[own].default == other.default


async def test_arguments_are_checked(sets):
    for options in ({"receive_size": 0}, {"max_queued": -1}):
        with pytest.raises(ValueError, match="must be at least"):
            await triobatch.serve_tcp_batches(echo, 0, **options)


async def test_it_is_started_with_listeners_for_all_addresses(nursery):
    listeners = await nursery.start(triobatch.serve_tcp_batches, echo, 0)
    assert listeners
    assert all(
        isinstance(each, triobatch.BatchSocketListener) for each in listeners
    )
    nursery.cancel_scope.cancel()


@pytest.fixture
def tireless(serve):
    """An async function that starts a server whose client never pauses."""

    async def start(handler):
        stream = None

        async def handle(group, batch):
            await handler(batch)
            if stream.socket.fileno() != -1:
                calls.send(stream.socket.fileno(), b"x")

        port = await serve(handle)
        stream = await connect(port)
        calls.send(stream.socket.fileno(), b"x")
        return stream

    return start


async def test_other_tasks_have_their_turn_beside_a_client_without_pause(
    tireless,
):
    batches = 0

    async def handler(batch):
        nonlocal batches
        batches += len(batch)

    async with await tireless(handler):
        for _ in range(100):
            await trio.lowlevel.checkpoint()
            before = batches
            started = trio.current_time()
            await trio.lowlevel.checkpoint()
            # Not for ever, that is; a loaded machine takes its time.
            assert trio.current_time() - started < 30
            assert batches - before < 10_000
        assert batches


async def test_a_handler_that_cancels_the_server_has_no_batch_after_it():
    batches = 0
    with trio.CancelScope() as scope:

        async def handler(group, batch):
            nonlocal batches
            batches += 1
            scope.cancel()
            calls.send(stream.socket.fileno(), b"x")

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                lambda task_status: triobatch.serve_tcp_batches(
                    handler, 0, host="127.0.0.1", task_status=task_status
                )
            )
            port = listeners[0].socket.getsockname()[1]
            stream = await connect(port)
            calls.send(stream.socket.fileno(), b"x")
    assert batches == 1
    await stream.aclose()


@pytest.mark.parametrize("where", ["accept", "add"])
async def test_any_other_error_of_the_system_ends_it(monkeypatch, where):
    def fail(*_):
        raise OSError(errno.EIO, "broken")

    if where == "accept":
        monkeypatch.setattr(calls, "accept", fail)
    else:
        monkeypatch.setattr(group_members.Members, "add", fail)
    stream = None
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (a group)
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                triobatch.serve_tcp_batches, echo, 0
            )
            stream = await connect(listeners[0].socket.getsockname()[1])
            await trio.sleep_forever()
    error = caught.value
    while hasattr(error, "exceptions"):
        [error] = error.exceptions
    assert error.errno == errno.EIO
    with trio.fail_after(60):
        try:
            assert await stream.receive_some() == b""
        except trio.BrokenResourceError:
            pass
    await stream.aclose()


@pytest.mark.parametrize("which", [1, 2], ids=["first", "behind it"])
async def test_one_that_cannot_be_watched_does_not_end_it(
    serve, monkeypatch, caplog, autojump_clock, which
):
    real, added = group_members.Members.add, []

    def add(self, stream, fileno=None):
        added.append(stream)
        if len(added) == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, stream, fileno)

    monkeypatch.setattr(group_members.Members, "add", add)
    with caplog.at_level(logging.ERROR, "trio.serve_listeners"):
        port = await serve(echo)
        streams = [await connect(port) for _ in range(3)]
        with trio.move_on_after(1):
            await trio.sleep_forever()
    assert len(caplog.records) == 1
    assert added[which - 1].socket.fileno() == -1
    answered = 0
    for stream in streams:
        async with stream:
            try:
                await stream.send_all(b"x")
                answered += await stream.receive_some() == b"x"
            except trio.BrokenResourceError:
                pass
    assert answered == 2
