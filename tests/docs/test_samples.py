"""The documentation's samples, run as its readers run them.

Each ends by itself, says what the file beside it has (``name.out``), and
nothing on stderr. A line ``# Needs h11, trustme.`` names what is not installed
with triobatch; ``# Only on Linux.`` says where alone it runs.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SAMPLES = sorted((DOCS / "samples").rglob("*.py"))


def name_of(path):
    return path.relative_to(DOCS / "samples").as_posix()


def skip_what_cannot_run(source):
    if needs := re.search(r"(?m)^# Needs (.*)\.$", source):
        for module in needs[1].split(", "):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"needs {module}")
    if sys.platform != "linux" and "\n# Only on Linux.\n" in source:
        pytest.skip("needs Linux")


@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_a_sample_says_what_the_page_says(path, tmp_path):
    skip_what_cannot_run(path.read_text(encoding="utf-8"))
    sample = subprocess.run(
        # Every warning of the sample would be on stderr, and seen.
        [sys.executable, "-Wdefault", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert sample.stderr == ""
    assert sample.returncode == 0
    assert sample.stdout == path.with_suffix(".out").read_text(
        encoding="utf-8"
    )


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
