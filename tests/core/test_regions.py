"""In a sanitizer build, the core asks whose memory the kernel is given.

Where the kernel does the reading, the sanitizer itself sees nothing.
"""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "__asan_region_is_poisoned"),
    reason="needs AddressSanitizer (.ci/run has it)",
)

SETUP = """
import socket
from triobatch._core._c import ffi, lib
left, right = socket.socketpair(socket.AF_UNIX, socket.{kind})
fd = left.fileno()
memory = ffi.new("char[]", 300)
right.send(bytes(400))
"""

# Each gives 300 bytes of memory, and a size of more.
CALLS = {
    "tb_send": ("SOCK_STREAM", "lib.tb_send(fd, memory, {size})"),
    "tb_send_more": ("SOCK_STREAM", "lib.tb_send_more(fd, memory, {size})"),
    "tb_send_vector": (
        "SOCK_STREAM",
        """
iovecs = ffi.new("struct iovec[]", 1)
iovecs[0].iov_base, iovecs[0].iov_len = memory, {size}
vector = ffi.new("struct tb_vector *", (iovecs, 1, 0))
lib.tb_send_vector(fd, vector)
""",
    ),
    "tb_receive_vector": (
        "SOCK_STREAM",
        """
iovecs = ffi.new("struct iovec[]", 1)
iovecs[0].iov_base, iovecs[0].iov_len = memory, {size}
lib.tb_receive_vector(fd, iovecs, 1)
""",
    ),
    "tb_broadcast": (
        "SOCK_STREAM",
        """
results = ffi.new("ssize_t[]", 1)
lib.tb_broadcast([fd], results, 1, memory, {size})
""",
    ),
    "tb_send_datagrams": (
        "SOCK_DGRAM",
        """
sizes = [{size}]
lib.tb_send_datagrams(
    fd, memory, {size}, sizes, [0], 1, b"", 0, [], 0, b"", 0, [], 0
)
""",
    ),
    "tb_send_past": (
        "SOCK_DGRAM",
        """
sizes = [{size}]
outcomes = ffi.new("struct tb_outcomes *")
lib.tb_send_past(
    fd, memory, {size}, sizes, [0], 1, b"", 0, [], 0, b"", 0, [], 0,
    bytes(256), outcomes
)
""",
    ),
    "tb_send_segments": (
        "SOCK_DGRAM",
        """
lib.tb_send_segments(fd, memory, {size}, 400, 400, b"", 0, b"", 0)
""",
    ),
    "tb_receive_datagrams": (
        "SOCK_DGRAM",
        """
names = ffi.new("char[]", 128)
columns = [ffi.new("uint32_t[]", 1) for _ in range(5)]
filling = ffi.new("struct tb_filling *")
arena = ffi.new(
    "struct tb_arena *",
    (memory, 1, {size}, names, 128, ffi.NULL, 0, *columns, filling),
)
lib.tb_receive_datagrams(fd, arena, 1)
""",
    ),
}


def run(name, size):
    kind, call = CALLS[name]
    script = SETUP.format(kind=kind) + call.format(size=size)
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", CALLS)
def test_memory_behind_what_was_given_is_not_handed_on(name):
    done = run(name, 301)
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("name", CALLS)
def test_memory_that_was_given_is(name):
    done = run(name, 300)
    assert done.returncode == 0, done.stderr
