"""What the datagram drivers in Python share: the protocol, and the far ends.

A driver is started as ``ROLE PORT``, some with a variant before it: ``send``
to the sink at the port, ``receive`` from the source at the port, or ``echo``,
a server, which has no port to be told.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from measuring import Stopwatch, answer, requests

SIZE = 1200
LOOPBACK = "127.0.0.1"
RECEIVE_BUFFER = 8 << 20
# Python has no name for it: SO_RCVBUF above net.core.rmem_max, for root.
SO_RCVBUFFORCE = 33


def bound_socket():
    """Return a UDP socket with a port, and room for what may come at once."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK, 0))
    make_room(sock)
    return sock


def make_room(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)


class Batch:
    """What one operation of a sending case sends, and to whom."""

    def __init__(self, case, port, count):
        self.case = case
        self.one_peer = case != "many"
        sizes = [SIZE] * count
        addresses = [(LOOPBACK, port)] * count
        if case == "mixed":
            # Never two alike in a row: nothing here can be segmented.
            sizes = [64 + i * 331 % 1400 for i in range(count)]
        elif case == "many":
            addresses = [(f"127.0.0.{1 + i}", port) for i in range(count)]
        self.count = count
        self.size = sum(sizes)
        self.payloads = [bytes([i & 255]) * n for i, n in enumerate(sizes)]
        self.pairs = list(zip(self.payloads, addresses, strict=True))
        self.joined = b"".join(self.payloads)


class Sending:
    """A measurement: from the first datagram to the sink's last one."""

    def __init__(self, sink, batch, count):
        self._sink = sink
        self._count = count
        self._datagrams = count * batch.count

    def begin(self):
        self._watch = Stopwatch()

    def end(self):
        self._sink.sendall(struct.pack("!Q", self._datagrams))
        arrived = self._sink.recv(24, socket.MSG_WAITALL)
        spent = self._watch.read()
        datagrams, size, wrong = struct.unpack("!QQQ", arrived)
        answer(
            **spent,
            count=self._count,
            datagrams=datagrams,
            bytes=size,
            wrong=wrong,
        )


def sendings(port):
    """Yield (batch, count, measurement) for each request."""
    with socket.create_connection((LOOPBACK, port)) as sink:
        for request in requests():
            batch = Batch(request.case, port, int(request.options["batch"]))
            yield batch, request.count, Sending(sink, batch, request.count)


class Receiving:
    """A measurement: block after block of datagrams from the source.

    A case that is named ``stream...`` has two blocks on their way, and is
    timed from its begin to its end. Others have each block wait in the
    socket's buffer first, and only the taking is timed.
    """

    def __init__(self, source, own_port, request):
        self.block = int(request.options["block"])
        self.batch = int(request.options["batch"])
        self.blocks = range(request.count)
        self._streaming = request.case.startswith("stream")
        self._source = source
        self._order = struct.pack("!QQQ", own_port, self.block, SIZE)
        self._spent = {"seconds": 0.0, "cpu": 0.0}
        self._ordered = self._confirmed = 0

    def begin_block(self):
        """Order a block; what comes is to be taken from here on."""
        if not self._streaming:
            self._order_block()
            self._confirm()
            self._watch = Stopwatch()
            return
        if self._ordered == 0:
            self._watch = Stopwatch()
            self._order_block()
        if self._ordered < len(self.blocks):
            self._order_block()

    def end_block(self):
        """Note that a block has been taken."""
        if not self._streaming:
            self._stop()

    def _order_block(self):
        self._ordered += 1
        self._source.sendall(self._order)

    def _confirm(self):
        while self._confirmed < self._ordered:
            said = self._source.recv(self._ordered - self._confirmed)
            if not said:
                raise RuntimeError("the source has gone")
            self._confirmed += len(said)

    def _stop(self):
        for name, value in self._watch.read().items():
            self._spent[name] += value

    def report(self, last):
        """Answer the harness; ``last`` is the size of the last datagram."""
        if self._streaming:
            self._stop()
            self._confirm()
        count = len(self.blocks)
        answer(
            **self._spent,
            count=count,
            datagrams=count * self.block,
            bytes=count * self.block * last,
        )


def receivings(port, own_port):
    """Yield a measurement for each request."""
    with socket.create_connection((LOOPBACK, port)) as source:
        for request in requests():
            yield Receiving(source, own_port, request)
