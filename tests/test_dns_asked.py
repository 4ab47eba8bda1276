"""Resolvers' own tools, asking the DNS example at a second address."""

import re
import subprocess
import sys

import pytest
from network import needs_command
from programs import EXAMPLES, PLAIN_ENVIRONMENT

pytest.importorskip("dns", reason="dnspython is optional")

QUESTION = "www.example.org"


@pytest.fixture
def port():
    """Start the example on all interfaces; return its port."""
    server = subprocess.Popen(
        [sys.executable, "-u", EXAMPLES / "dns_server.py", "0.0.0.0:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield re.search(r":(\d+)", server.stdout.readline())[1]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
@pytest.mark.parametrize(
    "tool",
    [
        pytest.param("dig", marks=needs_command("dig")),
        pytest.param("kdig", marks=needs_command("kdig")),
    ],
)
def test_a_resolver_accepts_the_answer_of_the_address_asked(port, tool, host):
    done = subprocess.run(
        (tool, f"@{host}", "-p", port, "+timeout=30", "+retry=0", QUESTION),
        capture_output=True,
        check=False,
        env=PLAIN_ENVIRONMENT,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "status: NOERROR" in said
    # dig tells of an answer from elsewhere, and of none.
    assert "reply from unexpected source" not in said
