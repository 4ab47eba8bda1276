"""The documentation's samples, run as its readers run them.

Each ends by itself, says what the file beside it has (``name.out``), and
nothing on stderr. A line ``# Needs h11, trustme.`` names what is not installed
with triobatch; ``# Only on Linux.`` says where alone it runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sample_files import DOCS, skip_what_cannot_run

SAMPLES = sorted((DOCS / "samples").rglob("*.py"))


def name_of(path):
    return path.relative_to(DOCS / "samples").as_posix()


def run_alone(path, directory):
    """Run a sample as its readers do; return its exit status."""
    with (
        (directory / "stdout").open("w") as output,
        (directory / "stderr").open("w") as errors,
    ):
        return subprocess.run(
            [sys.executable, "-Wdefault", path],
            stdout=output,
            stderr=errors,
            check=False,
            timeout=60,
            cwd=directory,
        ).returncode


@pytest.fixture(scope="module")
def run():
    """A function that runs a sample in a directory; see ``preloaded.py``."""
    if not hasattr(os, "fork"):
        yield run_alone
        return
    with subprocess.Popen(
        # Every warning of a sample would be on stderr, and seen.
        [
            sys.executable,
            "-Wdefault",
            Path(__file__).with_name("preloaded.py"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:

        def ask(path, directory):
            process.stdin.write(f"{path}\t{directory}\n")
            return int(process.stdout.readline())

        try:
            yield ask
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_a_sample_says_what_the_page_says(path, run, tmp_path):
    skip_what_cannot_run(path.read_text(encoding="utf-8"))
    status = run(path, tmp_path)
    assert (tmp_path / "stderr").read_text() == ""
    assert status == 0
    output = (tmp_path / "stdout").read_text(encoding="utf-8")
    assert output == path.with_suffix(".out").read_text(encoding="utf-8")


def test_there_are_samples():
    assert len(SAMPLES) > 5


def shown():
    """Return the files that the pages include, and from which page."""
    found = {}
    for page in sorted(DOCS.rglob("*.rst")):
        for name in re.findall(
            r"\.\. literalinclude:: (\S+)", page.read_text(encoding="utf-8")
        ):
            path = DOCS / name[1:] if name[0] == "/" else page.parent / name
            found.setdefault(path.resolve(), page)
    return found


def test_every_sample_is_shown_and_every_one_shown_is_there():
    included = shown()
    missing = [path for path in included if not path.exists()]
    assert missing == []
    assert [path for path in SAMPLES if path.resolve() not in included] == []


def test_no_output_is_left_without_its_sample():
    outputs = (DOCS / "samples").rglob("*.out")
    assert [
        path for path in outputs if not path.with_suffix(".py").exists()
    ] == []
