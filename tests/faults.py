"""Run a program under a C library whose calls on one descriptor fail oddly."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("faulty_libc.c")

needs_preload = pytest.mark.skipif(
    sys.platform != "linux"
    or shutil.which("gcc") is None
    # The sanitizers' libraries have to come first.
    or "LD_PRELOAD" in os.environ,
    reason="needs LD_PRELOAD, and gcc",
)


def build(directory):
    """Compile it; return the library's path."""
    library = directory / "faulty_libc.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"],
        check=True,
    )
    return library


def run(library, program, *arguments):
    """Run Python source under it; return what it prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
