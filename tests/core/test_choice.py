"""Which core runs, and the reason that is given."""

import os
import re
import subprocess
import sys
from pathlib import Path

import extensions
import pytest

from triobatch._core import choice as _core_choice
from triobatch._core.choice import (
    CORE,
    CORE_REASON,
    choose,
    settle_structs,
)


@pytest.fixture
def no_core(monkeypatch):
    """Make the C core impossible to import."""
    monkeypatch.setitem(sys.modules, "triobatch._core._c", None)


@pytest.fixture
def built(monkeypatch):
    """Skip where there is no C core."""
    extensions.load("triobatch._core._c", extensions.C_CORE)


def test_what_runs_is_what_was_chosen():
    assert choose(os.environ.get("TRIOBATCH_CORE")) == (CORE, CORE_REASON)


@pytest.mark.parametrize("wanted", [None, ""])
def test_without_a_wish_the_c_core_serves(built, wanted):
    assert choose(wanted) == ("c", "it was built and loads")


def test_the_c_core_can_be_asked_for(built):
    assert choose("c") == ("c", "TRIOBATCH_CORE=c")


def test_the_python_core_can_be_asked_for():
    assert choose("python") == ("python", "TRIOBATCH_CORE=python")


@pytest.mark.parametrize("wanted", ["C", "py", " python", "0"])
def test_a_core_that_does_not_exist_is_refused(wanted):
    with pytest.raises(
        ValueError, match=f"must be c or python, not {wanted!r}$"
    ):
        choose(wanted)


@pytest.mark.parametrize("wanted", [None, "", "python"])
def test_without_the_c_core_the_python_core_serves(no_core, wanted):
    core, reason = choose(wanted)
    assert core == "python"
    assert reason.startswith(
        "TRIOBATCH_CORE=python" if wanted else "the C core cannot be loaded: "
    )


def test_asking_for_a_core_that_is_missing_fails(no_core):
    with pytest.raises(
        ImportError, match="TRIOBATCH_CORE=c, but the C core cannot be loaded"
    ):
        choose("c")


def test_the_reason_that_the_build_left_is_told(
    no_core, monkeypatch, tmp_path
):
    (tmp_path / "_c_missing.txt").write_text("no compiler\n", "utf-8")
    monkeypatch.setattr(_core_choice, "__file__", str(tmp_path / "choice.py"))
    reason = "the C core was not built at installation: no compiler"
    core, why = choose(None)
    assert core == "python"
    assert why.startswith(reason)
    assert ("pip install --force-reinstall" in why) == (
        sys.platform == "linux"
    )
    with pytest.raises(ImportError, match=f"TRIOBATCH_CORE=c, but {reason}"):
        choose("c")


def test_the_environment_decides_at_import():
    probe = (
        "import triobatch._core.streams_python\n"
        "from triobatch import capabilities\n"
        "from triobatch._core import calls\n"
        "print(capabilities().core, calls.Vector.__module__)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "TRIOBATCH_CORE": "python"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "python triobatch._core.streams_python\n"


def test_a_wrong_name_in_the_environment_fails_the_import():
    answer = subprocess.run(
        [sys.executable, "-c", "import triobatch"],
        env={**os.environ, "TRIOBATCH_CORE": "rust"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.endswith(
        "ValueError: TRIOBATCH_CORE must be c or python, not 'rust'\n"
    )


def test_sources_that_were_not_built_say_how(no_core, monkeypatch, tmp_path):
    (tmp_path / "_native").mkdir()
    (tmp_path / "_core").mkdir()
    monkeypatch.setattr(
        _core_choice, "__file__", str(tmp_path / "_core" / "choice.py")
    )
    core, why = choose(None)
    assert core == "python"
    assert why == (
        "these are the sources, not built: pip install -e . does that"
    )


def test_list_arithmetic_in_c_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "triobatch._core._chunks_c", None)
    assert not _core_choice._has_chunk_extension()


@pytest.mark.parametrize(
    ("platform", "says"), [("linux", True), ("win32", False)]
)
def test_only_where_there_can_be_a_core_is_told_how_to_build_it(
    no_core, monkeypatch, tmp_path, platform, says
):
    (tmp_path / "_c_missing.txt").write_text("no compiler", "utf-8")
    monkeypatch.setattr(_core_choice, "__file__", str(tmp_path / "choice.py"))
    monkeypatch.setattr(sys, "platform", platform)
    _, why = choose(None)
    assert ("force-reinstall" in why) == says


def test_no_struct_is_left_to_whoever_uses_it_first(built):
    native = Path(__file__).parents[2] / "triobatch/_native"
    if not native.exists():
        pytest.skip("an installed package, without its sources")
    declared = {
        name
        for source in ("core.h", "system.cdef")
        for name in re.findall(
            r"^struct (\w+) \{", (native / source).read_text(), re.MULTILINE
        )
    }
    assert len(declared) > 3
    assert set(settle_structs()) == declared
