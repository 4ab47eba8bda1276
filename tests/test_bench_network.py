"""Where the benchmarks run: a loopback whose congestion control is calm."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks are for Linux", allow_module_level=True)

from harness import network

BENCH = Path(network.__file__).parents[1]
# In a process of its own, which may end up in a network namespace.
SETTLE = """
import socket
from harness import network

network.congestion_control = {default}
print(network.settle())
with socket.create_server(("127.0.0.1", 0)) as listener:
    with socket.create_connection(listener.getsockname()) as connection:
        option = socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16
        print(connection.getsockopt(*option).decode().rstrip(chr(0)))
"""


def settled(default):
    done = subprocess.run(
        [sys.executable, "-c", SETTLE.format(default=default)],
        cwd=BENCH,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(
    not network._may_move(), reason="no network namespace may be made"
)
def test_a_run_moves_to_where_connections_do_not_pace():
    said, used = settled("iter(['bbr', 'cubic']).__next__")
    assert said == "cubic, in a network namespace of its own"
    assert used == "cubic"


def test_a_run_stays_where_the_default_will_do():
    before = network.congestion_control()
    said, used = settled("lambda: 'cubic'")
    assert said == "cubic, this machine's default"
    assert used == before
