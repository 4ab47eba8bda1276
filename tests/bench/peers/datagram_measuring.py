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
    """A measurement: only while what has been queued is taken."""

    def __init__(self, source, own_port, request):
        self.queued = int(request.options["queued"])
        self.batch = int(request.options["batch"])
        self._source = source
        self._order = struct.pack("!QQQ", own_port, self.queued, SIZE)
        self._spent = {"seconds": 0.0, "cpu": 0.0}
        self._bytes = self._datagrams = 0

    def begin(self):
        """Have ``queued`` datagrams sent, and start when all are here."""
        self._source.sendall(self._order)
        if self._source.recv(1) != b"\0":
            raise RuntimeError("the source has gone")
        self._watch = Stopwatch()

    def end(self, datagrams, last):
        """Note that so many came, and the size of the last one."""
        for name, value in self._watch.read().items():
            self._spent[name] += value
        self._datagrams += datagrams
        self._bytes += datagrams * last

    def report(self, count):
        answer(
            **self._spent,
            count=count,
            datagrams=self._datagrams,
            bytes=self._bytes,
        )


def receivings(port, own_port):
    """Yield (count, measurement) for each request."""
    with socket.create_connection((LOOPBACK, port)) as source:
        for request in requests():
            measurement = Receiving(source, own_port, request)
            yield request.count, measurement
            measurement.report(request.count)
