"""Many threads on one blocking connection: PORT."""

from __future__ import annotations

import socket
import sys
import threading

from measuring import (
    ACKNOWLEDGEMENT,
    Request,
    Stopwatch,
    answer,
    arrived,
    header,
    pattern,
    requests,
)


def measure(sock: socket.socket, request: Request) -> dict[str, object]:
    """Have every thread send ``count`` messages; they start together."""
    thread_count = int(request.options["tasks"])
    message = pattern(int(request.options["size"]))
    count = request.count * thread_count
    sock.sendall(header(request, len(message), count))
    # The last one to come opens the barrier.
    barrier = threading.Barrier(thread_count + 1)
    lock = threading.Lock()

    def one_thread() -> None:
        barrier.wait()
        for _ in range(request.count):
            with lock:
                sock.sendall(message)

    threads = [
        threading.Thread(target=one_thread) for _ in range(thread_count)
    ]
    for thread in threads:
        thread.start()
    watch = Stopwatch()
    barrier.wait()
    acknowledgement = sock.recv(ACKNOWLEDGEMENT.size, socket.MSG_WAITALL)
    taken = watch.read()
    for thread in threads:
        thread.join()
    return taken | arrived(acknowledgement) | {"count": count}


def run(port: int) -> None:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    for request in requests():
        answer(**measure(sock, request))


if __name__ == "__main__":
    run(int(sys.argv[1]))
