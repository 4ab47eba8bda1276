"""The datagram examples, run as a user runs them."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_udp_client_can_be_asked_for_no_datagrams():
    client = subprocess.run(
        [
            sys.executable,
            EXAMPLES / "udp_echo_client.py",
            "127.0.0.1",
            "9",
            "0",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert client.stdout.startswith("0 datagrams of 1200 bytes: 0 lost")
