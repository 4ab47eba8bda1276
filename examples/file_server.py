"""Serve the files of a directory over HTTP/1.1.

    pip install h11
    python examples/file_server.py 127.0.0.1:8000 --directory .
    curl -O http://127.0.0.1:8000/README.md
    curl -r 0-99 http://127.0.0.1:8000/README.md

h11 speaks HTTP, and hands on what is no header unseen: the header and the
file's first bytes leave together, the rest by sendfile(2), and no byte of a
file is ever copied into Python. Parts of files (Range) and what has not
changed (If-None-Match, If-Modified-Since) are answered as RFC 9110 says.
Ctrl-C stops the server.
"""

from __future__ import annotations

import argparse
import email.utils
import functools
import io
import mimetypes
import os
import re
import stat
import struct
import sys
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import h11
import trio
from echo_server import end_with_the_reader, parse_address, serve

from triobatch import Buffers, FileSlice

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from triobatch import BatchSocketStream

LARGEST_HEADER = 16384
# How long a connection may be idle, in seconds: a client asks for nothing, or
# takes nothing of what it has asked for.
PATIENCE = 60.0


class FileServer:
    """Serves the files below one directory."""

    def __init__(self, directory: Path, patience: float = PATIENCE) -> None:
        self._root = directory.resolve()
        self._patience = patience

    async def serve(self, stream: BatchSocketStream) -> None:
        """Answer the requests on one connection, until its end."""
        http = h11.Connection(h11.SERVER, LARGEST_HEADER)
        try:
            while await self.answer_one(stream, http):
                http.start_next_cycle()
        except (trio.BrokenResourceError, EOFError, OSError):
            # An exception would end the whole server. The client is gone, or
            # the file cannot be read to the end it had: a closed connection
            # says that no more will come.
            return

    async def answer_one(
        self, stream: BatchSocketStream, http: h11.Connection
    ) -> bool:
        """Answer a request, if one comes; return whether to go on."""
        request = None
        try:
            with trio.move_on_after(self._patience):
                request = await receive_request(stream, http)
        except h11.RemoteProtocolError as error:
            # It is no request, and where the next one starts nobody knows.
            status = HTTPStatus(error.error_status_hint)
            await self.send(stream, http, Answer(status))
            return False
        if request is None:
            return False
        # Opening may wait for a disk.
        file = await trio.to_thread.run_sync(self.open, request)
        try:
            if not await self.send(stream, http, answer(request, file)):
                return False
        finally:
            if file:
                file.close()
        # A body, which nobody has read, would be taken for the next request.
        return http.our_state is h11.DONE and http.their_state is h11.DONE

    async def send(
        self, stream: BatchSocketStream, http: h11.Connection, answer: Answer
    ) -> bool:
        """Send as long as some of it is taken; return whether it all was.

        A cancelled ``send_file`` has consumed what the kernel took, exactly.
        So it can go on, and the time is that of a client which takes nothing
        at all, not that of a large file.
        """
        header = Buffers(answer.header(http))

        def left() -> int:
            size = answer.body.nbytes if answer.body else 0
            return header.nbytes + size + in_kernel(stream)

        while True:
            before = left()
            with trio.move_on_after(self._patience):
                if answer.body:
                    await stream.send_file(answer.body, header=header)
                else:
                    await stream.send_buffers(header)
                return True
            if left() >= before:
                return False

    def open(self, request: Request) -> io.FileIO | None:
        """Return the file that is meant, if it lies below the directory."""
        if not request.is_served:
            return None
        try:
            name = unquote(urlsplit(request.target).path).lstrip("/")
            path = (self._root / name).resolve()
            if not path.is_relative_to(self._root):
                return None
            # A pipe would wait for its other end (open(2)).
            file = io.FileIO(path, opener=open_at_once)
        except (OSError, RuntimeError, ValueError):
            # Whatever a client asks for: names that are too long or hold a
            # NUL, links in a circle, half an IPv6 address, a directory.
            return None
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
        return None


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for anybody."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


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


async def receive_request(
    stream: BatchSocketStream, http: h11.Connection
) -> Request | None:
    """Return the next request, with its header read; None at the end."""
    request = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if request is not None:
                # Its body does not concern us, and may never come.
                return request
            http.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Request):
            if not event.http_version.startswith(b"1."):
                status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
                raise h11.RemoteProtocolError("not HTTP/1", status)
            request = Request.of(event)
        elif isinstance(event, h11.Data):
            continue
        else:
            # The end of the request, or that of the connection.
            return request


@dataclass
class Request:
    """What a client asks for."""

    method: str
    target: str
    fields: dict[str, str]

    @classmethod
    def of(cls, event: h11.Request) -> Request:
        """Return it with fields of one name joined (RFC 9110, 5.3)."""
        fields: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode(), raw_value.decode("latin-1")
            fields[name] = (
                f"{fields[name]}, {value}" if name in fields else value
            )
        return cls(event.method.decode(), event.target.decode(), fields)

    @property
    def is_served(self) -> bool:
        """Whether it is a request for a file."""
        return self.method in ("GET", "HEAD")


class Counted:
    """The length of a part of a file, which is all that h11 asks for."""

    def __init__(self, part: FileSlice) -> None:
        self._part = part

    def __len__(self) -> int:
        return self._part.nbytes


@dataclass
class Answer:
    """A header, and the part of a file that goes with it."""

    status: HTTPStatus
    fields: dict[str, object] = field(default_factory=dict)
    body: FileSlice | None = None

    def header(self, http: h11.Connection) -> list[bytes]:
        """Return the header as it is sent, and have h11 count the body."""
        # Without a body there is nothing that could lack a length.
        fields = {"Content-Length": 0} | self.fields
        if self.status == HTTPStatus.NOT_MODIFIED:
            del fields["Content-Length"]
        if http.their_state is not h11.DONE:
            # There is more to the request, or it is none.
            fields["Connection"] = "close"
        response = h11.Response(
            status_code=self.status,
            reason=self.status.phrase,
            headers=[
                ("Date", http_date(int(time.time()))),
                *((name, str(value)) for name, value in fields.items()),
            ],
        )
        chunks = http.send_with_data_passthrough(response) or []
        if self.body:
            counted: Any = Counted(self.body)
            http.send_with_data_passthrough(h11.Data(counted))
        http.send_with_data_passthrough(h11.EndOfMessage())
        return chunks


def answer(request: Request, file: io.FileIO | None) -> Answer:
    """Return the answer to a request for a file (RFC 9110)."""
    if not request.is_served:
        allowed: dict[str, object] = {"Allow": "GET, HEAD"}
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, allowed)
    if file is None:
        return Answer(HTTPStatus.NOT_FOUND)
    found = os.fstat(file.fileno())
    size = found.st_size
    etag = f'"{found.st_mtime_ns:x}-{size:x}"'
    fields: dict[str, object] = {
        "ETag": etag,
        "Last-Modified": http_date(int(found.st_mtime)),
        "Accept-Ranges": "bytes",
    }
    status = precondition(request.fields, etag, int(found.st_mtime))
    if status == HTTPStatus.NOT_MODIFIED:
        return Answer(status, fields)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return Answer(status)
    part = range(size)
    if request.method == "GET" and is_current(request.fields, fields):
        asked = parse_range(request.fields.get("range", ""), size)
        if asked is not None and not asked:
            none: dict[str, object] = {"Content-Range": f"bytes */{size}"}
            return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, none)
        if asked:
            part, status = asked, HTTPStatus.PARTIAL_CONTENT
            fields["Content-Range"] = (
                f"bytes {part.start}-{part.stop - 1}/{size}"
            )
    kind, encoding = mimetypes.guess_type(file.name)
    # A gzip file is that, and not the coding of something else.
    fields["Content-Type"] = (
        kind if kind and not encoding else "application/octet-stream"
    )
    fields["Content-Length"] = len(part)
    body = None
    if part and request.method == "GET":
        body = FileSlice(file, part.start, len(part))
    return Answer(status, fields, body)


@functools.lru_cache
def http_date(seconds: int) -> str:
    """Return a time as HTTP writes it; most are asked for again."""
    return email.utils.formatdate(seconds, usegmt=True)


def precondition(
    fields: dict[str, str], etag: str, modified: int
) -> HTTPStatus:
    """Return the status that the conditions lead to (section 13.2.2)."""
    if "if-match" in fields:
        if not matches(fields["if-match"], etag):
            return HTTPStatus.PRECONDITION_FAILED
    elif modified > parse_date(fields.get("if-unmodified-since"), modified):
        return HTTPStatus.PRECONDITION_FAILED
    if "if-none-match" in fields:
        if matches(fields["if-none-match"], etag, weakly=True):
            return HTTPStatus.NOT_MODIFIED
    elif modified <= parse_date(fields.get("if-modified-since"), -1):
        return HTTPStatus.NOT_MODIFIED
    return HTTPStatus.OK


def matches(tags: str, etag: str, *, weakly: bool = False) -> bool:
    """Return whether a list of entity tags has this one, or is ``*``."""
    if tags.strip() == "*":
        return True
    found = re.findall(r'(W/)?("[^"]*")', tags)
    return any(tag == etag and (weakly or not weak) for weak, tag in found)


def parse_date(text: str | None, otherwise: int) -> int:
    """Return a date in seconds since 1970; ``otherwise`` if it is none."""
    try:
        return int(email.utils.parsedate_to_datetime(text or "").timestamp())
    except (TypeError, ValueError, OverflowError):
        return otherwise


def is_current(asked: dict[str, str], fields: dict[str, object]) -> bool:
    """Return whether a part of this goes with what the client has.

    If-Range, section 13.1.5: the tag, or the date to the second.
    """
    condition = asked.get("if-range")
    return condition in (None, fields["ETag"], fields["Last-Modified"])


def parse_range(text: str, size: int) -> range | None:
    """Return the bytes asked for, none of them if there are none.

    ``None`` where the whole is to be sent: several parts at once need not be
    (section 14.2), nor what is not understood.
    """
    # The unit's case does not matter (section 14.1).
    found = re.fullmatch(
        r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", text, re.ASCII | re.IGNORECASE
    )
    first, last = found.groups() if found else ("", "")
    if not (first or last):
        return None
    if not first:
        # The last so many. An empty file has no part to tell of.
        return range(max(0, size - int(last)), size) if size else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


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
