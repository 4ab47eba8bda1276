"""Every public call that takes arguments, ready to be made.

``CALLS`` has for each a function that returns what to call, and the arguments
that are right. ``test_wrong_arguments`` puts wrong ones in their places.
"""

from __future__ import annotations

import inspect
import socket
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from typing import get_origin

import trio

import triobatch
from triobatch import (
    Address,
    BufferedReceiveStream,
    Buffers,
    Datagrams,
    DatagramSocket,
    Metadata,
    lowlevel,
    testing,
)

# What the library makes itself, and nobody calls: results, events, what
# functions return.
MADE = {
    "AbstractDatagramSocket",
    "BatchSender",
    "Capabilities",
    "DatagramBatchSender",
    "DatagramError",
    "DatagramErrorGroup",
    "DatagramStatistics",
    "Delivery",
    "FrameTooLargeError",
    "GroupStatistics",
    "Message",
    "PeerError",
    "ProxyHeaderError",
    "SenderStatistics",
    "SharedListener",
    "SharedStream",
    "StreamGroup",
    "StreamStatistics",
    "TruncatedDatagramError",
    "testing.MemoryDatagramSocket",
    "testing.NetworkStatistics",
    "testing.ScriptedCalls",
    "testing.SimulatedDatagramSocket",
    "testing.SimulatedNetwork",
}
# The methods of the standard library's, and of exceptions and tuples.
NOT_OURS = {
    "getsockopt",
    "setsockopt",
    "add_note",
    "count",
    "derive",
    "index",
    "split",
    "subgroup",
    "with_traceback",
}


def public_calls():
    """Return every public function, method and class, by its name."""
    calls = {}
    for prefix, module in (
        ("", triobatch),
        ("lowlevel.", lowlevel),
        ("testing.", testing),
    ):
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isfunction(member):
                calls[prefix + name] = member
            # Python 3.10 takes tuple[...] for a class.
            if not inspect.isclass(member) or get_origin(member):
                continue
            if prefix + name not in MADE:
                calls[prefix + name] = member
            for attribute, method in inspect.getmembers(
                member, inspect.isfunction
            ):
                if attribute[0] != "_" and (
                    attribute not in NOT_OURS or member is Datagrams
                ):
                    calls[f"{prefix}{name}.{attribute}"] = method
    # The same functions, by the class that they are of.
    for name in list(calls):
        owner, _, attribute = name.rpartition(".")
        if owner in {
            "AbstractDatagramSocket",
            "testing.SimulatedDatagramSocket",
        }:
            shared = calls[f"DatagramSocket.{attribute}"]
            assert attribute == "aclose" or shared is calls[name]
            del calls[name]
    return {
        name: function
        for name, function in calls.items()
        if parameters(function)
    }


def parameters(function):
    """Return the parameters of a call, by name, with their annotations."""
    try:
        found = inspect.signature(function).parameters
    except ValueError:
        return {}
    return {
        name: as_written(parameter.annotation)
        for name, parameter in found.items()
        if name != "self"
    }


def as_written(annotation):
    """Return an annotation's text.

    A dataclass's ``__init__`` has what the text stands for, from Python 3.14
    on.
    """
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type):
        return annotation.__name__
    text = str(annotation).replace(str(Address), "Address")
    return text.removeprefix("typing.")


class Scene:
    """What the calls are made with."""

    def __init__(self, directory):
        self.path = directory / "socket"
        (directory / "file").write_bytes(b"content")
        self.file_path = directory / "file"


@asynccontextmanager
async def open_scene(directory):
    """Open one of everything."""
    scene = Scene(directory)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        (scene.listener,) = await triobatch.open_tcp_listeners(
            0, host="127.0.0.1"
        )
        await enter(scene.listener)
        scene.port = scene.listener.socket.getsockname()[1]
        streams = [
            [triobatch.BatchSocketStream(s) for s in trio.socket.socketpair()]
            for _ in range(4)
        ]
        for stream in (one for pair in streams for one in pair):
            await enter(stream)
        scene.stream = streams[0][0]
        scene.reader = BufferedReceiveStream(streams[0][1])
        scene.member = streams[1][0]
        scene.udp = await enter(
            await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
        )
        scene.own = scene.udp.socket.getsockname()
        scene.memory, _ = testing.memory_datagram_pair()
        scene.sent_on = await enter(
            await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
        )
        scene.sender = await enter(triobatch.open_batch_sender(streams[2][0]))
        scene.datagram_sender = await enter(
            triobatch.open_batch_sender(scene.sent_on)
        )
        scene.shared = await enter(triobatch.open_shared_stream(streams[3][0]))
        scene.group = await enter(triobatch.open_stream_group())
        scene.group.add(scene.member)
        scene.network = await enter(testing.open_simulated_network(1))
        scene.file = stack.enter_context(
            scene.file_path.open("rb+", buffering=0)
        )
        yield scene


async def run_handler(*_):
    raise AssertionError("nothing is served")


def encoded(metadata, scene):
    """Send with metadata, which are looked at then."""
    scene.udp.send_nowait(b"x", scene.own, metadata=metadata)


def of(attribute, name, **arguments):
    """Return a method of what the scene has, with right arguments."""

    def call(scene):
        made = {
            key: value(scene) if inspect.isfunction(value) else value
            for key, value in arguments.items()
        }
        return getattr(getattr(scene, attribute), name), made

    return call


def plain(function, **arguments):
    """Return a function, with right arguments."""

    def call(scene):
        made = {
            key: value(scene) if inspect.isfunction(value) else value
            for key, value in arguments.items()
        }
        return function, made

    return call


def in_a_thread(function):
    """Return what calls it in another thread: it is no part of a run."""

    def call(**arguments):
        errors = []

        def run():
            try:
                function(**arguments)
            except BaseException as error:  # noqa: BLE001 (raised again)
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        for error in errors:
            raise error

    return call


def handler(_):
    return run_handler


def own(scene):
    return scene.own


ADDRESSED = {"address": own, "metadata": None}
PAIRS = lambda scene: [(b"x", scene.own)]  # noqa: E731
QUEUE = lambda scene: Datagrams(PAIRS(scene))  # noqa: E731
RUNS = lambda _: [triobatch.Run(b"x", 1)]  # noqa: E731
CHOICE = {"errors": "raise"}

DATAGRAM_SOCKET = {
    "batches": {"max_datagrams": 1},
    "receive_batch": {"max_datagrams": 1},
    "receive_batch_nowait": {"max_datagrams": 1},
    "receive_messages": {"max_datagrams": 1, "fields": None},
    "receive_messages_nowait": {"max_datagrams": 1, "fields": None},
    "receive_runs": {"max_bytes": 1},
    "receive_runs_nowait": {"max_bytes": 1},
    "send": {"data": b"x", **ADDRESSED, **CHOICE},
    "send_nowait": {"data": b"x", **ADDRESSED, **CHOICE},
    "send_batch": {"datagrams": PAIRS, "metadata": None, **CHOICE},
    "send_batch_nowait": {"datagrams": QUEUE, "metadata": None, **CHOICE},
    "send_many": {"payloads": [b"x"], **ADDRESSED, **CHOICE},
    "send_many_nowait": {"payloads": [b"x"], **ADDRESSED, **CHOICE},
    "send_runs": {"runs": RUNS, **ADDRESSED, **CHOICE},
    "send_runs_nowait": {"runs": RUNS, **ADDRESSED, **CHOICE},
    "send_segments": {
        "data": b"x",
        "segment_size": 1,
        **ADDRESSED,
        **CHOICE,
    },
    "send_segments_nowait": {
        "data": b"x",
        "segment_size": 1,
        **ADDRESSED,
        **CHOICE,
    },
}
BUFFERS = {
    "append": {"chunk": b"x"},
    "consume": {"size": 0},
    "extend": {"chunks": [b"x"]},
    "read": {"size": 0},
    "readinto": {"buffer": lambda _: bytearray(1)},
    "write_to": {"target": lambda scene: scene.stream},
}
SHARING = {"max_buffered": 1, "grace": 1.0}
SERVING = {
    "handler": handler,
    "port": 0,
    "host": "127.0.0.1",
    "task_status": trio.TASK_STATUS_IGNORED,
}
TCP = {**SERVING, "backlog": None}
FILE = {
    "file": lambda scene: scene.file,
    "offset": 0,
    "size": 1,
    "header": (),
    "trailer": (),
}
VECTORS = {"fd": lambda scene: scene.file.fileno(), "buffers": [b"x"]}
ROOM = {**VECTORS, "buffers": lambda _: [bytearray(1)]}

CALLS = {
    "BatchSender.send": of("sender", "send", data=b"x"),
    "BatchSender.send_nowait": of("sender", "send_nowait", data=b"x"),
    "BatchSocketListener": plain(
        triobatch.BatchSocketListener,
        socket=lambda scene: scene.listener.socket,
    ),
    "BatchSocketStream": plain(
        triobatch.BatchSocketStream, socket=lambda scene: scene.stream.socket
    ),
    "BatchSocketStream.receive_into": of(
        "stream", "receive_into", buffers=lambda _: bytearray(1)
    ),
    "BatchSocketStream.receive_some": of(
        "stream", "receive_some", max_bytes=1
    ),
    "BatchSocketStream.send_all": of("stream", "send_all", data=b"x"),
    "BatchSocketStream.send_buffers": of(
        "stream", "send_buffers", buffers=[b"x"]
    ),
    "BatchSocketStream.send_buffers_nowait": of(
        "stream", "send_buffers_nowait", buffers=lambda _: Buffers([b"x"])
    ),
    "BatchSocketStream.send_file": of("stream", "send_file", **FILE),
    "BufferedReceiveStream": plain(
        BufferedReceiveStream, stream=lambda scene: scene.stream
    ),
    "BufferedReceiveStream.receive_exactly": of(
        "reader", "receive_exactly", size=1
    ),
    "BufferedReceiveStream.receive_frames": of(
        "reader",
        "receive_frames",
        split=lambda _: lambda view: ([view], len(view)),
        limit=10,
    ),
    "BufferedReceiveStream.receive_into": of(
        "reader", "receive_into", buffers=lambda _: bytearray(1)
    ),
    "BufferedReceiveStream.receive_some": of(
        "reader", "receive_some", max_bytes=1
    ),
    "BufferedReceiveStream.receive_until": of(
        "reader", "receive_until", delimiter=b"\n", limit=10
    ),
    "BufferedReceiveStream.send_all": of("reader", "send_all", data=b"x"),
    "BufferedReceiveStream.send_buffers": of(
        "reader", "send_buffers", buffers=[b"x"]
    ),
    "Buffers": plain(Buffers, chunks=[b"x"]),
    **{
        f"Buffers.{name}": plain(
            lambda _name=name, **arguments: getattr(Buffers([b"x"]), _name)(
                **arguments
            ),
            **arguments,
        )
        for name, arguments in BUFFERS.items()
    },
    "DatagramBatchSender.queue": of(
        "datagram_sender", "queue", data=b"x", **ADDRESSED
    ),
    "DatagramBatchSender.send": of(
        "datagram_sender", "send", data=b"x", **ADDRESSED, errors=None
    ),
    "DatagramBatchSender.send_batch": of(
        "datagram_sender",
        "send_batch",
        datagrams=PAIRS,
        metadata=None,
        errors=None,
    ),
    "DatagramBatchSender.send_nowait": of(
        "datagram_sender", "send_nowait", data=b"x", **ADDRESSED
    ),
    "DatagramSocket": plain(
        DatagramSocket,
        socket=lambda scene: scene.udp.socket,
        error_queue=False,
    ),
    **{
        f"DatagramSocket.{name}": of("udp", name, **arguments)
        for name, arguments in DATAGRAM_SOCKET.items()
    },
    **{
        f"testing.MemoryDatagramSocket.{name}": of(
            "memory",
            name,
            **{
                key: None if key == "address" else value
                for key, value in arguments.items()
            },
        )
        for name, arguments in DATAGRAM_SOCKET.items()
    },
    "DatagramSocket.join_group": of(
        "udp", "join_group", group="224.0.0.251", interface=None
    ),
    "DatagramSocket.leave_group": of(
        "udp", "leave_group", group="224.0.0.251", interface=None
    ),
    "Datagrams": plain(Datagrams, datagrams=PAIRS),
    "Datagrams.append": plain(
        lambda **arguments: Datagrams().append(**arguments),
        datagram=lambda scene: (b"x", scene.own),
    ),
    "Datagrams.consume": plain(
        lambda **arguments: Datagrams([(b"x", None)]).consume(**arguments),
        count=0,
    ),
    "Datagrams.extend": plain(
        lambda **arguments: Datagrams().extend(**arguments), datagrams=PAIRS
    ),
    "FileSlice": plain(
        triobatch.FileSlice, file=lambda scene: scene.file, offset=0, size=1
    ),
    "Metadata": lambda scene: (
        lambda **arguments: encoded(Metadata(**arguments), scene),
        {
            "tos": 0,
            "ttl": 64,
            "local_address": "127.0.0.1",
            "interface_index": 1,
        },
    ),
    "Metadata.only": plain(
        Metadata(tos=1).only, fields=lambda _: frozenset({"tos"})
    ),
    "ProxyHeader": plain(
        lambda **arguments: triobatch.ProxyHeader(**arguments).encode(),
        source=("192.0.2.1", 1),
        destination=("192.0.2.2", 2),
        local=False,
        transport="stream",
        extensions=((2, b"x"),),
    ),
    "ProxyHeader.encode": plain(
        triobatch.ProxyHeader(("192.0.2.1", 1), ("192.0.2.2", 2)).encode,
        version=2,
    ),
    "Run": plain(triobatch.Run, data=b"x", segment_size=1, address=None),
    "SharedStream.queue_nowait": of("shared", "queue_nowait", data=b"x"),
    "SharedStream.receive_some": of("shared", "receive_some", max_bytes=1),
    "SharedStream.send_all": of("shared", "send_all", data=b"x"),
    "SharedStream.send_buffers": of("shared", "send_buffers", buffers=[b"x"]),
    "StreamGroup.add": of("group", "add", stream=lambda scene: scene.stream),
    "StreamGroup.error": of(
        "group", "error", stream=lambda scene: scene.member
    ),
    "StreamGroup.flush": of(
        "group", "flush", stream=lambda scene: scene.member
    ),
    "StreamGroup.queued": of(
        "group", "queued", stream=lambda scene: scene.member
    ),
    "StreamGroup.receive_batch": of("group", "receive_batch", max_streams=1),
    "StreamGroup.remove": of(
        "group", "remove", stream=lambda scene: scene.member
    ),
    "StreamGroup.send_batch_nowait": of(
        "group",
        "send_batch_nowait",
        messages=lambda scene: [(scene.member, b"x")],
    ),
    "broadcast": plain(
        triobatch.broadcast,
        streams=lambda scene: [scene.stream],
        data=b"x",
        result=None,
    ),
    "broadcast_nowait": plain(
        triobatch.broadcast_nowait,
        streams=lambda scene: [scene.stream],
        data=b"x",
    ),
    "open_batch_sender": plain(
        triobatch.open_batch_sender, target=lambda s: s.stream, **SHARING
    ),
    "open_shared_listeners": plain(
        triobatch.open_shared_listeners,
        listeners=lambda scene: [scene.listener],
        **SHARING,
    ),
    "open_shared_stream": plain(
        triobatch.open_shared_stream, stream=lambda s: s.stream, **SHARING
    ),
    "open_stream_group": plain(
        triobatch.open_stream_group, receive_size=1, max_queued=1
    ),
    "open_tcp_listeners": plain(
        triobatch.open_tcp_listeners,
        port=0,
        host="127.0.0.1",
        backlog=None,
        reuse_port=False,
    ),
    "open_tcp_stream": plain(
        triobatch.open_tcp_stream,
        host="127.0.0.1",
        port=lambda scene: scene.port,
        happy_eyeballs_delay=0.25,
        local_address=None,
    ),
    "open_udp_socket": plain(
        triobatch.open_udp_socket,
        local_address=("127.0.0.1", 0),
        remote_address=("127.0.0.1", 9),
        family=int(socket.AF_INET),
        reuse_port=False,
        receive_buffer_size=None,
        error_queue=False,
        allow_broadcast=False,
    ),
    "open_unix_datagram_socket": plain(
        triobatch.open_unix_datagram_socket,
        path=lambda scene: scene.path,
        mode=None,
    ),
    "open_unix_listener": plain(
        triobatch.open_unix_listener,
        filename=lambda scene: scene.path,
        mode=None,
        backlog=None,
    ),
    "open_unix_socket": plain(
        triobatch.open_unix_socket, filename=lambda scene: scene.path
    ),
    "receive_proxy_header": plain(
        triobatch.receive_proxy_header, reader=lambda s: s.reader, limit=100
    ),
    "relay": plain(
        triobatch.relay, a=lambda s: s.stream, b=lambda s: s.member
    ),
    "send_buffers": plain(
        triobatch.send_buffers, stream=lambda s: s.stream, buffers=[b"x"]
    ),
    "send_file": plain(triobatch.send_file, stream=lambda s: s.stream, **FILE),
    "serve_datagrams": plain(
        triobatch.serve_datagrams,
        handler=handler,
        sockets=lambda scene: [scene.udp],
        max_datagrams=1,
        handler_nursery=None,
        task_status=trio.TASK_STATUS_IGNORED,
    ),
    "serve_tcp": plain(triobatch.serve_tcp, **TCP, handler_nursery=None),
    "serve_tcp_batches": plain(
        triobatch.serve_tcp_batches,
        **TCP,
        max_streams=1,
        receive_size=1,
        max_queued=1,
    ),
    "serve_udp": plain(
        triobatch.serve_udp,
        **SERVING,
        reuse_port=False,
        receive_buffer_size=None,
        max_datagrams=1,
        handler_nursery=None,
    ),
    "lowlevel.preadv": plain(lowlevel.preadv, **ROOM, offset=0),
    "lowlevel.pwritev": plain(lowlevel.pwritev, **VECTORS, offset=0),
    "lowlevel.readv": plain(lowlevel.readv, **ROOM),
    "lowlevel.writev": plain(lowlevel.writev, **VECTORS),
    "lowlevel.recvmmsg": plain(
        lowlevel.recvmmsg,
        fd=lambda scene: scene.udp.socket.fileno(),
        buffer=lambda _: bytearray(10),
        slot_size=10,
    ),
    "lowlevel.sendmmsg": plain(
        lowlevel.sendmmsg,
        fd=lambda scene: scene.udp.socket.fileno(),
        datagrams=PAIRS,
    ),
    "testing.NetworkConditions": plain(
        testing.NetworkConditions,
        delay=0.0,
        jitter=0.0,
        loss=0.0,
        duplication=0.0,
        rate=None,
        mtu=1500,
        gso_refusal=0,
        congestion=0.0,
        reports=True,
    ),
    "testing.SimulatedNetwork.open_socket": of(
        "network",
        "open_socket",
        local_address=("10.0.0.1", 0),
        remote_address=None,
        error_queue=False,
        send_buffer_size=1000,
        receive_buffer_size=1000,
    ),
    "testing.SimulatedNetwork.set_conditions": of(
        "network",
        "set_conditions",
        conditions=testing.NetworkConditions(),
        source=None,
        target=None,
    ),
    "testing.SimulatedNetwork.change_conditions": of(
        "network", "change_conditions", source=None, target=None, delay=0.0
    ),
    "testing.check_batch_stream": plain(
        testing.check_batch_stream,
        stream_maker=handler,
        clogged_stream_maker=None,
    ),
    "testing.memory_datagram_pair": plain(
        testing.memory_datagram_pair, max_queued=None, link=None
    ),
    "testing.open_simulated_network": plain(
        testing.open_simulated_network,
        seed=1,
        conditions=testing.NetworkConditions(),
    ),
    "testing.os_error": plain(testing.os_error, number=1),
    "testing.scripted_calls": plain(
        testing.scripted_calls,
        target=lambda scene: scene.stream,
        sending=(),
        receiving=(),
    ),
    "testing.simulate": plain(
        in_a_thread(testing.simulate),
        main=handler,
        seed=None,
        conditions=None,
        time_limit=1.0,
    ),
}
