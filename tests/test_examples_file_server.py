"""The file server, asked by curl and by clients that do not read."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from email.utils import formatdate
from importlib import util

import pytest
from programs import EXAMPLES, PLAIN_ENVIRONMENT, running

pytest.importorskip("h11")

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="stops servers with SIGINT"
)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="there is no curl"
)


CONTENT = bytes(range(200))
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MODIFIED = 1_600_000_000


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server of one directory, for all that changes nothing."""
    directory = tmp_path_factory.mktemp("served")
    (directory / "file.txt").write_bytes(CONTENT)
    (directory / "empty").touch()
    (directory / "text.gz").write_bytes(gzip.compress(CONTENT))
    os.mkfifo(directory / "pipe")
    for path in directory.iterdir():
        os.utime(path, (MODIFIED, MODIFIED))
    with running(
        "file_server.py", "127.0.0.1:0", "--directory", directory
    ) as url:
        yield url


def ask(url, *options):
    """Ask with curl; return the status, the fields and the body."""
    curl = subprocess.run(
        ["curl", "-sS", "-i", *options, url],
        capture_output=True,
        check=True,
        env=PLAIN_ENVIRONMENT,
        timeout=60,
    )
    header, _, body = curl.stdout.partition(b"\r\n\r\n")
    start, *lines = header.decode().split("\r\n")
    return int(start.split()[1]), dict(x.split(": ", 1) for x in lines), body


@needs_curl
@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("0-0", 206, 0, 1),
        ("10-19", 206, 10, 20),
        ("199-", 206, 199, 200),
        ("0-9999", 206, 0, 200),
        ("-1", 206, 199, 200),
        ("-9999", 206, 0, 200),
        ("200-", 416, 0, 0),
        ("-0", 416, 0, 0),
        ("9-8", 200, 0, 200),
        ("0-1,5-6", 200, 0, 200),
        ("x-y", 200, 0, 200),
        ("-", 200, 0, 200),
    ],
)
def test_a_part_of_a_file(url, asked, status, start, stop):
    got, fields, body = ask(f"{url}file.txt", "-H", f"Range: bytes={asked}")
    assert (got, body) == (status, CONTENT[start:stop])
    assert fields["Content-Length"] == str(stop - start)
    expected = {206: f"bytes {start}-{stop - 1}/200", 416: "bytes */200"}
    assert fields.get("Content-Range") == expected.get(status)


@needs_curl
def test_the_case_of_the_unit_of_a_part_does_not_matter(url):
    got, _, body = ask(f"{url}file.txt", "-H", "Range: Bytes=0-9")
    assert (got, len(body)) == (206, 10)


@needs_curl
@pytest.mark.parametrize(
    ("asked", "status"), [("0-", 416), ("-5", 200), ("0-5", 416)]
)
def test_an_empty_file_has_no_parts(url, asked, status):
    got, _, body = ask(f"{url}empty", "-H", f"Range: bytes={asked}")
    assert (got, body) == (status, b"")


@needs_curl
def test_a_download_that_broke_off_goes_on(url, tmp_path):
    (tmp_path / "got").write_bytes(CONTENT[:77])
    subprocess.run(
        ["curl", "-sS", "-C", "-", "-o", tmp_path / "got", f"{url}file.txt"],
        check=True,
        env=PLAIN_ENVIRONMENT,
        timeout=60,
    )
    assert (tmp_path / "got").read_bytes() == CONTENT


@needs_curl
@pytest.mark.parametrize(
    ("field", "seconds", "status"),
    [
        ("If-Modified-Since", 0, 304),
        ("If-Modified-Since", 1, 304),
        ("If-Modified-Since", -1, 200),
        ("If-Unmodified-Since", 0, 200),
        ("If-Unmodified-Since", -1, 412),
    ],
)
def test_a_condition_with_a_date(url, field, seconds, status):
    date = formatdate(MODIFIED + seconds, usegmt=True)
    got, fields, body = ask(f"{url}file.txt", "-H", f"{field}: {date}")
    assert (got, body) == (status, CONTENT if status == 200 else b"")
    if status == 304:
        assert fields["Last-Modified"] == formatdate(MODIFIED, usegmt=True)


@needs_curl
@pytest.mark.parametrize(
    ("field", "tags", "status"),
    [
        ("If-None-Match", "{}", 304),
        ("If-None-Match", "W/{}", 304),
        ("If-None-Match", '"other", {}', 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"other"', 200),
        ("If-Match", "{}", 200),
        ("If-Match", "*", 200),
        ("If-Match", "W/{}", 412),
        ("If-Match", '"other"', 412),
    ],
)
def test_a_condition_with_tags(url, field, tags, status):
    etag = ask(f"{url}file.txt", "--head")[1]["ETag"]
    value = tags.format(etag)
    got, fields, body = ask(f"{url}file.txt", "-H", f"{field}: {value}")
    assert (got, body) == (status, CONTENT if status == 200 else b"")
    if status == 304:
        assert fields["ETag"] == etag


@needs_curl
def test_a_tag_goes_before_a_date(url):
    """RFC 9110, section 13.2.2."""
    date = formatdate(MODIFIED, usegmt=True)
    got, _, _ = ask(
        f"{url}file.txt", "-H", f"If-Modified-Since: {date}",
        "-H", 'If-None-Match: "other"',
    )  # fmt: skip
    assert got == 200


@needs_curl
@pytest.mark.parametrize("of", ["ETag", "Last-Modified"])
def test_a_part_only_of_what_the_client_has(url, of):
    value = ask(f"{url}file.txt", "--head")[1][of]
    ask_part = ["-H", "Range: bytes=0-9", "-H"]
    same = ask(f"{url}file.txt", *ask_part, f"If-Range: {value}")
    other = ask(f"{url}file.txt", *ask_part, f"If-Range: x{value}")
    assert (same[0], same[2]) == (206, CONTENT[:10])
    assert (other[0], other[2]) == (200, CONTENT)


@needs_curl
def test_a_head_has_all_but_the_body(url):
    status, fields, body = ask(
        f"{url}file.txt", "--head", "-H", "Range: bytes=0-9"
    )
    assert (status, fields["Content-Length"], body) == (200, "200", b"")
    assert fields["Content-Type"] == "text/plain"
    assert fields["Accept-Ranges"] == "bytes"


@needs_curl
def test_a_compressed_file_is_what_it_is(url):
    _, fields, body = ask(f"{url}text.gz", "--compressed")
    assert gzip.decompress(body) == CONTENT
    assert fields["Content-Type"] == "application/octet-stream"


@needs_curl
def test_a_pipe_is_not_waited_for(url):
    assert ask(f"{url}pipe")[0] == 404


def exchange(url, request):
    """Send what is no request of curl's; return all that comes, to the end."""
    host, _, port = url.removeprefix("http://").strip("/").rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=30) as client:
        # What is not read any more is answered by a reset.
        with suppress(ConnectionError):
            client.sendall(request)
        with suppress(ConnectionError):
            while data := client.recv(2**16):
                answer += data
    return answer


def test_a_header_without_end_closes_the_connection(url):
    answer = exchange(url, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"no request at all\r\n\r\n", 400),
        # RFC 9112, section 3.2.
        (b"GET /file.txt HTTP/1.1\r\n\r\n", 400),
        (b"GET /file.txt HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /file.txt HTTP/1.0\r\n\r\n", 200),
        (b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 405),
        (CHUNKED + b"no size\r\n", 400),
    ],
)
def test_a_connection_ends_with_what_cannot_be_followed(url, request_, status):
    answer = exchange(url, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer


def test_requests_that_come_together_are_answered_in_turn(url):
    ask = b"GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    answer = exchange(
        url,
        ask % (b"file.txt", b"")
        + ask % (b"missing", b"")
        + ask % (b"file.txt", b"Connection: close\r\n"),
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    first, second = answer.split(b"HTTP/1.1 404 Not Found")
    assert first.endswith(CONTENT)
    assert second.endswith(CONTENT)


@pytest.mark.parametrize(
    "text", ["", "bytes", "bytes=", "items=0-1", "bytes=1"]
)
def test_what_is_no_range_is_ignored(text, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    spec = util.spec_from_file_location("served", EXAMPLES / "file_server.py")
    server = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "served", server)
    spec.loader.exec_module(server)
    assert server.parse_range(text, 100) is None


def test_a_file_that_shrinks_ends_its_connection_alone(large):
    with running("file_server.py", "127.0.0.1:0", "--directory", large) as url:
        with downloading(url) as client:
            client.recv(1)
            os.truncate(large / "large", 100)
            received = 1
            while data := client.recv(2**20):
                received += len(data)
            assert received < 64 * 2**20
        if shutil.which("curl"):
            assert ask(f"{url}large")[2] == bytes(100)


@needs_curl
@pytest.mark.parametrize("size", [0, 1, 2**18, 5_000_001])
def test_curl_gets_files_over_one_connection(size, tmp_path):
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "a file").write_bytes(content)
    (tmp_path / "small.txt").write_text("small\n")
    with running(
        "file_server.py", "127.0.0.1:0", "--directory", tmp_path
    ) as url:
        curl = subprocess.run(
            ["curl", "-sS", "-w", "%{num_connects}", "-o", "-",
             f"{url}a%20file", "-o", tmp_path / "got", f"{url}small.txt"],
            capture_output=True,
            check=True,
            env=PLAIN_ENVIRONMENT,
            timeout=60,
        )  # fmt: skip
    # One connection for the first, none for the second.
    assert curl.stdout == content + b"10"
    assert (tmp_path / "got").read_text() == "small\n"


@pytest.fixture(scope="module")
def small_server(tmp_path_factory):
    """Return where a directory is served that has a secret beside it."""
    top = tmp_path_factory.mktemp("top")
    (top / "secret").write_text("secret")
    directory = top / "served"
    directory.mkdir()
    (directory / "public").write_text("public")
    (directory / "loop").symlink_to(directory / "loop")
    with running(
        "file_server.py", "127.0.0.1:0", "--directory", directory
    ) as url:
        yield url


@needs_curl
@pytest.mark.parametrize(
    ("target", "options", "status"),
    [
        ("missing", [], "404"),
        ("../secret", ["--path-as-is"], "404"),
        ("%2e%2e/secret", ["--path-as-is"], "404"),
        ("%00", [], "404"),
        ("public", ["-X", "DELETE"], "405"),
        ("public", ["--head"], "200"),
        ("public?query", [], "200"),
        ("a" * 300, [], "404"),
        ("loop", [], "404"),
        ("", ["--request-target", "//["], "404"),
    ],
)
def test_what_is_not_served(small_server, target, options, status, tmp_path):
    curl = subprocess.run(
        ["curl", "-sS", "-o", tmp_path / "got", "-w", "%{http_code}",
         *options, f"{small_server}{target}"],
        capture_output=True,
        text=True,
        check=True,
        env=PLAIN_ENVIRONMENT,
        timeout=60,
    )  # fmt: skip
    assert curl.stdout == status
    assert "secret" not in (tmp_path / "got").read_text()


@pytest.fixture
def large(tmp_path):
    """A directory with a file that no kernel holds on the way."""
    with (tmp_path / "large").open("wb") as sparse:
        sparse.truncate(64 * 2**20)
    return tmp_path


@contextmanager
def downloading(url):
    """Ask for the large file, with room for little of it."""
    host, _, port = url.removeprefix("http://").strip("/").rpartition(":")
    with socket.socket() as client:
        # A loopback segment, at least: less than that waits for timers.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.settimeout(30)
        client.connect((host, int(port)))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        yield client


def is_established(_host, near, _peer, far):
    """Tell whether a process has its end, at a port, of a connection still."""
    with open("/proc/net/tcp", encoding="ascii") as lines:
        found = [line.split()[1:4] for line in lines]
    return any(
        (local[-5:], remote[-5:], state)
        == (f":{near:04X}", f":{far:04X}", "01")
        for local, remote, state in found
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/tcp")
def test_a_client_that_takes_nothing_is_let_go_of(large):
    with (
        running(
            "file_server.py", "127.0.0.1:0", "--directory", large,
            "--patience", "0.2",
        ) as url,
        downloading(url) as client,
    ):  # fmt: skip
        # Until the server is gone, and what it left is read.
        while is_established(*client.getpeername(), *client.getsockname()):
            time.sleep(0.02)
        received = 0
        with suppress(ConnectionResetError):
            while data := client.recv(2**16):
                received += len(data)
    assert 0 < received < 64 * 2**20


def test_a_client_that_takes_a_little_at_a_time_is_kept(large):
    """Longer in all than a client may be idle."""
    with (
        running(
            "file_server.py", "127.0.0.1:0", "--directory", large,
            "--patience", "3",
        ) as url,
        downloading(url) as client,
    ):  # fmt: skip
        received = 0
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            time.sleep(0.2)
            received += len(client.recv(2**16))
        while received < 64 * 2**20 and (data := client.recv(2**20)):
            received += len(data)
    assert received > 64 * 2**20
