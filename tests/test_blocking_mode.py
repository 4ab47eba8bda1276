"""A descriptor's mode is not ours alone: no way in blocks the loop.

Whoever shares a socket, as a child that has it for its stdin, may clear its
O_NONBLOCK: shells, node and sshd do. Here every public way to a system call
is taken on such a socket, and the ways are found by looking for them, so that
a new one cannot be forgotten.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import sys
import threading
from types import SimpleNamespace

import pytest
import trio
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch import (
    BatchSocketListener,
    BatchSocketStream,
    BufferedReceiveStream,
    Buffers,
    Datagrams,
    DatagramSocket,
    Run,
    lowlevel,
    open_batch_sender,
)
from triobatch._core import calls
from triobatch._streams.stream import DEFAULT_RECEIVE_SIZE

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a mode that is shared is POSIX's"
)

# More than any of the buffers here holds.
LARGE = bytes(2_000_000)
MANY = [bytes(100)] * 400
PAIRS = [(payload, None) for payload in MANY]
RUNS = [Run(LARGE, 10_000)]
# How long a call may keep the loop before it is helped out, in seconds.
PATIENCE = 5


def via_sender(target, use):
    async def run(have):
        async with open_batch_sender(getattr(have, target)) as sender:
            result = use(sender)
            if inspect.isawaitable(result):
                await result

    return run


def via_shared(use):
    async def run(have):
        async with triobatch.open_shared_stream(have.stream) as shared:
            result = use(shared)
            if inspect.isawaitable(result):
                await result

    return run


def _queue_many(sender):
    for payload in MANY:
        sender.send_nowait(payload)


async def _receive_runs(have):
    async with have.datagrams.receive_runs():
        pass


def _receive_runs_nowait(have):
    with have.datagrams.receive_runs_nowait():
        pass


async def _serve(have):
    async def ignore(stream):
        await trio.lowlevel.checkpoint()

    await triobatch.serve_tcp(ignore, 0, host="127.0.0.1")


async def _serve_batches(have):
    async def ignore(group, batch):
        await trio.lowlevel.checkpoint()

    await triobatch.serve_tcp_batches(ignore, 0, host="127.0.0.1")


async def _batches(have):
    async for _ in have.datagrams.batches():
        pass


async def _answer(*_):
    raise AssertionError("nobody asks")


async def _serve_datagrams(have):
    await triobatch.serve_datagrams(_answer, [have.datagrams])


async def _serve_udp(have):
    await triobatch.serve_udp(_answer, 0, host="127.0.0.1")


async def _open_and_close(opening):
    async with await opening:
        pass


async def _open_tcp_listeners(have):
    for listener in await triobatch.open_tcp_listeners(0, host="127.0.0.1"):
        await listener.aclose()


async def _open_tcp_stream(have):
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        address = listener.socket.getsockname()
        await _open_and_close(triobatch.open_tcp_stream(*address))


async def _open_unix_socket(have):
    async with await triobatch.open_unix_listener(have.path):
        await _open_and_close(triobatch.open_unix_socket(have.path))


def via_reader(use):
    async def run(have):
        await use(BufferedReceiveStream(have.stream))

    return run


def via_group(use):
    async def run(have):
        async with triobatch.open_stream_group() as group:
            group.add(have.stream)
            result = use(group, have.stream)
            if inspect.isawaitable(result):
                await result
            # What was not taken leaves when it can.
            await group.flush()

    return run


def _split_nothing(data):
    return [], 0


async def _send_file(have, **parts):
    with open(have.file, "rb") as file:  # noqa: ASYNC230
        await have.stream.send_file(file, **parts)


async def _send_file_anywhere(have):
    with open(have.file, "rb") as file:  # noqa: ASYNC230
        await triobatch.send_file(have.stream, file)


async def _send_file_in_pieces(have):
    with open(have.file, "rb") as file:  # noqa: ASYNC230
        await triobatch.send_file(BufferedReceiveStream(have.stream), file)


async def _relay_until_nothing_comes(have):
    # As much as one read asks for: from then on the kernel moves the rest.
    have.peer.sendall(bytes(DEFAULT_RECEIVE_SIZE))
    await triobatch.relay(have.tcp, have.slow)


async def _relay_until_nobody_takes_it(have):
    # More than the other side has room for.
    have.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    have.far.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            have.far.send(bytes(DEFAULT_RECEIVE_SIZE))
    await triobatch.relay(have.stream, have.slow)


# By what it is called; None where no system call moves anything.
WAYS = {
    "BatchSocketListener.accept": lambda have: have.listener.accept(),
    "BatchSocketListener.aclose": lambda have: have.listener.aclose(),
    "BatchSocketStream.aclose": lambda have: have.stream.aclose(),
    "BatchSocketStream.getsockopt": None,
    "BatchSocketStream.receive_into": lambda have: have.stream.receive_into(
        [bytearray(9), bytearray(9)]
    ),
    "BatchSocketStream.receive_some": lambda have: have.stream.receive_some(),
    "BatchSocketStream.send_all": lambda have: have.stream.send_all(LARGE),
    "BatchSocketStream.send_buffers": lambda have: have.stream.send_buffers(
        [LARGE, LARGE]
    ),
    "BatchSocketStream.send_buffers, copied": (
        lambda have: have.stream.send_buffers([bytes(64)] * 20_000)
    ),
    "BatchSocketStream.send_buffers, a Buffers copied": (
        lambda have: have.stream.send_buffers(
            Buffers([bytes(64), bytearray(64)] * 10_000)
        )
    ),
    "BatchSocketStream.send_buffers_nowait": (
        lambda have: have.stream.send_buffers_nowait(Buffers([LARGE, LARGE]))
    ),
    "BatchSocketStream.send_file": _send_file,
    "BatchSocketStream.send_file, a header": (
        lambda have: _send_file(have, header=[LARGE])
    ),
    "BatchSocketStream.send_eof": lambda have: have.stream.send_eof(),
    "BatchSocketStream.setsockopt": None,
    "BatchSocketStream.statistics": None,
    "BatchSocketStream.wait_send_all_might_not_block": (
        lambda have: have.stream.wait_send_all_might_not_block()
    ),
    "BufferedReceiveStream.aclose": via_reader(lambda reader: reader.aclose()),
    "BufferedReceiveStream.receive_exactly": via_reader(
        lambda reader: reader.receive_exactly(9)
    ),
    "BufferedReceiveStream.receive_frames": via_reader(
        lambda reader: reader.receive_frames(_split_nothing)
    ),
    "BufferedReceiveStream.receive_into": via_reader(
        lambda reader: reader.receive_into(bytearray(9))
    ),
    "BufferedReceiveStream.receive_into, more than a piece": via_reader(
        lambda reader: reader.receive_into(bytearray(2 * DEFAULT_RECEIVE_SIZE))
    ),
    "BufferedReceiveStream.receive_some": via_reader(
        lambda reader: reader.receive_some()
    ),
    "BufferedReceiveStream.receive_until": via_reader(
        lambda reader: reader.receive_until(b"x", 9)
    ),
    "BufferedReceiveStream.send_all": via_reader(
        lambda reader: reader.send_all(LARGE)
    ),
    "BufferedReceiveStream.send_buffers": via_reader(
        lambda reader: reader.send_buffers([LARGE, LARGE])
    ),
    "BufferedReceiveStream.send_eof": via_reader(
        lambda reader: reader.send_eof()
    ),
    "BufferedReceiveStream.wait_send_all_might_not_block": via_reader(
        lambda reader: reader.wait_send_all_might_not_block()
    ),
    "StreamGroup.add": via_group(lambda group, stream: None),
    "StreamGroup.error": via_group(lambda group, stream: group.error(stream)),
    "StreamGroup.flush": via_group(lambda group, stream: group.flush()),
    "StreamGroup.queued": via_group(
        lambda group, stream: group.queued(stream)
    ),
    "StreamGroup.receive_batch": via_group(
        lambda group, stream: group.receive_batch()
    ),
    "StreamGroup.remove": via_group(
        lambda group, stream: group.remove(stream).clear()
    ),
    "StreamGroup.send_batch_nowait": via_group(
        lambda group, stream: group.send_batch_nowait([(stream, [LARGE])])
    ),
    "StreamGroup.statistics": None,
    "DatagramSocket.aclose": lambda have: have.datagrams.aclose(),
    "DatagramSocket.batches": _batches,
    # setsockopt(2) and getsockopt(2) never wait.
    "DatagramSocket.getsockopt": None,
    "DatagramSocket.join_group": None,
    "DatagramSocket.leave_group": None,
    "DatagramSocket.setsockopt": None,
    "DatagramSocket.receive": lambda have: have.datagrams.receive(),
    "DatagramSocket.receive_batch": (
        lambda have: have.datagrams.receive_batch()
    ),
    "DatagramSocket.receive_batch_nowait": (
        lambda have: have.datagrams.receive_batch_nowait()
    ),
    "DatagramSocket.receive_errors": lambda have: have.udp.receive_errors(),
    "DatagramSocket.receive_errors_nowait": (
        lambda have: have.udp.receive_errors_nowait()
    ),
    "DatagramSocket.receive_messages": (
        lambda have: have.datagrams.receive_messages()
    ),
    "DatagramSocket.receive_messages_nowait": (
        lambda have: have.datagrams.receive_messages_nowait()
    ),
    "DatagramSocket.receive_nowait": (
        lambda have: have.datagrams.receive_nowait()
    ),
    "DatagramSocket.receive_runs": _receive_runs,
    "DatagramSocket.receive_runs_nowait": _receive_runs_nowait,
    "DatagramSocket.send": lambda have: have.full.send(b"x"),
    "DatagramSocket.send_batch": lambda have: have.datagrams.send_batch(PAIRS),
    "DatagramSocket.send_batch_nowait": (
        lambda have: have.datagrams.send_batch_nowait(Datagrams(PAIRS))
    ),
    "DatagramSocket.send_many": lambda have: have.datagrams.send_many(MANY),
    "DatagramSocket.send_many_nowait": (
        lambda have: have.datagrams.send_many_nowait(MANY)
    ),
    "DatagramSocket.send_nowait": lambda have: have.full.send_nowait(b"x"),
    "DatagramSocket.send_runs": lambda have: have.datagrams.send_runs(RUNS),
    "DatagramSocket.send_runs_nowait": (
        lambda have: have.datagrams.send_runs_nowait(RUNS)
    ),
    "DatagramSocket.send_segments": (
        lambda have: have.datagrams.send_segments(LARGE, 10_000)
    ),
    "DatagramSocket.send_segments_nowait": (
        lambda have: have.datagrams.send_segments_nowait(LARGE, 10_000)
    ),
    "DatagramSocket.statistics": None,
    "BatchSender.corked": None,
    "BatchSender.flush": via_sender("stream", lambda sender: sender.flush()),
    "BatchSender.send": via_sender(
        "stream", lambda sender: sender.send(LARGE)
    ),
    "BatchSender.send_nowait": via_sender(
        "stream", lambda sender: sender.send_nowait(bytes(200_000))
    ),
    "BatchSender.statistics": None,
    "BatchSender.wait_broken": None,
    "DatagramBatchSender.corked": None,
    "DatagramBatchSender.flush": via_sender(
        "datagrams", lambda sender: sender.flush()
    ),
    "DatagramBatchSender.queue": via_sender(
        "datagrams", lambda sender: sender.queue(b"x")
    ),
    "DatagramBatchSender.send": via_sender(
        "full", lambda sender: sender.send(b"x")
    ),
    "DatagramBatchSender.send_batch": via_sender(
        "datagrams", lambda sender: sender.send_batch(PAIRS)
    ),
    "DatagramBatchSender.send_nowait": via_sender("datagrams", _queue_many),
    "DatagramBatchSender.statistics": None,
    "DatagramBatchSender.wait_broken": None,
    "SharedStream.aclose": via_shared(lambda shared: shared.aclose()),
    "SharedStream.queue_nowait": via_shared(
        lambda shared: shared.queue_nowait(bytes(200_000))
    ),
    "SharedStream.receive_some": via_shared(
        lambda shared: shared.receive_some()
    ),
    "SharedStream.send_all": via_shared(lambda shared: shared.send_all(LARGE)),
    "SharedStream.send_buffers": via_shared(
        lambda shared: shared.send_buffers([LARGE])
    ),
    "SharedStream.send_eof": via_shared(lambda shared: shared.send_eof()),
    "SharedStream.wait_closed": None,
    "SharedStream.wait_send_all_might_not_block": None,
    # The listener that it wraps is tried above.
    "SharedListener.accept": None,
    "SharedListener.aclose": None,
    "Buffers.write_to": lambda have: Buffers([LARGE]).write_to(have.stream),
    "Buffers.write_to, a datagram": (
        lambda have: Buffers([b"x"]).write_to(have.full)
    ),
    "Buffers.write_to, a pipe": (
        lambda have: Buffers([LARGE]).write_to(have.pipe)
    ),
    "broadcast": lambda have: triobatch.broadcast([have.stream], LARGE),
    "broadcast_nowait": (
        lambda have: triobatch.broadcast_nowait([have.stream], LARGE)
    ),
    "capabilities": None,
    # What it wraps is tried above.
    "inherited_sockets": None,
    "open_batch_sender": None,
    "open_shared_listeners": None,
    "open_shared_stream": None,
    "open_stream_group": None,
    "open_tcp_listeners": _open_tcp_listeners,
    "open_tcp_stream": _open_tcp_stream,
    "open_udp_socket": lambda have: _open_and_close(
        triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    ),
    "open_unix_datagram_socket": lambda have: _open_and_close(
        triobatch.open_unix_datagram_socket(have.path)
    ),
    "open_unix_listener": lambda have: _open_and_close(
        triobatch.open_unix_listener(have.path)
    ),
    "open_unix_socket": _open_unix_socket,
    "receive_proxy_header": via_reader(triobatch.receive_proxy_header),
    "relay, from where nothing comes": _relay_until_nothing_comes,
    "relay, to where there is no room": _relay_until_nobody_takes_it,
    "send_file": _send_file_anywhere,
    "send_file, in pieces": _send_file_in_pieces,
    "send_buffers": lambda have: triobatch.send_buffers(have.stream, [LARGE]),
    "serve_tcp": _serve,
    "serve_tcp_batches": _serve_batches,
    "serve_datagrams": _serve_datagrams,
    "serve_udp": _serve_udp,
    "lowlevel.recvmmsg": lambda have: lowlevel.recvmmsg(
        have.datagrams.socket.fileno(), bytearray(900), 100
    ),
    "lowlevel.sendmmsg": lambda have: lowlevel.sendmmsg(
        have.full.socket.fileno(), PAIRS
    ),
    # What they are given is as often a file: the mode is their caller's.
    "lowlevel.preadv": None,
    "lowlevel.pwritev": None,
    "lowlevel.readv": None,
    "lowlevel.writev": None,
}

CLASSES = [
    BatchSocketListener,
    BatchSocketStream,
    BufferedReceiveStream,
    DatagramSocket,
    triobatch.BatchSender,
    triobatch.DatagramBatchSender,
    triobatch.SharedListener,
    triobatch.SharedStream,
    triobatch.StreamGroup,
]


def public_ways():
    """Return the names of all that might make a system call on a socket."""
    for kind in CLASSES:
        for name in dir(kind):
            if name[0] != "_" and callable(getattr(kind, name)):
                yield f"{kind.__name__}.{name}"
    for prefix, module in [("", triobatch), ("lowlevel.", lowlevel)]:
        for name in module.__all__:
            if inspect.isroutine(getattr(module, name)):
                yield prefix + name
    yield "Buffers.write_to"


def test_every_public_way_is_tried():
    assert {name.partition(",")[0] for name in WAYS} == set(public_ways())


def test_every_class_with_a_socket_is_among_them():
    assert set(CLASSES) == {
        kind
        for kind in map(vars(triobatch).get, triobatch.__all__)
        if inspect.isclass(kind)
        and any(
            inspect.iscoroutinefunction(getattr(kind, name))
            for name in dir(kind)
        )
        and kind is not Buffers
        # Its ways are those of who derives from it, and makes the calls.
        and not inspect.isabstract(kind)
    }


@pytest.fixture
async def have(tmp_path):
    """Sockets whose O_NONBLOCK is cleared, and how to help a call out."""
    near, far = socket.socketpair()
    slow, stuck = socket.socketpair()
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    full, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    # Not as Unix sockets, where SPLICE_F_NONBLOCK is enough.
    peer = socket.create_connection(address)
    tcp, _ = listening.accept()
    source, sink = os.pipe()
    wrap = tsocket.from_stdlib_socket
    made = SimpleNamespace(
        path=tmp_path / "socket",
        file=tmp_path / "file",
        far=far,
        peer=peer,
        tcp=BatchSocketStream(wrap(tcp)),
        slow=BatchSocketStream(wrap(slow)),
        stream=BatchSocketStream(wrap(near)),
        datagrams=DatagramSocket(wrap(first)),
        full=DatagramSocket(wrap(full)),
        udp=DatagramSocket(wrap(udp), error_queue=sys.platform == "linux"),
        listener=BatchSocketListener(wrap(listening)),
        pipe=trio.lowlevel.FdStream(sink),
        # Whoever waits in a system call then gets an end, or an error.
        helped=threading.Event(),
    )
    made.file.write_bytes(LARGE)
    with pytest.raises(trio.WouldBlock):
        while True:
            made.full.send_nowait(b"filling")

    others = [sock.dup() for sock in (near, slow, tcp, first, full)]

    def help_out():
        made.helped.set()
        for sock in others:
            sock.shutdown(socket.SHUT_RDWR)
        os.close(source)
        socket.create_connection(address).close()
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(
            b"x", udp.getsockname()
        )

    made.help_out = help_out
    for each in near, slow, tcp, first, full, udp, listening:
        each.setblocking(True)
    os.set_blocking(sink, True)
    yield made
    if not made.helped.is_set():
        os.close(source)
    for sock in far, stuck, peer, second, reader, *others:
        sock.close()
    for each in (
        made.stream, made.slow, made.tcp, made.datagrams, made.full, made.udp,
        made.listener, made.pipe,
    ):  # fmt: skip
        await each.aclose()


async def _call(way, have):
    try:
        result = way(have)
        if inspect.isawaitable(result):
            await result
    except (trio.WouldBlock, BlockingIOError):
        pass


@pytest.mark.parametrize("name", [name for name in WAYS if WAYS[name]])
async def test_no_way_blocks_the_loop(have, name):
    if "errors" in name and sys.platform != "linux":
        pytest.skip("only Linux has an error queue")
    helper = threading.Timer(PATIENCE, have.help_out)
    helper.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_call, WAYS[name], have)
        await wait_all_tasks_blocked(0.01)
        helper.cancel()
        nursery.cancel_scope.cancel()
    helper.join()
    assert not have.helped.is_set()


def test_accept_2_does_not_wait():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        helper = threading.Timer(
            PATIENCE, socket.create_connection, [listening.getsockname()]
        )
        helper.start()
        with pytest.raises(BlockingIOError):
            calls.accept(listening.fileno())
        helper.cancel()


async def test_a_mode_that_changes_at_once_does_not_matter(have, monkeypatch):
    monkeypatch.setattr(socket.socket, "setblocking", lambda *_: None)
    await test_no_way_blocks_the_loop(have, "BatchSocketListener.accept")


async def test_a_listener_that_waits_is_not_stopped_by_a_stolen_connection(
    have,
):
    """As in a server with several processes, of which one made it blocking."""
    accept = have.listener.accept
    other = socket.socket(fileno=os.dup(have.listener.socket.fileno()))
    helper = threading.Timer(PATIENCE, have.help_out)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await wait_all_tasks_blocked()
        other.setblocking(True)
        helper.start()
        with socket.create_connection(other.getsockname()):
            # Before the task that waits has its turn.
            taken, _ = other.accept()
            taken.close()
            await wait_all_tasks_blocked(0.01)
        helper.cancel()
        nursery.cancel_scope.cancel()
    helper.join()
    other.close()
    assert not have.helped.is_set()
