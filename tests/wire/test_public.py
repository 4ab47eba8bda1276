"""All that is public: where it lives, what it says, what can be copied."""

import contextlib
import copy
import dataclasses
import errno
import inspect
import pickle
import pydoc
import subprocess
import sys
import traceback
import typing
from types import FunctionType

import pytest
import trio

import triobatch
import triobatch.lowlevel
import triobatch.testing
from triobatch import (
    BroadcastResult,
    BufferedReceiveStream,
    Buffers,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    Delivery,
    FileSlice,
    Message,
    Metadata,
    PeerError,
    ProxyHeader,
    Run,
    TruncatedDatagramError,
)
from triobatch.testing import NetworkConditions, open_simulated_network

MODULES = (triobatch, triobatch.lowlevel, triobatch.testing)
# What stands for types, and has no docstring or module of its own.
ALIASES = {
    "Address",
    "BatchHandler",
    "Datagram",
    "Errors",
    "File",
    "Handler",
    "Payload",
    "ReceivedDatagram",
    "Status",
    "StreamHandler",
}
PUBLIC = [
    (module, name)
    for module in MODULES
    for name in module.__all__
    if name not in ALIASES
    and isinstance(getattr(module, name), type | FunctionType)
]
CLASSES = [
    getattr(module, name)
    for module, name in PUBLIC
    if isinstance(getattr(module, name), type)
]
PEER = ("127.0.0.1", 9)


def values():
    """Return what is a value: errors, outcomes, results, queues."""
    errors = [DatagramError(errno.EMSGSIZE, i, PEER) for i in range(2)]
    metadata = Metadata(ttl=3)
    return [
        Buffers([b"abc", bytearray(3)]),
        Datagrams([(b"x", None), (bytearray(1), ("::1", 9), metadata)]),
        errors[0],
        errors[0].as_lone(),
        DatagramErrorGroup(errors, 3, 1),
        TruncatedDatagramError(b"abc", PEER, 70000),
        triobatch.FrameTooLargeError("too large"),
        triobatch.ProxyHeaderError("malformed"),
        PeerError(PEER, errno.ECONNREFUSED, None, b"x", "10.0.0.1", 3, 3),
        PeerError(PEER, errno.EMSGSIZE, 1280, b"x", None),
        metadata,
        Message(b"x", PEER, metadata, None, False, 1),
        ProxyHeader(PEER, PEER),
        triobatch.capabilities(),
        triobatch.StreamStatistics(*range(7)),
        triobatch.SenderStatistics(*range(7), 0.5),
        Delivery(None, "broken", 3, trio.BrokenResourceError("gone")),
    ]


def test_every_name_is_a_class_a_function_or_listed_here():
    others = {
        name
        for module in MODULES
        for name in module.__all__
        if (module, name) not in PUBLIC
    }
    assert others == ALIASES | {"__version__", "lowlevel"}


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_it_lives_where_it_is_imported_from(module, name):
    item = getattr(module, name)
    assert item.__module__ == module.__name__
    assert item.__qualname__ == name
    assert pickle.loads(pickle.dumps(item)) is item


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_it_has_a_docstring_that_begins_with_a_line(module, name):
    first = getattr(module, name).__doc__.splitlines()[0]
    assert first.strip().endswith((".", ":")), first


@pytest.mark.parametrize("cls", CLASSES)
def test_its_methods_have_docstrings_too(cls):
    bare = [
        name
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_")
        # None of what is built into PyPy.
        and (getattr(member, "__module__", "") or "").startswith("triobatch")
        and not member.__doc__
    ]
    assert bare == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_the_source_of_functions_and_methods_is_found(module, name):
    item = getattr(module, name)
    if isinstance(item, type):
        items = [
            member
            for member in vars(item).values()
            if isinstance(member, FunctionType)
            # What is generated has none.
            and not member.__name__.startswith("__")
            and not member.__code__.co_filename.startswith("<")
        ]
    else:
        items = [item]
    for one in items:
        assert f"def {one.__name__}(" in inspect.getsource(one)


def test_annotations_of_values_can_be_read():
    for cls in (
        Delivery,
        Message,
        Metadata,
        PeerError,
        ProxyHeader,
        DatagramError,
        triobatch.StreamStatistics,
        triobatch.Capabilities,
    ):
        assert typing.get_type_hints(cls), cls
    hints = typing.get_type_hints(Delivery)
    assert hints["stream"].__bound__ is trio.abc.SendStream
    assert hints["status"] == triobatch.Status
    assert typing.get_type_hints(PeerError)["address"] == triobatch.Address


def test_a_traceback_names_an_error_as_it_is_imported():
    error = DatagramError(errno.EMSGSIZE, 3, PEER)
    (line,) = traceback.format_exception_only(error)
    assert line.startswith("triobatch.DatagramError: [Errno ")


def test_help_begins_with_a_map_by_task():
    text = pydoc.render_doc(triobatch, renderer=pydoc.plaintext)
    _, _, description = text.partition("DESCRIPTION")
    for task in ("Streams", "Datagrams", "open_udp_socket", "send_buffers"):
        assert task in description[:3000]
    # Each word that looks like a public name is one.
    for word in triobatch.__doc__.replace(",", " ").replace(";", " ").split():
        name = word.strip(".:").partition(".")[0]
        if "_" in name:
            public = {*triobatch.__all__, *dir(triobatch.DatagramSocket)}
            assert name in public, name


@pytest.mark.parametrize("cls", CLASSES)
def test_what_its_constructor_has_refused_has_a_repr(cls):
    if dataclasses.is_dataclass(cls) or issubclass(cls, tuple):
        pytest.skip("a value, which is whole or is not")
    if issubclass(cls, BaseException):
        base = cls.__base__
        arguments = ("", [ValueError()]) if "Group" in base.__name__ else ()
        half = base.__new__(cls, *arguments)
    elif inspect.isabstract(cls):
        half = type(cls.__name__, (cls,), {})
        half.__abstractmethods__ = frozenset()
        half = half.__new__(half)
    else:
        half = cls.__new__(cls)
    assert cls.__name__ in repr(half)


async def everything(stack, tmp_path):
    """Return an object of each public class that is one to be used."""
    enter = stack.enter_async_context
    (listener,) = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listener.socket.getsockname()
    stream = await triobatch.open_tcp_stream(*address)
    other = await listener.accept()
    sock = await triobatch.open_udp_socket(local_address=("::1", 0))
    memory, _ = triobatch.testing.memory_datagram_pair()
    for one in (listener, stream, other, sock, memory):
        stack.push_async_callback(one.aclose)
    file = await enter(await trio.open_file(tmp_path / "file", "w+b"))
    shared = await enter(triobatch.open_shared_stream(other))
    (shared_listener,) = await enter(
        triobatch.open_shared_listeners([listener])
    )
    sending, _ = stack.enter_context(triobatch.testing.scripted_calls(sock))
    return [
        *values(),
        listener,
        stream,
        sock,
        memory,
        shared,
        shared_listener,
        sending,
        FileSlice(file),
        Run(b"xyz", 2, PEER),
        BroadcastResult(),
        sock.statistics(),
        BufferedReceiveStream(stream),
        await enter(triobatch.open_batch_sender(stream)),
        await enter(triobatch.open_batch_sender(sock)),
        group := await enter(triobatch.open_stream_group()),
        group.statistics(),
        network := await enter(open_simulated_network(0)),
        network.open_socket(("10.0.0.1", 1)),
        network.statistics(),
        NetworkConditions(),
    ]


async def test_every_object_says_who_it_is_open_and_closed(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        objects = await everything(stack, tmp_path)
        texts = [repr(one) for one in objects]
    abstract = {cls for cls in CLASSES if inspect.isabstract(cls)}
    assert {type(one) for one in objects} == {*CLASSES} - abstract
    for one, text in zip(objects, texts, strict=True):
        name = type(one).__name__
        assert text.startswith((name, f"<{name}: ")), text
        assert "\n" not in text
        assert " object at 0x" not in text
        assert "not usable" not in text
        again = repr(one)
        if " descriptor " in text or "Memory" in text:
            # The socket is closed, of which it is.
            assert "closed" in again
            assert "descriptor" not in again


@pytest.mark.parametrize("value", values(), ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "twin_of",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_value_can_be_copied_and_pickled(value, twin_of):
    twin = twin_of(value)
    assert type(twin) is type(value)
    assert repr(twin) == repr(value)
    assert str(twin) == str(value)
    if isinstance(value, BaseException):
        assert twin.args == value.args or isinstance(value, DatagramErrorGroup)
    elif not isinstance(value, Buffers | Datagrams | Delivery):
        assert twin == value


@pytest.mark.parametrize(
    "twin_of",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_a_queue_is_consumed_on_its_own(twin_of):
    buffers = Buffers([b"a", bytearray(b"b"), b"c", b"d", b"e"])
    twin = twin_of(buffers)
    twin.consume(2)
    assert bytes(buffers) == b"abcde"
    assert bytes(twin) == b"cde"
    datagrams = Datagrams([(b"a", PEER), (bytearray(b"b"), PEER)])
    other = twin_of(datagrams)
    other.clear()
    assert len(datagrams) == 2


def test_a_copy_of_a_part_of_a_file_has_its_own_position(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        part = FileSlice(file, 1)
        twin = copy.copy(part)
        assert (twin.file, twin.offset, twin.nbytes) == (part.file, 1, 2)


def test_importing_testing_alone_settles_it_too():
    program = (
        "from triobatch.testing import MemoryDatagramSocket as M;"
        "print(M.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "triobatch.testing\n"
