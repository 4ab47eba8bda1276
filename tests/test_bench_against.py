"""What a revision is compared with, and how a loss of speed is told."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks are for Linux", allow_module_level=True)

pytest.importorskip("numpy")
pytest.importorskip("rich")

import against
from harness.figures import Estimate, Figures

PROGRAM = Path(against.__file__)


def family():
    return against.family_of(["relay", "send"], "abc123", Path("/nowhere"))


def test_each_call_is_measured_with_each_number_of_items():
    names = [case.name for case in family().cases]
    assert names[:4] == ["relay:1", "relay:4", "relay:16", "relay:64"]
    assert len(names) == 8


def test_a_ratio_is_of_this_tree_to_the_other_revision():
    values = {
        "relay:1": {"abc123": [1.0] * 7, against.HERE: [2.0] * 7},
        # Failed in the one that it is not in.
        "relay:4": {against.HERE: [2.0] * 7},
    }
    figures = Figures(family(), {against.TIME.name: values})
    found = against.ratios(figures)
    assert found == {"relay:1": Estimate(2.0, 2.0, 2.0)}
    table = against.table_of(["relay"], found, "title")
    assert table.rows == (
        (("relay",), ("2.00", "[2.00\N{EN DASH}2.00]"), (), (), ()),
    )


def test_only_what_is_certainly_slower_is_slower():
    found = {
        "fast:1": Estimate(0.5, 0.4, 0.6),
        "unsure:1": Estimate(1.5, 1.0, 2.0),
        "slow:1": Estimate(1.5, 1.2, 2.0),
    }
    assert against.slower(found, 1.1) == [
        "slow:1 takes 1.50 times as long, and not at most 1.1"
    ]
    assert against.slower(found, None) == []


def test_what_is_no_revision_is_refused():
    done = subprocess.run(
        [sys.executable, PROGRAM, "no-such-revision"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no-such-revision is no revision" in done.stderr
    assert "Traceback" not in done.stderr
