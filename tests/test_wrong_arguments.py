"""A wrong argument is told at once: which, and what it was.

Every parameter of every public call is given what it cannot be. The error
names it, has its value or type, and comes before the first checkpoint.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial

import pytest
import trio
from ways_of_arguments import CALLS, open_scene, parameters, public_calls


class Thing:
    """Nothing in particular."""

    def __repr__(self):
        return "a Thing"


def released():
    view = memoryview(b"x")
    view.release()
    return view


THING = Thing()
NAN = float("nan")
EMPTY = ["", b"", [], ()]

NO_NUMBER = [None, True, "x", b"x", [], {}, THING]
NO_SIZE = [None, True, 1.5, "x", b"x", [], {}, THING, -1]
NO_SECONDS = [*NO_NUMBER, NAN, -1.0]
NO_BYTES = [None, True, 1.5, "x", [], {}, THING]
NO_ITERABLE = [None, True, 1.5, "x", b"x", THING]
NO_STRING = [None, True, 1.5, b"x", [], {}, THING]
NO_PATH = [None, True, 1.5, [], {}, THING, "", b""]
NO_ADDRESS = [
    *(True, 1.5, [], {}, THING, (), ("127.0.0.1",), ("127.0.0.1", "9")),
    *(("127.0.0.1", 70000), ("127.0.0.1", True), ("127.0.0.1", None)),
    *((1, 9), ("localhost\0", 9), "127.0.0.1:9", b"x", ["127.0.0.1", 9]),
]
NOTHING_OF_OURS = [True, 1.5, "x", b"x", [], {}, THING]
NO_OBJECT = [None, *NOTHING_OF_OURS]

# What is no such thing, by how a parameter is annotated. ``None`` is added
# where it is not in the annotation.
WRONG = {
    "AbstractSet[str]": ["tos", {"colour"}, 1, 1.5, THING],
    "frozenset[str]": ["tos", {"colour"}, 1, 1.5, THING],
    "Address": NO_ADDRESS,
    "Any": NO_BYTES,
    "BatchHandler": NO_OBJECT,
    "BatchSocketStream": NO_OBJECT,
    "BatchSocketStream | DatagramSocket | trio.socket.SocketType"
    " | socket.socket": NO_OBJECT,
    "BroadcastResult[S]": NOTHING_OF_OURS,
    "Buffer": NO_BYTES,
    "Buffer | Buffers": NO_BYTES,
    "Buffer | Sequence[Buffer]": [True, 1.5, "x", b"x", [], THING, [1]],
    "BufferedReceiveStream": NO_OBJECT,
    "Buffers | Iterable[Buffer]": [*NO_ITERABLE, [1], ["x"], [b"x", None]],
    "Buffers | Sequence[Buffer]": [*NO_ITERABLE, [1], ["x"], [b"x", None]],
    "Iterable[Buffer]": [*NO_ITERABLE, [1], ["x"], [b"x", None]],
    "Callable[[SimulatedNetwork, Unpack[Args]], Awaitable[T]]": NO_OBJECT,
    "Callable[[memoryview], tuple[Sequence[T], int]]": NO_OBJECT,
    "Datagram": [*NO_OBJECT, (b"x",), ("x", None), (b"x", None, 1)],
    "Datagrams": [*NO_OBJECT],
    "Datagrams | Iterable[Datagram]": [*NO_ITERABLE, [b"x"], [("x", None)]],
    "Iterable[Datagram]": [*NO_ITERABLE, [b"x"], [("x", None)]],
    "Iterable[Run]": [*NO_ITERABLE, [b"x"], [None]],
    "Iterable[int | OSError | None]": [*NO_ITERABLE, ["x"], [THING]],
    "Iterable[trio.abc.Listener[Any]]": [*NO_ITERABLE, [None]],
    "Iterable[S]": [*NO_ITERABLE, [None], [THING]],
    "Iterable[tuple[BatchSocketStream, Message]]": [
        *(*NO_ITERABLE, [None], [(THING, b"x")]),
    ],
    "Errors": [True, 1.5, "x", b"x", [], {}, THING],
    "File": NO_OBJECT,
    "File | FileSlice": NO_OBJECT,
    "Handler": NO_OBJECT,
    "Link": NOTHING_OF_OURS,
    "Literal['stream', 'datagram']": NOTHING_OF_OURS,
    "Literal[1, 2]": [True, 1.5, "x", b"x", [], {}, THING, 3],
    "LocalAddress": NO_ADDRESS,
    "Maker": NO_OBJECT,
    "Metadata": NOTHING_OF_OURS,
    "NetworkConditions": NOTHING_OF_OURS,
    "SocketType": NO_OBJECT,
    "trio.socket.SocketType": NO_OBJECT,
    "StreamHandler": NO_OBJECT,
    "Target": NO_OBJECT,
    "bool": [],
    "float": NO_SECONDS,
    "int": NO_SIZE,
    "int | str": [None, True, 1.5, b"x", [], {}, THING],
    "Iterable[Socket]": [*NO_ITERABLE, [], [None], [THING]],
    "str": NO_STRING,
    "str | bytes": [None, True, 1.5, [], {}, THING],
    "str | bytes | os.PathLike[str] | os.PathLike[bytes]": NO_PATH,
    "str | int": [True, 1.5, b"x", [], {}, THING, -1],
    "trio.Nursery": NOTHING_OF_OURS,
    "trio.abc.ReceiveStream": NO_OBJECT,
    "S": NO_OBJECT,
    "trio.abc.SendStream": NO_OBJECT,
    "trio.abc.SendStream | AbstractDatagramSocket": NO_OBJECT,
    "trio.abc.Stream": NO_OBJECT,
    "tuple[tuple[int, bytes], ...]": [1, 1.5, "x", b"x", [1], [(1,)]],
}
# What None stands for, or anything at all.
MAY_BE_NONE = {"Address", "LocalAddress", "bool"}
# Trio's own protocol, or what is handed on to a function of the caller's.
NOT_LOOKED_AT = {"args", "changes", "task_status"}

# What they take all the same, and why.
TAKEN = {
    # Negative: all of them.
    "Buffers.read(size)": [-1],
    # Cut to what there can be.
    "backlog": [-1],
    # EBADF, EINVAL; True is a descriptor for the standard library too.
    "fd": [-1, True],
    "offset": [-1],
    "lowlevel.preadv(offset)": [-1, True],
    "lowlevel.pwritev(offset)": [-1, True],
    # Names, which are looked up: gaierror, as documented.
    "open_udp_socket(local_address)": [("localhost\0", 9)],
    "open_udp_socket(remote_address)": [("localhost\0", 9)],
    # Paths of Unix sockets, which a proxy may hand on.
    "ProxyHeader(source)": ["127.0.0.1:9", b"x"],
    "ProxyHeader(destination)": ["127.0.0.1:9", b"x"],
    # What a received run has; send_runs() is told where to.
    "Run(address)": NO_ADDRESS,
    # Falsy: what the sender has.
    "DatagramBatchSender.send(errors)": [[], {}],
    "DatagramBatchSender.send_batch(errors)": [[], {}],
    "testing.os_error(number)": [-1],
    # True is 1 in any way that matters.
    "ProxyHeader.encode(version)": [True],
    "seed": [True],
}
# Names that the errors have instead: of an item, or of the whole.
CALLED = {
    "buffers": ["chunk "],
    "header": ["chunk "],
    "trailer": ["chunk "],
    "datagrams": ["datagram "],
    "messages": ["message ", "stream "],
    "sending": ["a step"],
    "receiving": ["a step"],
}


def taken_by(name, parameter):
    if name.startswith("testing.MemoryDatagramSocket.send"):
        # Its ends have names; those of others are refused with ENOENT.
        return ["127.0.0.1:9", b"x"] if parameter == "address" else []
    key = f"{name}({parameter})"
    return TAKEN.get(key, TAKEN.get(parameter, []))


def wrong_values(name, annotation):
    if name in NOT_LOOKED_AT:
        return []
    kind = annotation.removesuffix(" | None")
    values = WRONG[kind]
    if kind != annotation:
        values = [value for value in values if value is not None]
    elif (
        kind not in {"bool", "Address", "LocalAddress"} and None not in values
    ):
        values = [None, *values]
    return values


class FirstCheckpoint(trio.abc.Instrument):
    """Cancel a scope as soon as this task waits, or lets others run."""

    def __init__(self, scope):
        self.task = trio.lowlevel.current_task()
        self.scope = scope
        self.passed = False

    def after_task_step(self, task):
        if task is self.task:
            self.passed = True
            self.scope.cancel()


async def attempt(call):
    """Make a call up to its first checkpoint, and raise what it raises.

    Enter what it returns, if that can be entered.
    """
    with trio.CancelScope() as scope:
        first = FirstCheckpoint(scope)
        trio.lowlevel.add_instrument(first)
        try:
            await enter(call())
        except (TypeError, ValueError, BufferError):
            assert not first.passed
            raise
        finally:
            trio.lowlevel.remove_instrument(first)


async def enter(result):
    if inspect.isawaitable(result):
        await result
    elif isinstance(result, AbstractAsyncContextManager):
        async with result:
            pass
    elif isinstance(result, AsyncIterator):
        await anext(result)
    elif isinstance(result, AbstractContextManager) and not isinstance(
        result, memoryview
    ):
        with result:
            pass


def descriptors():
    """Return how many files are open, where the system says so."""
    proc = "/proc/self/fd"
    return len(os.listdir(proc)) if os.path.isdir(proc) else 0


def told(value, text):
    """Whether an error says what was given, or what in it is wrong."""
    words = (
        {"must not be empty", "at least 1 byte"} if value in EMPTY else {""}
    )
    named = [value]
    for one in named:
        words |= {type(one).__name__, repr(one)}
        if isinstance(one, list | tuple | set):
            words.add(f"not {len(one)} items")
            named += one
    return any(word in text for word in words if word)


PUBLIC = public_calls()
PARAMETERS = [
    (name, parameter, annotation)
    for name, function in PUBLIC.items()
    for parameter, annotation in parameters(function).items()
    if wrong_values(parameter, annotation)
]


needs_places = pytest.mark.skipif(
    not hasattr(os, "pread"),
    reason="a file cannot be read or written at a place",
)


def test_no_call_is_forgotten():
    assert CALLS.keys() == PUBLIC.keys()


@pytest.mark.parametrize("name", sorted(CALLS))
async def test_no_parameter_is_forgotten(name, tmp_path):
    async with open_scene(tmp_path) as scene:
        _, right = CALLS[name](scene)
        keys = parameters(PUBLIC[name]).keys() - {"args"}
        if "changes" in keys:
            # One of those that go by any name.
            keys = keys - {"changes"} | {"delay"}
        assert right.keys() == keys


@pytest.mark.parametrize(
    ("name", "parameter", "annotation"),
    [
        pytest.param(*row, marks=needs_places)
        if row[0] in {"lowlevel.preadv", "lowlevel.pwritev"}
        else row
        for row in PARAMETERS
    ],
    ids=[f"{name}-{parameter}" for name, parameter, _ in PARAMETERS],
)
async def test_what_it_cannot_be_is_told(
    name, parameter, annotation, tmp_path
):
    async with open_scene(tmp_path) as scene:
        call, right = CALLS[name](scene)
        for value in wrong_values(parameter, annotation):
            if value in taken_by(name, parameter):
                continue
            wrong = {**right, parameter: value}
            before = descriptors()
            with pytest.raises((TypeError, ValueError, BufferError)) as info:
                await attempt(partial(call, **wrong))
                pytest.fail(f"{value!r} was taken")
            assert descriptors() == before
            if name.startswith("lowlevel."):
                # As the standard library has it, whose functions they are.
                continue
            text = str(info.value)
            names = {
                parameter,
                parameter.rstrip("s"),
                *CALLED.get(parameter, ()),
            }
            assert any(one in text for one in names), (value, text)
            assert told(value, text), (value, text)
