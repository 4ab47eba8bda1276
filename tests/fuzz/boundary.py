"""Arbitrary calls of every public function: success, a documented error, or
a bug.

A case is a seed: what is called, on what, and with which arguments follow
from it. The functions are found by introspection.

    python tests/fuzz/boundary.py [SECONDS] [SEED]
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import random
import socket
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import trio

sys.path[:0] = [str(Path(__file__).parent)]

from arbitrary import Boom, a_header, argument  # noqa: E402

import triobatch  # noqa: E402
from triobatch import (  # noqa: E402
    BatchSocketStream,
    BufferedReceiveStream,
    Buffers,
    Datagrams,
    DatagramSocket,
    Metadata,
    Run,
    lowlevel,
    testing,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# Seconds that a call may wait.
PATIENCE = 0.005

# What a call may raise; the documentation of each says which of them.
DOCUMENTED = (
    TypeError,
    ValueError,
    BufferError,
    OSError,
    MemoryError,
    trio.BrokenResourceError,
    trio.BusyResourceError,
    trio.ClosedResourceError,
    trio.WouldBlock,
    Boom,
)
# Numbers that no C integer holds, where the standard library is handed them.
OVERFLOW = {
    "getsockopt",
    "open_tcp_stream",
    "os_error",
    "preadv",
    "pwritev",
    "readv",
    "recvmmsg",
    "sendmmsg",
    "setsockopt",
    "writev",
}
SPECIAL = {"__bytes__", "__iter__", "__len__", "__repr__"}
# A mistake of the caller's: nothing was sent, and nothing changed.
MISTAKES = (TypeError, BufferError)

# What is called on nothing, and would not return, or is no call on a socket.
SKIPPED = {
    # It calls what it is given, a whole suite long.
    "testing.check_batch_stream",
    # It runs a loop of its own, and there is one already.
    "testing.simulate",
    # It takes what systemd has passed on, by number.
    "inherited_sockets",
}


class Bench:
    """What a case has at hand.

    Attributes:
      target: What the call is on.
      resources: Streams and sockets, the target's among them.
      peers: Standard sockets, at which nothing may arrive after a mistake.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = None
        self.fd = -1
        self.resources: list[object] = []
        self.peers: list[socket.socket] = []
        self.target: object = None

    def arrived(self) -> list[bytes]:
        """Return what has arrived at the peers."""
        found = []
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.setblocking(False)
                found.append(peer.recv(2**17))
        return found


def _stdlib(sock: object) -> socket.socket:
    return socket.socket(fileno=socket.dup(sock.fileno()))


def _stream_pair(bench):
    left, right = trio.socket.socketpair()
    bench.fd = left.fileno()
    bench.peers.append(_stdlib(right))
    streams = BatchSocketStream(left), BatchSocketStream(right)
    bench.resources += streams
    return streams


def _datagram_pair(bench, kind):
    if kind == "unix":
        pair = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    else:
        family = socket.AF_INET if kind != "ipv6" else socket.AF_INET6
        name = "127.0.0.1" if kind != "ipv6" else "::1"
        pair = []
        for _ in range(2):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.bind((name, 0))
            sock.setblocking(False)
            pair.append(sock)
        if kind == "connected":
            pair[0].connect(pair[1].getsockname())
        else:
            bench.address = pair[1].getsockname()
        pair = [trio.socket.from_stdlib_socket(sock) for sock in pair]
    bench.fd = pair[0].fileno()
    bench.peers.append(_stdlib(pair[1]))
    sockets = [DatagramSocket(sock) for sock in pair]
    bench.resources += sockets
    return sockets


# What the calls are on: each sets ``bench.target``.


@contextlib.asynccontextmanager
async def nothing(bench, rng):
    _stream_pair(bench)
    _datagram_pair(bench, "ipv4")
    yield


@contextlib.asynccontextmanager
async def stream(bench, rng):
    bench.target = _stream_pair(bench)[0]
    yield


@contextlib.asynccontextmanager
async def reader(bench, rng):
    left, right = _stream_pair(bench)
    bench.peers.pop().close()
    await right.send_all(b"some\r\nbytes\r\n")
    bench.target = BufferedReceiveStream(left)
    bench.resources.append(bench.target)
    yield


@contextlib.asynccontextmanager
async def datagram_socket(bench, rng):
    kind = rng.choice(("ipv4", "ipv4", "ipv6", "connected", "unix"))
    bench.target = _datagram_pair(bench, kind)[0]
    yield


@contextlib.asynccontextmanager
async def memory_socket(bench, rng):
    pair = testing.memory_datagram_pair()
    bench.resources += pair
    bench.target = pair[0]
    bench.address = pair[1].local_address
    yield


@contextlib.asynccontextmanager
async def stream_sender(bench, rng):
    left = _stream_pair(bench)[0]
    async with triobatch.open_batch_sender(left) as bench.target:
        yield


@contextlib.asynccontextmanager
async def datagram_sender(bench, rng):
    left = _datagram_pair(bench, rng.choice(("ipv4", "connected", "unix")))[0]
    async with triobatch.open_batch_sender(left) as bench.target:
        yield


@contextlib.asynccontextmanager
async def shared_stream(bench, rng):
    left = _stream_pair(bench)[0]
    async with triobatch.open_shared_stream(left) as bench.target:
        yield


@contextlib.asynccontextmanager
async def group(bench, rng):
    left = _stream_pair(bench)[0]
    async with triobatch.open_stream_group() as bench.target:
        if rng.random() < 0.7:
            bench.target.add(left)
        yield


@contextlib.asynccontextmanager
async def listener(bench, rng):
    [bench.target] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    bench.resources.append(bench.target)
    yield


@contextlib.asynccontextmanager
async def proxy_header(bench, rng):
    _datagram_pair(bench, "ipv4")
    bench.target = a_header(rng, bench)
    yield


def plain(make):
    """Return a maker of an object that has nothing to be closed."""

    @contextlib.asynccontextmanager
    async def manager(bench, rng):
        _stream_pair(bench)
        bench.target = make()
        yield

    return manager


# By the public class that the target is of.
TARGETS = {
    triobatch.BatchSender: stream_sender,
    triobatch.BatchSocketListener: listener,
    triobatch.BatchSocketStream: stream,
    triobatch.BufferedReceiveStream: reader,
    triobatch.Buffers: plain(lambda: Buffers([b"abc", bytearray(9)])),
    triobatch.DatagramBatchSender: datagram_sender,
    triobatch.Datagrams: plain(lambda: Datagrams([(b"a", None)] * 3)),
    triobatch.DatagramSocket: datagram_socket,
    triobatch.Metadata: plain(lambda: Metadata(tos=1)),
    triobatch.ProxyHeader: proxy_header,
    triobatch.Run: plain(lambda: Run(b"abcdef", 2)),
    triobatch.SharedStream: shared_stream,
    triobatch.StreamGroup: group,
    testing.MemoryDatagramSocket: memory_socket,
}
# Who has no constructor for the public, and no method of its own to call.
NOT_MADE = {
    "AbstractDatagramSocket",
    "BatchSender",
    "DatagramBatchSender",
    "SharedListener",
    "SharedStream",
    "StreamGroup",
    "testing.MemoryDatagramSocket",
    "testing.SimulatedDatagramSocket",
    "testing.SimulatedNetwork",
    "testing.ScriptedCalls",
}


def functions():
    """Return (name, what it is on, the function or its name) of each."""
    found = []
    for prefix, module in (
        ("", triobatch),
        ("lowlevel.", lowlevel),
        ("testing.", testing),
    ):
        for name in module.__all__:
            item = getattr(module, name)
            full = prefix + name
            if not callable(item) or full in SKIPPED | NOT_MADE:
                continue
            if inspect.isclass(item) and issubclass(item, BaseException):
                continue
            found.append((full, nothing, item))
    for kind, target in TARGETS.items():
        for name, _ in inspect.getmembers(kind, inspect.isroutine):
            if not name.startswith("_") or name in SPECIAL:
                found.append((f"{kind.__name__}.{name}", target, name))
    return found


FUNCTIONS = functions()


def arguments(function, bench, rng):
    """Return what is passed, by position and by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        parameters = ()
    positional, named = [], {}
    for parameter in parameters:
        if parameter.name in {"handler_nursery", "task_status"}:
            continue
        needed = parameter.default is parameter.empty
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if not needed and rng.random() < 0.5:
            continue
        value = argument(parameter.name, rng, bench)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(value)
        else:
            named[parameter.name] = value
    return positional, named


async def settle(result):
    """Go as far with what a call returned as it goes."""
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__aenter__"):
        async with result as inner:
            repr(inner)
    elif hasattr(result, "__anext__"):
        try:
            with contextlib.suppress(StopAsyncIteration):
                await result.__anext__()
        finally:
            if hasattr(result, "aclose"):
                await result.aclose()
    elif hasattr(result, "__enter__"):
        with contextlib.suppress(Boom), result:
            pass
    if isinstance(result, list):
        # A call that took long is over time here, and closing is a checkpoint.
        with trio.CancelScope(shield=True):
            for item in result:
                if hasattr(item, "aclose"):
                    await item.aclose()
    return result


def snapshot(values):
    """Return what the queues among the arguments hold."""
    return [
        list(map(bytes, value)) if isinstance(value, Buffers) else list(value)
        for value in values
        if isinstance(value, (Buffers, Datagrams))
    ]


def leaves(error):
    """Return the exceptions in a group, or the lone one."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


class Finding(AssertionError):  # noqa: N818 (it is no error of ours)
    """What is neither a success nor a documented error."""


def describe(name, positional, named, error=None):
    """Return the case in words."""
    words = [f"{name}: {positional!r:.300} {named!r:.900}"]
    if error is not None:
        words += traceback.format_exception(error)
    return "\n".join(words)


async def call(name, function, bench, rng):
    """Make one call, and look what comes of it."""
    if isinstance(function, str):
        function = getattr(bench.target, function)
    positional, named = arguments(function, bench, rng)
    values = [*positional, *named.values()]
    if isinstance(bench.target, (Buffers, Datagrams)):
        values.append(bench.target)
    before = snapshot(values)
    error = None
    try:
        with trio.move_on_after(PATIENCE):
            await settle(function(*positional, **named))
    except Exception as caught:  # noqa: BLE001 (that is the question)
        error = caught
        allowed = DOCUMENTED
        if name.rpartition(".")[2] in OVERFLOW:
            allowed += (OverflowError,)
        for leaf in leaves(caught):
            if not isinstance(leaf, allowed):
                raise Finding(
                    describe(name, positional, named, caught)
                ) from None
    if isinstance(error, MISTAKES):
        if snapshot(values) != before:
            raise Finding(
                "a queue has changed\n"
                + describe(name, positional, named, error)
            )
        # A sender sends what was queued before.
        if arrived := bench.arrived():
            raise Finding(
                f"{arrived!r:.100} was sent\n"
                + describe(name, positional, named, error)
            )


async def close_all(bench):
    """Close what the case had."""
    for peer in bench.peers:
        peer.close()
    with trio.CancelScope(shield=True), trio.move_on_after(1):
        for resource in bench.resources:
            if hasattr(resource, "aclose"):
                await resource.aclose()


async def one_case(seed, directory):
    """Make the call that follows from a seed; return its name."""
    rng = random.Random(seed)
    name, manager, function = rng.choice(FUNCTIONS)
    bench = Bench(directory)
    with (directory / "file").open("rb") as bench.file:
        try:
            with trio.move_on_after(30) as scope:
                async with manager(bench, rng):
                    await call(name, function, bench, rng)
            if scope.cancelled_caught:
                raise Finding(f"{name} did not end")
        except Finding:
            raise
        except BaseExceptionGroup as group:
            # What broke a sender ends its nursery.
            for leaf in leaves(group):
                if isinstance(leaf, Finding):
                    raise leaf from None
                if not isinstance(leaf, DOCUMENTED):
                    raise
        except DOCUMENTED:
            # The block's own: a sender whose target was given away.
            pass
        finally:
            await close_all(bench)
    return name


def run_case(seed, directory):
    """As ``one_case``, in a run of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return trio.run(one_case, seed, directory)


def main():
    """Try seeds for some time, and list what was found by its last line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("seconds", type=float, nargs="?", default=60.0)
    parser.add_argument("seed", type=int, nargs="?", help="this case only")
    options = parser.parse_args()
    seconds, only = options.seconds, options.seed
    found = {}
    called = {}
    start = time.monotonic()
    seed = int(os.environ.get("TRIOBATCH_FUZZ_SEED", "0"))
    if only is not None:
        seed = only
    elif not seed:
        seed = int(start * 1000) * 10**6
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "file").write_bytes(b"file" * 1000)
        while seed == only or (
            only is None and time.monotonic() < start + seconds
        ):
            try:
                done = run_case(seed, directory)
                called[done] = called.get(done, 0) + 1
            except BaseException as error:  # noqa: BLE001
                if isinstance(error, KeyboardInterrupt):
                    break
                text = "\n".join(traceback.format_exception(error))
                lines = [
                    line for line in text.splitlines() if "/triobatch/" in line
                ]
                key = (text.splitlines()[-1][:60], *lines[-1:])
                if key not in found:
                    found[key] = seed
                    print(f"--- seed {seed}\n{text}", flush=True)
            seed += 1
    count = sum(called.values())
    rare = sorted(called, key=called.get)[:3]
    print(
        f"boundary: {count} calls of {len(called)} of {len(FUNCTIONS)} "
        f"functions, fewest of {rare}, {len(found)} kinds of finding"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
