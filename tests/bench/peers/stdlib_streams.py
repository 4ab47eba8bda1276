"""Batches of chunks on a blocking socket: WAY PORT."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from measuring import (
    ACKNOWLEDGEMENT,
    Request,
    Stopwatch,
    answer,
    arrived,
    chunks_of,
    header,
    requests,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Send = Callable[[socket.socket, list[bytes]], object]


def join(sock: socket.socket, chunks: list[bytes]) -> None:
    sock.sendall(b"".join(chunks))


def sendmsg(sock: socket.socket, chunks: list[bytes]) -> None:
    """Send with ``sendmsg``, as carefully as one has to."""
    left: list[bytes | memoryview] = list(chunks)
    while left:
        sent = sock.sendmsg(left[:1024])
        done = 0
        while done < len(left) and sent >= len(left[done]):
            sent -= len(left[done])
            done += 1
        del left[:done]
        if sent:
            left[0] = memoryview(left[0])[sent:]


def measure(
    sock: socket.socket, send: Send, request: Request
) -> dict[str, object]:
    chunks = chunks_of(request)
    size = sum(map(len, chunks))
    sock.sendall(header(request, size, request.count))
    watch = Stopwatch()
    for _ in range(request.count):
        send(sock, chunks)
    acknowledgement = sock.recv(ACKNOWLEDGEMENT.size, socket.MSG_WAITALL)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


def run(send: Send, port: int) -> None:
    case, sock = "", None
    for request in requests():
        if request.case != case:
            if sock is not None:
                sock.close()
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            case = request.case
        assert sock is not None
        answer(**measure(sock, send, request))


WAYS = {"join": join, "sendmsg": sendmsg}

if __name__ == "__main__":
    run(WAYS[sys.argv[1]], int(sys.argv[2]))
