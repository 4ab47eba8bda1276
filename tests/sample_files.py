"""The programs that the documentation shows, for tests of what is in them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import trio

DOCS = Path(__file__).parents[1] / "docs"


def skip_what_cannot_run(source):
    """Skip a test of a sample that needs what is not here."""
    if needs := re.search(r"(?m)^# Needs (.*)\.$", source):
        for module in needs[1].split(", "):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"needs {module}")
    if sys.platform != "linux" and "\n# Only on Linux.\n" in source:
        pytest.skip("needs Linux")


def import_sample(name):
    """Import a sample, whose last line would run it."""
    path = DOCS / "samples" / name
    skip_what_cannot_run(path.read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("sample", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "run", lambda *_: None)
        spec.loader.exec_module(module)
    return module
