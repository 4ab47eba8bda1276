"""Connected pairs of sockets and streams, and datagram sockets."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import os
import random
import signal
import socket
import ssl
import struct
import sys
import tempfile

import hypothesis
import pytest
import simulated_platform
import trio
from receive_buffer import grow_receive_buffer
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

# PYTHONDONTWRITEBYTECODE, which images of containers set, would have each of
# pytest-xdist's processes and each program that a test starts compile all of
# it anew: a quarter of the time. Where sources change under the tests, what
# is kept could be of another change.
if "TRIOBATCH_MUTATED" not in os.environ:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False

# What starts pytest-xdist's processes runs no test, and does so as on Linux.
if "TRIOBATCH_SIMULATE" in os.environ and (
    "PYTEST_XDIST_WORKER" in os.environ
    or not any(arg.startswith(("-n", "--num")) for arg in sys.argv)
):
    simulated_platform.become(os.environ["TRIOBATCH_SIMULATE"])

from helpers import loopback_is_through, need_unix_sockets

from triobatch import BatchSocketStream, DatagramSocket, _write_to
from triobatch._core import calls
from triobatch.testing import os_error, scripted_calls

# How long an example takes is up to whatever else the machine does.
hypothesis.settings.register_profile(
    "any load",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any load")


def pytest_addoption(parser):
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run in a random order"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    # pytest-xdist's own choice for "-n" alone gives each process its tests
    # beforehand; the one that has the slow ones is waited for.
    option = config.option
    if getattr(option, "numprocesses", None) and option.dist == "no":
        option.dist = "worksteal"


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    # pytest-xdist's processes have to find the same tests in the same order.
    for mark in metafunc.definition.iter_markers("parametrize"):
        if isinstance(mark.args[1], set | frozenset):
            raise pytest.UsageError(
                f"{metafunc.definition.nodeid}: a set has another order in "
                "each process; sort it"
            )


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


def pytest_collection_finish():
    # Thousands of tests are a million objects, which each gc.collect() of a
    # test would look through again: half the time of the suite.
    if hasattr(gc, "freeze"):
        gc.freeze()


async def _connected(family, send_size):
    if family == "unix":
        need_unix_sockets()
        sockets = tsocket.socketpair()
        for sock in sockets:
            _limit(sock, send_size)
        return sockets
    with tsocket.socket() as listener:
        _limit(listener, send_size)
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        left = tsocket.socket()
        _limit(left, send_size)
        await left.connect(listener.getsockname())
        right, _ = await listener.accept()
    return left, right


def _limit(sock, send_size):
    if send_size is not None:
        sock.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_SNDBUF, send_size)


@pytest.fixture(params=["tcp", "unix"])
def family(request):
    return request.param


@pytest.fixture
async def make_sockets(family):
    """An async function that connects two Trio sockets.

    ``send_size`` is their SO_SNDBUF, which the kernel raises to 4608 at the
    least.
    """
    made = []

    async def make(send_size=None):
        pair = await _connected(family, send_size)
        made.extend(pair)
        return pair

    yield make
    for sock in made:
        sock.close()


@pytest.fixture
def make_streams(make_sockets):
    """An async function that connects two streams; see ``make_sockets``."""

    async def make(send_size=None):
        left, right = await make_sockets(send_size)
        return BatchSocketStream(left), BatchSocketStream(right)

    return make


@pytest.fixture
def clog():
    """An async function that fills a stream until small sends block.

    Returns the bytes sent, all of them b"x". Over TCP it is TCP_NOTSENT_LOWAT
    that blocks: a large batch, for which that is lifted, finds room still. Not
    for a ``send_size`` of a few KiB, which over TCP trickles on, a piece for
    each delayed ACK.
    """

    async def fill(stream):
        filling = b"x" * 4096
        sent = 0

        async def send():
            nonlocal sent
            while True:
                sent += await stream.socket.send(filling)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            before = None
            while sent != before:
                before = sent
                await wait_all_tasks_blocked()
                loopback_is_through()
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return sent

    return fill


@pytest.fixture
def reset():
    """An async function that closes a stream so that its peer gets an error.

    A Unix stream gives one anyway when it is sent to.
    """

    async def close(stream):
        stream.setsockopt(
            tsocket.SOL_SOCKET, tsocket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        await stream.aclose()
        loopback_is_through()

    return close


@pytest.fixture
async def pair(make_streams):
    """Two connected streams."""
    return await make_streams()


@pytest.fixture
async def small_pair(make_streams):
    """Two connected streams whose send buffers hold little."""
    return await make_streams(send_size=1)


@pytest.fixture
async def clogged_pair(make_streams, clog):
    """Two connected streams; the first is clogged until the other reads."""
    left, right = await make_streams()
    await clog(left)
    return left, right


@pytest.fixture
def small_hops(monkeypatch):
    """``write_to`` writes 7 bytes each time it goes to a worker thread."""
    monkeypatch.setattr(_write_to, "_HOP_SIZE", 7)


@pytest.fixture
def patches():
    """What is undone at the end of the test, the last thing first."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def play(patches):
    """A function that has the next calls on a socket follow a script.

    Like ``scripted_calls``, until the end of the test; a string is the name of
    an errno.
    """

    def steps(script):
        return [
            os_error(getattr(errno, step)) if isinstance(step, str) else step
            for step in script
        ]

    def install(target, sending=(), receiving=()):
        return patches.enter_context(
            scripted_calls(
                target, sending=steps(sending), receiving=steps(receiving)
            )
        )

    return install


@pytest.fixture
def around(patches):
    """A function that puts a call around a system call, on all sockets.

    For what is no script: until the end of the test ``call(real, *args)`` is
    made where ``real`` would be.
    """

    def install(name, call):
        patch = patches.enter_context(pytest.MonkeyPatch.context())
        real = getattr(calls, name)
        patch.setattr(calls, name, functools.partial(call, real))

    return install


@pytest.fixture
def python_handles_ctrl_c():
    """As at the start of a program: Trio takes over from this handler."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def press_after(monkeypatch, python_handles_ctrl_c):
    """A function that presses Ctrl-C after the next call of another.

    It returns a list, which gets to say whether Ctrl-C was held off then.
    """
    protected = []

    def install(owner, name):
        real = getattr(owner, name)

        def call(*args):
            result = real(*args)
            if not protected:
                protected.append(trio.lowlevel.currently_ki_protected())
                signal.raise_signal(signal.SIGINT)
            return result

        monkeypatch.setattr(owner, name, call)
        return protected

    return install


def _bound_socket(family, directory):
    """Return a Trio datagram socket with a name of its own."""
    if family == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(os.path.join(directory(), os.urandom(6).hex()))
    else:
        version = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        sock = socket.socket(version, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1" if family == "ipv4" else "::1", 0))
        grow_receive_buffer(sock)
    sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


@pytest.fixture
async def make_socket():
    """Return a function that makes a bound ``DatagramSocket``."""
    async with contextlib.AsyncExitStack() as stack:
        # tmp_path costs as much as a short test does, and few are Unix's.
        directory = functools.cache(
            lambda: stack.enter_context(tempfile.TemporaryDirectory())
        )

        async def make(family="ipv4", **options):
            if family == "unix":
                need_unix_sockets()
            sock = stack.enter_context(_bound_socket(family, directory))
            return DatagramSocket(sock, **options)

        yield make


@pytest.fixture
def datagram_sockets():
    """Return a function that connects two Unix datagram sockets."""
    need_unix_sockets()

    def connect():
        made = []
        for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
            sock.setblocking(False)
            made.append(DatagramSocket(trio.socket.from_stdlib_socket(sock)))
        return made

    return connect


@pytest.fixture
async def datagram_pair(datagram_sockets):
    """Return two connected Unix datagram sockets, with small buffers."""
    first, second = datagram_sockets()
    async with first, second:
        yield first, second


@pytest.fixture(scope="module")
def tls():
    """Return contexts for a TLS client and its server."""
    # Its cryptography has no wheels for some platforms.
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server
