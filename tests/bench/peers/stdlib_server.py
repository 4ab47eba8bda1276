"""Requests answered with ``sendmsg``, a blocking thread a connection."""

from __future__ import annotations

import socket
import threading

from responses import BODY, HEADER, REQUEST_SIZE, answer


def respond(sock: socket.socket, count: int) -> None:
    chunks = [HEADER, BODY] * count
    sent = sock.sendmsg(chunks)
    if sent < (len(HEADER) + len(BODY)) * count:
        sock.sendall(b"".join(chunks)[sent:])


def serve(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    have = 0
    with sock:
        while data := sock.recv(65536):
            count, have = divmod(have + len(data), REQUEST_SIZE)
            if count:
                respond(sock, count)


def run() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        answer(ready=True, port=listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    run()
