"""The examples as programs of their own: how to run one, or start it."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"

# For other programs than Python: CI preloads its sanitizers.
PLAIN_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "LD_PRELOAD"
}


def command(name, *arguments):
    # Every warning of the example would be on stderr, and seen.
    return [
        sys.executable,
        "-Wdefault",
        EXAMPLES / name,
        *map(str, arguments),
    ]


def run(name, *arguments):
    """Run an example to its end."""
    return subprocess.run(
        command(name, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@contextmanager
def started(name, *arguments):
    """Start an example; at the end of the block it is killed."""
    with subprocess.Popen(
        command(name, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running(name, *arguments):
    """Run a server; yield its address, and stop it as Ctrl-C does."""
    with started(name, *arguments) as server:
        yield server.stdout.readline().split()[-1]
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate()
        assert errors == ""
        assert server.returncode == 0
