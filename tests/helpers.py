"""What tests of many modules do with a socket, or ask of one."""

import contextlib
import socket
import sys
import time

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triobatch._queues.views import EXPORTS_LOCK

# For tests of how long a view is held, and of who may write meanwhile. Where
# exports lock nothing, views are not freed when the last name is gone either.
exports_lock = pytest.mark.skipif(
    not EXPORTS_LOCK, reason="exports lock nothing here: chunks are copied"
)

# For tests of what is written to a file round its object.
writes_descriptors = pytest.mark.skipif(
    sys.platform == "win32", reason="a file's own write() is called there"
)


def need_unix_sockets():
    """Skip the test where there are none."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no Unix sockets")


def address_of(sock):
    """Return where a datagram socket is bound."""
    return sock.socket.getsockname()


def is_exported(source):
    """Tell whether something holds a view of a bytearray."""
    if not EXPORTS_LOCK:
        pytest.skip("exports lock nothing here: chunks are copied")
    try:
        source.append(0)
    except BufferError:
        return True
    del source[-1]
    return False


def loopback_is_through():
    """Wait until what was sent over loopback has come to its sockets.

    Which it has at once, but on a busy machine: what a softirq does not get
    done in net.core.netdev_budget_usecs, 2 ms, ksoftirqd does when it has its
    turn. What a CPU has got comes in order; the second is for the answers.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(60)
        sock.connect(sock.getsockname())
        for _ in range(2):
            sock.send(b"x")
            sock.recv(1)


def drain(sock):
    """Return the bytes that a standard socket has; it must not block."""
    loopback_is_through()
    received = bytearray()
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(2**20):
            received += data
    return bytes(received)


@contextlib.asynccontextmanager
async def no_spin(seconds=0.3):
    """Fail if the process uses a CPU while the body's tasks are blocked."""
    async with trio.open_nursery() as nursery:
        yield nursery
        await wait_all_tasks_blocked(0.01)
        before = time.process_time()
        await trio.sleep(seconds)
        used = time.process_time() - before
        nursery.cancel_scope.cancel()
    assert used < seconds / 5


@contextlib.asynccontextmanager
async def cancelled_when_blocked():
    """Cancel the body once all tasks are blocked; yield its scope.

    A deadline that is to come in the midst comes before the first call where
    the machine is busy enough.
    """
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            @nursery.start_soon
            async def cancel():
                await wait_all_tasks_blocked()
                scope.cancel()

            yield scope


async def receive_exactly(stream, size):
    """Return the next ``size`` bytes of a stream."""
    received = bytearray()
    while len(received) < size:
        data = await stream.receive_some(size - len(received))
        assert data, f"the stream ended after {len(received)} bytes"
        received += data
    return bytes(received)


async def receive_to_end(stream):
    """Return all that comes until the end of a stream."""
    return b"".join([data async for data in stream])


async def discard(stream):
    """Receive until the end of a stream, and keep nothing."""
    async for _ in stream:
        pass


async def receive_datagrams(sock, count):
    """Return the next ``count`` datagrams, with their addresses."""
    datagrams = []
    while len(datagrams) < count:
        batch = await sock.receive_batch()
        assert batch
        datagrams += batch
    return datagrams


async def receive_all(sock, count, besides=None):
    """Return the next ``count`` payloads; ``besides`` is none of them."""
    payloads = []
    while len(payloads) < count:
        batch = await sock.receive_batch()
        payloads += [payload for payload, _ in batch if payload != besides]
    return payloads


async def received(sock):
    """Return the payloads that are there, as everything is on loopback."""
    loopback_is_through()
    payloads = []
    with contextlib.suppress(trio.WouldBlock):
        while True:
            payloads += sock.receive_batch_nowait()
    return [payload for payload, _ in payloads]


class _Steps(trio.abc.Instrument):
    """Counts how often tasks have their turn."""

    def __init__(self):
        self.count = 0

    def before_task_step(self, task):
        self.count += 1


@contextlib.contextmanager
def counted_steps():
    """Count how often tasks have their turn, in a block."""
    steps = _Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
