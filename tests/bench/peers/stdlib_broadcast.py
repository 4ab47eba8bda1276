"""One message to many blocking connections, one after another: PORT."""

from __future__ import annotations

import socket
import sys

from measuring import (
    ACKNOWLEDGEMENT,
    Request,
    Stopwatch,
    answer,
    arrived,
    broadcast_header,
    pattern,
    requests,
)


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return sock


def measure(
    control: socket.socket, socks: list[socket.socket], request: Request
) -> dict[str, object]:
    message = pattern(int(request.options["size"]))
    control.sendall(broadcast_header(request, len(message), len(socks)))
    watch = Stopwatch()
    for _ in range(request.count):
        for sock in socks:
            sock.sendall(message)
    acknowledgement = control.recv(ACKNOWLEDGEMENT.size, socket.MSG_WAITALL)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


def run(port: int) -> None:
    control = connect(port)
    socks: list[socket.socket] = []
    for request in requests():
        count = int(request.options["connections"])
        while len(socks) > count:
            socks.pop().close()
        while len(socks) < count:
            socks.append(connect(port))
        answer(**measure(control, socks, request))


if __name__ == "__main__":
    run(int(sys.argv[1]))
