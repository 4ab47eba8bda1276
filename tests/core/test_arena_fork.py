"""Two processes with one socket each receive into memory of their own."""

import os
import subprocess
import sys

import pytest

FORK = """
import os, socket
from triobatch._core.arena import Arena

arena = Arena(2, socket.AF_INET)
child = os.fork()
if not child:
    arena.memory[:4] = b"mine"
    arena.control[:4] = b"mine"
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert arena.memory[:4] == bytes(4), "the slots are shared"
assert arena.control[:4] == bytes(4), "the control messages are shared"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_receive_into_its_parents_slots():
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
