"""Datagrams by blocking sockets of the standard library.

``stdlib_datagrams.py plain|gso ROLE ...``: ``gso`` has the kernel segment,
by the control message that a program can write by hand.
"""

import socket
import struct
import sys

from datagram_measuring import (
    LOOPBACK,
    SIZE,
    bound_socket,
    receivings,
    sendings,
)
from measuring import answer

# linux/udp.h; no name in Python 3.11.
UDP_SEGMENT = 103
RUN = 54  # datagrams of SIZE in a message of at most 65507 bytes


def send(port, *, gso):
    free = bound_socket()
    connected = bound_socket()
    connected.connect((LOOPBACK, port))
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", SIZE))]
    for batch, count, measurement in sendings(port):
        payloads = batch.payloads
        runs = [
            payloads[start : start + RUN]
            for start in range(0, len(payloads), RUN)
        ]
        if batch.case == "segments":
            runs = [
                [batch.joined[start : start + RUN * SIZE]]
                for start in range(0, len(batch.joined), RUN * SIZE)
            ]
        measurement.begin()
        for _ in range(count):
            if not batch.one_peer:
                for payload, address in batch.pairs:
                    free.sendto(payload, address)
            elif gso:
                for run in runs:
                    connected.sendmsg(run, control)
            else:
                for payload in payloads:
                    connected.send(payload)
        measurement.end()


def receive(port):
    sock = bound_socket()
    own = sock.getsockname()[1]
    for measurement in receivings(port, own):
        for _ in measurement.blocks:
            measurement.begin_block()
            for _ in range(measurement.block):
                payload, _address = sock.recvfrom(65536)
            measurement.end_block()
        measurement.report(len(payload))


def echo():
    sock = bound_socket()
    answer(ready=True, port=sock.getsockname()[1])
    while True:
        sock.sendto(*sock.recvfrom(65536))


if __name__ == "__main__":
    variant, role, *ports = sys.argv[1:]
    if role == "send":
        send(*map(int, ports), gso=variant == "gso")
    elif role == "receive":
        receive(*map(int, ports))
    else:
        echo()
