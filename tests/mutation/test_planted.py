"""The faults that are planted are still faults of this tree."""

from __future__ import annotations

import shutil

import pytest
from mutation import planted


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda each: each.name)
def test_a_fault_has_a_place_and_tests(fault, tmp_path):
    if not (planted.TOP / fault.path).exists():
        pytest.skip("needs the sources")
    copy = tmp_path / fault.path
    copy.parent.mkdir(parents=True)
    shutil.copy2(planted.TOP / fault.path, copy)
    before = copy.read_text("utf-8")
    planted.plant(fault, tmp_path)
    assert copy.read_text("utf-8") != before
    with pytest.raises(LookupError):
        planted.plant(fault, tmp_path)
    assert all((planted.TOP / path).is_dir() for path in fault.wing)


def test_a_table_has_a_row_for_each_fault_and_a_column_for_each_tool():
    faults = [planted.NO_FAULT, *planted.FAULTS]
    answers = {
        (fault.name, tool.name): "no"
        for fault in faults
        for tool in planted.TOOLS
    }
    table = planted.table_of(
        list(planted.FAULTS), list(planted.TOOLS), answers
    )
    assert table.count("   * - ") == 1 + len(faults)
    assert table.count("     - no\n") == len(faults) * len(planted.TOOLS)
