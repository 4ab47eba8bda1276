from __future__ import annotations

import errno
import os
import socket

import pytest
import trio
from helpers import need_unix_sockets
from trio import socket as tsocket
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketListener, BatchSocketStream
from triobatch._core import calls
from triobatch._streams import listener as listening
from triobatch.testing import os_error


@pytest.fixture
def where(tmp_path):
    return tmp_path / "socket"


@pytest.fixture
def listen(family, where):
    """An async function that listens, and says how to connect."""

    async def start():
        if family == "unix":
            need_unix_sockets()
            listener = await triobatch.open_unix_listener(where)
            return listener, (triobatch.open_unix_socket, where)
        [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
        return listener, (
            triobatch.open_tcp_stream,
            *listener.socket.getsockname(),
        )

    return start


# Accepting


async def test_what_is_accepted_and_opened_is_a_batch_stream(listen):
    listener, (open_stream, *address) = await listen()
    assert isinstance(listener, BatchSocketListener)
    async with listener:
        with assert_checkpoints():
            near = await open_stream(*address)
        with assert_checkpoints():
            far = await listener.accept()
        async with near, far:
            assert type(near) is type(far) is BatchSocketStream
            await near.send_buffers([b"hello ", b"world"])
            assert await far.receive_some() == b"hello world"
            await far.send_buffers([b"bye"])
            assert await near.receive_some() == b"bye"


async def test_accepting_waits_for_a_connection(listen):
    listener, (open_stream, *address) = await listen()
    async with listener, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept():
            await (await listener.accept()).aclose()

        await wait_all_tasks_blocked()
        await (await open_stream(*address)).aclose()


async def test_a_second_task_that_waits_to_accept_is_refused(listen):
    listener, _ = await listen()
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await listener.accept()
        nursery.cancel_scope.cancel()


async def test_a_closed_listener_accepts_nothing(listen):
    listener, _ = await listen()
    for _ in range(2):
        with assert_checkpoints():
            await listener.aclose()
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await listener.accept()


async def test_accepting_ends_when_another_task_closes(listen):
    listener, _ = await listen()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept():
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        await wait_all_tasks_blocked()
        await listener.aclose()


async def test_a_cancelled_close_closes(listen):
    listener, _ = await listen()
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.aclose()
    assert scope.cancelled_caught
    assert listener.socket.fileno() == -1


class FakeListeningSocket(tsocket.SocketType):
    """Replays what ``accept`` is to give."""

    type = tsocket.SOCK_STREAM

    def __init__(self, results):
        self._results = list(results)

    def getsockopt(self, level, option):
        return True

    async def accept(self):
        await trio.lowlevel.checkpoint()
        result = self._results.pop(0)
        if isinstance(result, OSError):
            raise result
        return result, None


async def test_errors_of_single_connections_are_ignored(pair):
    aborted = OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
    listener = BatchSocketListener(
        FakeListeningSocket([aborted, aborted, pair[0].socket])
    )
    assert (await listener.accept()).socket is pair[0].socket


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS]
)
async def test_want_of_resources_is_an_error(number):
    listener = BatchSocketListener(
        FakeListeningSocket([OSError(number, os.strerror(number))])
    )
    with pytest.raises(OSError, match=os.strerror(number)):
        await listener.accept()


async def test_a_stream_that_cannot_be_made_is_closed(pair):
    # As when Ctrl-C comes just then; Trio's listener has wrapped it by then.
    sock = pair[0].socket

    class FailsLate(tsocket.SocketType):
        type = tsocket.SOCK_STREAM
        closed = False
        calls = 0

        def setsockopt(self, *args):
            # Trio's stream sets two options, and ours come after.
            FailsLate.calls += 1
            if FailsLate.calls > 2:
                raise LookupError

        def close(self):
            FailsLate.closed = True
            sock.close()

    listener = BatchSocketListener(FakeListeningSocket([FailsLate()]))
    with pytest.raises(LookupError):
        await listener.accept()
    assert FailsLate.closed


# The constructor


@pytest.mark.parametrize("other", [object(), None, 3])
def test_only_a_trio_socket_is_wrapped(other):
    with pytest.raises(TypeError):
        BatchSocketListener(other)


async def test_a_socket_of_another_type_is_refused():
    with (
        tsocket.socket(type=tsocket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="SOCK_STREAM"),
    ):
        BatchSocketListener(sock)


async def test_a_socket_that_does_not_listen_is_refused():
    with (
        tsocket.socket() as sock,
        pytest.raises(ValueError, match="listening"),
    ):
        BatchSocketListener(sock)


# TCP


async def test_all_interfaces_are_listened_on_by_default():
    listeners = await triobatch.open_tcp_listeners(0)
    assert listeners
    for listener in listeners:
        assert type(listener) is BatchSocketListener
        await listener.aclose()


async def test_a_backlog_is_an_integer():
    with pytest.raises(TypeError):
        await triobatch.open_tcp_listeners(0, host="127.0.0.1", backlog=1.0)
    with pytest.raises(TypeError):
        await triobatch.open_tcp_listeners("80", host="127.0.0.1")
    [listener] = await triobatch.open_tcp_listeners(
        0, host="127.0.0.1", backlog=1
    )
    await listener.aclose()


async def test_an_address_in_use_is_an_error():
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await triobatch.open_tcp_listeners(port, host="127.0.0.1")


async def test_where_nobody_listens_connecting_is_an_error():
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listener.socket.getsockname()
    await listener.aclose()
    with pytest.raises(OSError, match="all attempts to connect"):
        await triobatch.open_tcp_stream(*address)


@pytest.mark.parametrize("port", [None, 80.0])
async def test_a_port_is_an_integer(port):
    with pytest.raises(TypeError):
        await triobatch.open_tcp_stream("127.0.0.1", port)


async def test_a_stream_may_come_from_a_local_address_at_once():
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        stream = await triobatch.open_tcp_stream(
            *listener.socket.getsockname(),
            happy_eyeballs_delay=None,
            local_address="127.0.0.9",
        )
        async with stream:
            assert stream.socket.getsockname()[0] == "127.0.0.9"


# Serving


async def echo(stream):
    async for piece in stream:
        await stream.send_buffers([piece])


async def test_serving_starts_and_answers():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            lambda task_status: triobatch.serve_tcp(
                echo, 0, host="127.0.0.1", task_status=task_status
            )
        )
        assert [type(each) for each in listeners] == [BatchSocketListener]
        for _ in range(2):
            stream = await triobatch.open_tcp_stream(
                *listeners[0].socket.getsockname()
            )
            async with stream:
                await stream.send_buffers([b"a", b"b"])
                await stream.send_eof()
                received = b"".join([piece async for piece in stream])
                assert received == b"ab"
        nursery.cancel_scope.cancel()
    assert listeners[0].socket.fileno() == -1


async def test_handlers_run_in_the_nursery_they_are_given():
    async with trio.open_nursery() as handlers, trio.open_nursery() as nursery:

        async def note(stream):
            task = trio.lowlevel.current_task()
            parents.append(task.parent_nursery)
            await stream.send_all(b"noted")

        parents = []
        [listener] = await nursery.start(
            lambda task_status: triobatch.serve_tcp(
                note,
                0,
                host="127.0.0.1",
                backlog=5,
                handler_nursery=handlers,
                task_status=task_status,
            )
        )
        stream = await triobatch.open_tcp_stream(
            *listener.socket.getsockname()
        )
        async with stream:
            assert b"".join([piece async for piece in stream]) == b"noted"
        nursery.cancel_scope.cancel()
    assert parents == [handlers]


async def test_what_a_handler_lets_out_ends_the_server():
    async def fail(stream):
        raise LookupError

    async def serve(task_status):
        with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
            await triobatch.serve_tcp(
                fail, 0, host="127.0.0.1", task_status=task_status
            )

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(serve)
        stream = await triobatch.open_tcp_stream(
            *listener.socket.getsockname()
        )
        await stream.aclose()


# Names, ports, and several processes


def test_a_listener_is_a_socket_listener():
    assert issubclass(BatchSocketListener, trio.SocketListener)


@pytest.mark.parametrize(
    ("port", "error"),
    [
        ("80", TypeError),
        (80.0, TypeError),
        (None, TypeError),
        (True, TypeError),
        (-1, ValueError),
        (65536, ValueError),
    ],
)
async def test_a_port_that_cannot_be_is_refused(port, error):
    with pytest.raises(error, match="port must be"):
        await triobatch.open_tcp_listeners(port, host="127.0.0.1")


@pytest.mark.parametrize(
    "options", [{"host": 5}, {"backlog": 1.5}, {"backlog": "1"}]
)
async def test_what_is_no_host_and_no_backlog_is_refused(options):
    with pytest.raises(TypeError, match="must be"):
        await triobatch.open_tcp_listeners(0, **options)


async def test_a_name_that_is_none_is_not_found():
    with pytest.raises(socket.gaierror):
        await triobatch.open_tcp_listeners(0, host="a" * 70)


async def test_a_name_is_bound_as_far_as_can_be(monkeypatch):
    rows = [
        # An address of no host, one of this, and that once more.
        (tsocket.AF_INET, tsocket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (tsocket.AF_INET, tsocket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (tsocket.AF_INET, tsocket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]

    async def getaddrinfo(*_, **__):
        await trio.lowlevel.checkpoint()
        return rows

    monkeypatch.setattr(tsocket, "getaddrinfo", getaddrinfo)
    [listener] = await triobatch.open_tcp_listeners(0, host="anything")
    assert listener.socket.getsockname()[0] == "127.0.0.1"
    await listener.aclose()
    del rows[1:]
    with pytest.raises(OSError, match="assign"):
        await triobatch.open_tcp_listeners(0, host="anything")


async def test_a_port_in_use_is_refused_and_nothing_is_left_open():
    [first] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with first:
        port = first.socket.getsockname()[1]
        before = os.listdir("/proc/self/fd")
        for reuse_port in (False, True):
            with pytest.raises(OSError, match="in use"):
                await triobatch.open_tcp_listeners(
                    port, host="127.0.0.1", reuse_port=reuse_port
                )
        assert os.listdir("/proc/self/fd") == before


async def test_several_share_a_port_if_each_asks_for_it():
    [first] = await triobatch.open_tcp_listeners(
        0, host="127.0.0.1", reuse_port=True
    )
    address = first.socket.getsockname()
    [second] = await triobatch.open_tcp_listeners(
        address[1], host="127.0.0.1", reuse_port=True
    )
    accepted = {first: 0, second: 0}
    async with first, second, trio.open_nursery() as nursery:

        async def accept(listener):
            while True:
                await (await listener.accept()).aclose()
                accepted[listener] += 1

        for listener in accepted:
            nursery.start_soon(accept, listener)
        for _ in range(64):
            stream = await triobatch.open_tcp_stream(*address)
            assert await stream.receive_some() == b""
            await stream.aclose()
        nursery.cancel_scope.cancel()
    # Each gets half; that one gets none has the odds of 2**-63.
    assert all(accepted.values())


async def test_a_port_that_was_just_used_can_be_bound_again():
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listener.socket.getsockname()
    stream = await triobatch.open_tcp_stream(*address)
    # Whose close leaves the port in TIME_WAIT.
    await (await listener.accept()).aclose()
    await listener.aclose()
    await stream.aclose()
    [again] = await triobatch.open_tcp_listeners(address[1], host="127.0.0.1")
    await again.aclose()


async def test_a_system_without_reuse_port_says_so(monkeypatch):
    monkeypatch.delattr(tsocket, "SO_REUSEPORT")
    with pytest.raises(OSError, match="no SO_REUSEPORT"):
        await triobatch.open_tcp_listeners(
            0, host="127.0.0.1", reuse_port=True
        )


async def test_an_error_that_is_raised_is_a_checkpoint(listen, monkeypatch):
    def fail(fd):
        raise os_error(errno.EMFILE)

    listener, (open_stream, *address) = await listen()
    monkeypatch.setattr(calls, "accept", fail)
    async with listener, await open_stream(*address):
        with assert_checkpoints(), pytest.raises(OSError, match="Too many"):
            await listener.accept()


async def test_a_connection_that_was_aborted_is_passed_over(listen, around):
    errors = [errno.ECONNABORTED, errno.EPROTO]

    def accept(real, fd):
        if errors:
            raise os_error(errors.pop())
        return real(fd)

    listener, (open_stream, *address) = await listen()
    around("accept", accept)
    async with (
        listener,
        await open_stream(*address) as stream,
        await listener.accept() as accepted,
    ):
        await accepted.send_all(b"x")
        assert await stream.receive_some() == b"x"
    assert not errors


async def test_a_family_that_the_host_has_not_is_passed_over(monkeypatch):
    real = tsocket.socket
    lacking = {tsocket.AF_INET6: errno.EAFNOSUPPORT}

    def make(family, *args):
        if family in lacking:
            raise os_error(lacking[family])
        return real(family, *args)

    monkeypatch.setattr(tsocket, "socket", make)
    [listener] = await triobatch.open_tcp_listeners(0)
    await listener.aclose()
    before = os.listdir("/proc/self/fd")
    lacking[tsocket.AF_INET6] = errno.EMFILE
    with pytest.raises(OSError, match="Too many"):
        await triobatch.open_tcp_listeners(0)
    lacking.update(dict.fromkeys(lacking | {tsocket.AF_INET: 0}, 97))
    with pytest.raises(OSError, match="not supported"):
        await triobatch.open_tcp_listeners(0)
    assert os.listdir("/proc/self/fd") == before


async def test_a_connection_that_cannot_be_asked_after_is_closed():
    class Failing(tsocket.SocketType):
        closed = False

        def getpeername(self):
            raise os_error(errno.ENOBUFS)

        def close(self):
            self.closed = True

    sock = Failing()
    with pytest.raises(OSError, match="No buffer space"):
        listening._is_connected(sock)
    assert sock.closed


async def test_without_unix_sockets_there_is_no_unix_listener(
    where, monkeypatch
):
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(RuntimeError, match="no Unix sockets"):
        await triobatch.open_unix_listener(where)


async def test_connections_that_are_gone_do_not_keep_others_from_running(
    listen, monkeypatch
):
    left, turns = 20, 0

    def accept(fd):
        nonlocal left
        if left:
            left -= 1
            raise os_error(errno.ECONNABORTED)
        return real(fd)

    async def take_turns():
        nonlocal turns
        while left:
            await trio.lowlevel.checkpoint()
            turns += 1

    listener, (open_stream, *address) = await listen()
    real = calls.accept
    monkeypatch.setattr(calls, "accept", accept)
    async with (
        listener,
        await open_stream(*address),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(take_turns)
        async with await listener.accept():
            assert turns >= 10


async def test_a_port_that_another_listens_on_just_then_leaves_nothing_open(
    monkeypatch,
):
    bound, sockets = listening.bound_sockets, []
    other = socket.socket()

    async def overtaken(*arguments):
        sockets.extend(await bound(*arguments))
        other.listen()
        return sockets

    monkeypatch.setattr(listening, "bound_sockets", overtaken)
    with other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            await triobatch.open_tcp_listeners(
                other.getsockname()[1], host="127.0.0.1"
            )
    assert [sock.fileno() for sock in sockets] == [-1]
