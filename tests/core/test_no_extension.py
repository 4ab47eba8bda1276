"""The C core without the list extension, as on PyPy and free-threaded builds.

In a process of its own: what is there is chosen when it is imported.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from triobatch._core.choice import CORE

pytestmark = pytest.mark.skipif(CORE != "c", reason="about the C core")

BEGINNING = """
import socket
import sys

sys.modules["triobatch._core._chunks_c"] = None
from triobatch._core import calls
from triobatch._core.choice import CHUNK_EXTENSION, CORE

assert CORE == "c"
assert not CHUNK_EXTENSION
"""


def run(script):
    subprocess.run([sys.executable, "-c", BEGINNING + script], check=True)


def test_datagrams_of_one_size_go_by_the_core():
    # A trace would need strace(1): it is not the standard library's socket
    # that they are sent by.
    run(
        """
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

def refuse(*_):
    raise AssertionError("a call for each")

for name in "send", "sendto", "sendmsg":
    setattr(socket.socket, name, refuse)
payloads = [b"%04d" % i for i in range(5)]
batch = calls.pack(payloads, b"", (1, 65507, 65507))
assert calls.send_batch(left.fileno(), batch) == 5
assert [right.recv(9, socket.MSG_DONTWAIT) for _ in range(5)] == payloads
"""
    )
