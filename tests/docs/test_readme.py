"""The programs of the README, run; its fragments are checked with docstrings'.

They use port 8000. Here that is another one.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"

pytestmark = pytest.mark.slow


def program(opening, port):
    """Return the program that calls a function, for a port."""
    text = README.read_text(encoding="utf-8")
    [found] = [
        block
        for block in re.findall(r"(?ms)^```python\n(.*?)^```", text)
        if opening in block and "trio.run(main)" in block
    ]
    assert "8000" in found
    return found.replace("8000", str(port))


@contextlib.contextmanager
def running(source, path):
    path.write_text(source, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-Wdefault", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_stream_program_sends_all_of_its_frames(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = program("open_tcp_stream", listener.getsockname()[1])
        with running(source, tmp_path / "program.py") as process:
            listener.settimeout(60)
            connection, _ = listener.accept()
            received = b""
            with connection:
                while data := connection.recv(2**20):
                    received += data
            output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("", "", 0)
    hello = b"".join(b"hello world: %d\n" % i for i in range(10))
    assert received == hello + bytes(1_000_000)


def test_the_datagram_program_echoes(tmp_path):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        # Free a moment ago; for UDP nobody else on loopback takes it so fast.
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        client.connect(("127.0.0.1", port))
        client.settimeout(0.1)
        with running(
            program("open_udp_socket", port), tmp_path / "program.py"
        ) as process:
            answer = None
            while answer is None and process.poll() is None:
                try:
                    client.send(b"hello")
                    answer = client.recv(100)
                except OSError:
                    # It does not listen yet, or did not when this was sent.
                    time.sleep(0.01)
            assert answer == b"hello", process.communicate()
