"""The C extensions: a test of one may be skipped only for a known reason.

``pytest.importorskip`` would turn a hundred tests into skips as soon as a
module is renamed, or its build breaks.
"""

import importlib
import os
from pathlib import Path

import pytest

import triobatch

C_CORE = "triobatch._core._c"
CHUNKS = "triobatch._core._chunks_c"


def why_absent(extension, package=Path(triobatch.__file__).parent.parent):
    """Return why an extension need not be there, or None: it has to be."""
    if os.environ.get("TRIOBATCH_CORE") == "python":
        return "TRIOBATCH_CORE=python"
    # The build leaves word when it fails (_native/build_hook.py).
    path = package.joinpath(*extension.split("."))
    record = path.with_name(f"{path.name}_missing.txt")
    if record.exists():
        return record.read_text(encoding="utf-8").strip()
    return None


def find(module, extension):
    """Import a module that needs an extension; None where it may be absent."""
    try:
        return importlib.import_module(module)
    except ImportError:
        if why_absent(extension) is None:
            raise
        return None


def load(module, extension):
    """Import a module that needs an extension, or skip; see ``find``."""
    found = find(module, extension)
    if found is None:
        reason = f"no {module}: {why_absent(extension)}"
        pytest.skip(reason, allow_module_level=True)
    return found


def needs(extension):
    """Return a mark for tests that need an extension to be there."""
    return pytest.mark.skipif(
        find(extension, extension) is None, reason=f"needs {extension}"
    )
