"""Serve the files of a directory over HTTP/1.1.

    python examples/file_server.py 127.0.0.1:8000 --directory .
    curl -O http://127.0.0.1:8000/README.md

The header and the pieces of the file, which are views of a mapping of it, go
in one gathered write: no byte of the file is ever copied into Python. Ctrl-C
stops the server.
"""

from __future__ import annotations

import argparse
import functools
import mimetypes
import mmap
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import trio
from echo_server import end_with_the_reader, parse_address, serve

from triobatch import Buffers

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from triobatch import BatchSocketStream

PIECE_SIZE = 2**18
LARGEST_HEADER = 16384
# How long a connection may be idle, in seconds: a client asks for nothing, or
# takes nothing of what it has asked for.
PATIENCE = 60.0


def in_kernel(stream: BatchSocketStream) -> int:
    """Return the bytes that the client has not acknowledged yet (tcp(7)).

    The kernel takes more only when a third of them are gone, which may be a
    megabyte: a long time for a slow client.
    """
    if sys.platform != "linux":
        return 0
    fd = stream.socket.fileno()
    (size,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
    return int(size)


class FileServer:
    """Serves the files below one directory."""

    def __init__(self, directory: Path, patience: float = PATIENCE) -> None:
        self._root = directory.resolve()
        self._patience = patience

    async def serve(self, stream: BatchSocketStream) -> None:
        """Answer the requests on one connection, until its end."""
        received = b""
        try:
            while True:
                with trio.move_on_after(self._patience) as idle:
                    while b"\r\n\r\n" not in received:
                        data = await stream.receive_some()
                        received += data
                        if not data or len(received) > LARGEST_HEADER:
                            return
                if idle.cancelled_caught:
                    return
                header, _, received = received.partition(b"\r\n\r\n")
                answer, keep = self.answer(header.decode("latin-1"))
                with answer as chunks:
                    taken = await self.send(stream, chunks)
                if not (taken and keep):
                    return
        except trio.BrokenResourceError:
            # The client is gone. An exception would end the whole server.
            return

    async def send(self, stream: BatchSocketStream, chunks: Buffers) -> bool:
        """Send as long as some of it is taken; return whether all was.

        A cancelled send has consumed what the kernel took, exactly. So it can
        go on, and the time is that of a client which takes nothing at all, not
        that of a large file.
        """
        while chunks:
            before = chunks.nbytes + in_kernel(stream)
            with trio.move_on_after(self._patience):
                await stream.send_buffers(chunks)
            if chunks.nbytes + in_kernel(stream) >= before:
                return False
        return True

    def answer(self, header: str) -> tuple[Answer, bool]:
        """Return the answer, and whether another request may follow."""
        request, *fields = header.split("\r\n")
        method, _, rest = request.partition(" ")
        target, _, version = rest.partition(" ")
        lowered = [field.lower().replace(" ", "") for field in fields]
        keep = version == "HTTP/1.1" and "connection:close" not in lowered
        # A body would be taken for the next request.
        keep = keep and not any(
            field.startswith(("content-length:", "transfer-encoding:"))
            for field in lowered
        )
        if not version.startswith("HTTP/1."):
            return Answer("400 Bad Request", keep=False), False
        if method not in ("GET", "HEAD"):
            return Answer("405 Method Not Allowed", keep=keep), keep
        path = self.find(target)
        if path is None:
            return Answer("404 Not Found", keep=keep), keep
        return Answer("200 OK", path, head=method == "HEAD", keep=keep), keep

    def find(self, target: str) -> Path | None:
        """Return the file that is meant, if it lies below the directory."""
        try:
            name = unquote(urlsplit(target).path).lstrip("/")
            path = (self._root / name).resolve()
            if not path.is_relative_to(self._root) or not path.is_file():
                return None
            # It may not be readable.
            path.open("rb").close()
        except (OSError, RuntimeError, ValueError):
            # Whatever a client asks for: names that are too long or hold a
            # NUL, links in a circle, half an IPv6 address.
            return None
        return path


class Answer:
    """The chunks of an answer, for a ``with`` block."""

    def __init__(
        self,
        status: str,
        path: Path | None = None,
        *,
        head: bool = False,
        keep: bool,
    ) -> None:
        self._status = status
        self._path = path
        self._head = head
        self._keep = keep
        self._mapping: mmap.mmap | None = None
        self._buffers = Buffers()

    def __enter__(self) -> Buffers:
        size, kind = 0, "text/plain"
        if self._path is not None:
            kind = mimetypes.guess_type(self._path)[0] or (
                "application/octet-stream"
            )
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                # An empty file cannot be mapped.
                if size and not self._head:
                    self._mapping = mmap.mmap(
                        file.fileno(), 0, access=mmap.ACCESS_READ
                    )
        self._buffers.append(
            f"HTTP/1.1 {self._status}\r\n"
            f"Content-Type: {kind}\r\n"
            f"Content-Length: {size}\r\n"
            f"Connection: {'keep-alive' if self._keep else 'close'}\r\n"
            "\r\n".encode()
        )
        if self._mapping is not None:
            with memoryview(self._mapping) as view:
                pieces = range(0, size, PIECE_SIZE)
                self._buffers.extend(
                    view[start : start + PIECE_SIZE] for start in pieces
                )
        return self._buffers

    def __exit__(self, *_: object) -> None:
        # The mapping can be closed when nothing points into it.
        self._buffers.clear()
        if self._mapping is not None:
            self._mapping.close()


def main() -> int:
    """Read the command line, and serve."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="Serve the files of a directory over HTTP/1.1."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_address,
        default="127.0.0.1:8000",
        help="host:port (default: %(default)s)",
    )
    parser.add_argument("--directory", type=Path, default=Path())
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        help="seconds that a client may be idle (default: %(default)s)",
    )
    options = parser.parse_args()
    if isinstance(options.address, str):
        parser.error("HTTP is served at host:port")
    files = FileServer(options.directory, options.patience)
    start = functools.partial(trio.serve_listeners, files.serve)
    return trio.run(serve, options.address, start, "serving at http://{}/")


if __name__ == "__main__":
    sys.exit(main())
