"""Public calls on datagram sockets; see ``ways``."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import trio

import triobatch
from guards.operations import LOOPBACK, SIZE, Place
from guards.ways import Way, at_once, repeated
from triobatch import DatagramSocket, lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable


def sending(call: Callable[..., object], *, nowait: bool = False):
    """Send so many payloads to one address."""

    async def make(place: Place, count: int) -> Way:
        far = place.datagrams()
        sock, address = place.batches(), far.getsockname()
        payloads = [bytes(SIZE)] * count

        def ours() -> object:
            return call(sock, payloads, address)

        return Way(
            at_once(ours) if nowait else ours, after_ours=place.drain(far)
        )

    return make


def sending_each(call: Callable[..., object]):
    """Send so many payloads, one after another."""

    async def send(sock, payloads: list[bytes], address) -> None:
        for payload in payloads:
            await call(sock, payload, address)

    return sending(send)


def sending_each_nowait(sock, payloads: list[bytes], address) -> None:
    """Send so many payloads, one after another."""
    for payload in payloads:
        sock.send_nowait(payload, address)


def batch_of(payloads: list[bytes], address) -> triobatch.Datagrams:
    """Return a queue of them."""
    return triobatch.Datagrams((payload, address) for payload in payloads)


def run_of(payloads: list[bytes]) -> list[triobatch.Run]:
    """Return them side by side."""
    return [triobatch.Run(b"".join(payloads), SIZE)]


def receiving(call: Callable[[DatagramSocket], object]):
    """Receive so many datagrams that are there."""

    async def make(place: Place, count: int) -> Way:
        sock, supply = _supplied(place, count)
        return Way(lambda: call(sock), supply)

    return make


def _supplied(place: Place, count: int):
    """Return a socket of ours, and what has ``count`` datagrams sent to it."""
    sock, near = place.batches(), place.datagrams()
    address = sock.socket.getsockname()

    def send() -> None:
        for _ in range(count):
            near.sendto(bytes(SIZE), address)

    return sock, send


async def receive(place: Place, count: int) -> Way:
    """Receive so many datagrams, one after another."""
    sock, supply = _supplied(place, count)
    return Way(repeated(count, sock.receive), supply)


async def receive_nowait(place: Place, count: int) -> Way:
    """Receive so many datagrams, one after another."""
    sock, supply = _supplied(place, count)

    def take() -> None:
        for _ in range(count):
            sock.receive_nowait()

    return Way(at_once(take), supply)


async def _runs(sock: DatagramSocket) -> None:
    async with sock.receive_runs():
        pass


async def _runs_nowait(sock: DatagramSocket) -> None:
    with sock.receive_runs_nowait():
        pass


def errors(call: Callable[[DatagramSocket], object]):
    """Receive what is said of so many datagrams to where nobody is."""

    async def make(place: Place, count: int) -> Way:
        sock = place.datagrams()
        sock.setblocking(False)
        ours = DatagramSocket(
            trio.socket.from_stdlib_socket(sock), error_queue=True
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind((LOOPBACK, 0))
            address = gone.getsockname()

        def send() -> None:
            for _ in range(count):
                # What an earlier one met is told to the next.
                with contextlib.suppress(ConnectionRefusedError):
                    sock.sendto(b"", address)
                with contextlib.suppress(ConnectionRefusedError):
                    sock.sendto(b"", address)

        return Way(lambda: call(ours), send)

    return make


async def _errors_nowait(sock: DatagramSocket) -> None:
    sock.receive_errors_nowait()


async def sendmmsg(place: Place, count: int) -> Way:
    """Send so many datagrams with one system call."""
    far = place.datagrams()
    fd = place.batches().socket.fileno()
    pairs = [(bytes(SIZE), far.getsockname())] * count
    return Way(
        at_once(lambda: lowlevel.sendmmsg(fd, pairs)),
        after_ours=place.drain(far),
    )


async def recvmmsg(place: Place, count: int) -> Way:
    """Receive so many datagrams with one system call."""
    sock, supply = _supplied(place, count)
    room = bytearray(SIZE * count)
    fd = sock.socket.fileno()
    return Way(at_once(lambda: lowlevel.recvmmsg(fd, room, SIZE)), supply)


async def _batch_nowait(sock: DatagramSocket) -> None:
    sock.receive_batch_nowait()


async def _messages_nowait(sock: DatagramSocket) -> None:
    sock.receive_messages_nowait()


WAYS = {
    "DatagramSocket.receive": receive,
    "DatagramSocket.receive_batch": receiving(
        lambda sock: sock.receive_batch()
    ),
    "DatagramSocket.receive_batch_nowait": receiving(_batch_nowait),
    "DatagramSocket.receive_errors": errors(
        lambda sock: sock.receive_errors()
    ),
    "DatagramSocket.receive_errors_nowait": errors(_errors_nowait),
    "DatagramSocket.receive_messages": receiving(
        lambda sock: sock.receive_messages()
    ),
    "DatagramSocket.receive_messages_nowait": receiving(_messages_nowait),
    "DatagramSocket.receive_nowait": receive_nowait,
    "DatagramSocket.receive_runs": receiving(_runs),
    "DatagramSocket.receive_runs_nowait": receiving(_runs_nowait),
    "DatagramSocket.send": sending_each(
        lambda sock, payload, address: sock.send(payload, address)
    ),
    "DatagramSocket.send_batch": sending(
        lambda sock, payloads, address: sock.send_batch(
            [(payload, address) for payload in payloads]
        )
    ),
    "DatagramSocket.send_batch(Datagrams)": sending(
        lambda sock, *batch: sock.send_batch(batch_of(*batch))
    ),
    "DatagramSocket.send_batch_nowait": sending(
        lambda sock, *batch: sock.send_batch_nowait(batch_of(*batch)),
        nowait=True,
    ),
    "DatagramSocket.send_many": sending(
        lambda sock, payloads, address: sock.send_many(payloads, address)
    ),
    "DatagramSocket.send_many_nowait": sending(
        lambda sock, *batch: sock.send_many_nowait(*batch), nowait=True
    ),
    "DatagramSocket.send_nowait": sending(sending_each_nowait, nowait=True),
    "DatagramSocket.send_runs": sending(
        lambda sock, payloads, address: sock.send_runs(
            run_of(payloads), address
        )
    ),
    "DatagramSocket.send_runs_nowait": sending(
        lambda sock, payloads, address: sock.send_runs_nowait(
            run_of(payloads), address
        ),
        nowait=True,
    ),
    "DatagramSocket.send_segments": sending(
        lambda sock, payloads, address: sock.send_segments(
            b"".join(payloads), SIZE, address
        )
    ),
    "DatagramSocket.send_segments_nowait": sending(
        lambda sock, payloads, address: sock.send_segments_nowait(
            b"".join(payloads), SIZE, address
        ),
        nowait=True,
    ),
    "lowlevel.recvmmsg": recvmmsg,
    "lowlevel.sendmmsg": sendmmsg,
}
