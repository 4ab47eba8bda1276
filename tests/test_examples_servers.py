"""The example servers, run as a person runs them, with their clients."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from programs import run, started

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="stops servers with SIGINT"
)
needs_dnspython = pytest.mark.skipif(
    importlib.util.find_spec("dns") is None, reason="dnspython is optional"
)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="there is no curl"
)


# Without the sanitizers that CI preloads: they are for Python.
CURL_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "LD_PRELOAD"
}


@contextmanager
def running(name, *arguments):
    """Run a server; yield its address, and stop it as Ctrl-C does."""
    with started(name, *arguments) as server:
        yield server.stdout.readline().split()[-1]
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate()
        assert errors == ""
        assert server.returncode == 0


def test_everybody_in_the_room_gets_every_line():
    client = run("chat_client.py", "--clients", "20", "--lines", "30")
    assert client.returncode == 0, client.stderr
    assert "20 clients got 600 lines each, in order" in client.stdout
    assert "the client that did not read was dropped" in client.stdout


def test_a_chat_server_of_its_own_drops_the_slow_client():
    with running("chat_server.py", "127.0.0.1:0") as address:
        client = run("chat_client.py", address)
    assert client.returncode == 0, client.stderr


def test_tls_echoes_batches():
    client = run("tls_echo.py")
    assert client.returncode == 0, client.stderr
    assert client.stdout.endswith("the echo is right\n")
    assert "1000 messages of 1000 tasks" in client.stdout


@needs_dnspython
@pytest.mark.parametrize("options", [[], ["--plain"]])
def test_dns_answers_are_right(options):
    with running("dns_server.py", "127.0.0.1:0", *options) as address:
        client = run("dns_client.py", address, "--seconds", "0.2")
    assert client.returncode == 0, client.stderr
    assert client.stdout.endswith("the answers are right\n")


@needs_dnspython
def test_no_dns_server_is_a_message_and_status_1():
    # Bound by nobody, so that the kernel refuses what is sent there.
    client = run("dns_client.py", "127.0.0.1:1")
    assert client.returncode == 1
    assert client.stderr.startswith("cannot ask 127.0.0.1:1: ")


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
            env=CURL_ENVIRONMENT,
            timeout=60,
        )  # fmt: skip
    # One connection for the first, none for the second.
    assert curl.stdout == content + b"10"
    assert (tmp_path / "got").read_text() == "small\n"


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
def test_what_is_not_served(target, options, status, tmp_path):
    (tmp_path / "secret").write_text("secret")
    directory = tmp_path / "served"
    directory.mkdir()
    (directory / "public").write_text("public")
    (directory / "loop").symlink_to(directory / "loop")
    with running(
        "file_server.py", "127.0.0.1:0", "--directory", directory
    ) as url:
        curl = subprocess.run(
            ["curl", "-sS", "-o", tmp_path / "got", "-w", "%{http_code}",
             *options, f"{url}{target}"],
            capture_output=True,
            text=True,
            check=True,
            env=CURL_ENVIRONMENT,
            timeout=60,
        )  # fmt: skip
    assert curl.stdout == status
    assert "secret" not in (tmp_path / "got").read_text()
