"""The changes of the C core are still changes of this tree."""

from __future__ import annotations

import pytest
from mutation import core


@pytest.mark.parametrize(("name", "old", "new"), core.CHANGES)
def test_a_change_has_a_place(name, old, new):
    path = core.TOP / core.NATIVE / name
    if not path.exists():
        pytest.skip("needs the sources")
    assert path.read_text("utf-8").count(old) == 1
    assert new != old
    assert path.stem in {*core.SOURCES, *core.EXTENSION, "answers"}
