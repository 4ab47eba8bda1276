"""The reference has a place for every public name, and every public method."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import triobatch
import triobatch.lowlevel
import triobatch.testing

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

DIRECTIVE = re.compile(
    r"^\.\. (?P<kind>currentmodule|automodule|autofunction|autoclass|"
    r"autoexception|data|type):: (?P<name>[\w.]+).*\n"
    r"(?P<options>(?:   :.*\n)*)",
    re.MULTILINE,
)

# The same methods, which are described once.
LIKE = {
    "triobatch.AbstractDatagramSocket": "triobatch.DatagramSocket",
    "triobatch.testing.MemoryDatagramSocket": "triobatch.DatagramSocket",
    "triobatch.testing.SimulatedDatagramSocket": "triobatch.DatagramSocket",
}

# Of the package's own use, and not promised.
INTERNAL = {
    "triobatch.Buffers.KIND",
    "triobatch.Datagrams.KIND",
    "triobatch.DatagramError.as_lone",
    "triobatch.FileSlice.KIND",
    "triobatch.Run.check",
    "triobatch.Run.export",
}


ALIASES = set()


def described():
    """Return the options of each directive, by the full name of its object."""
    found = {}
    for page in sorted(REFERENCE.glob("*.rst")):
        module = ""
        for match in DIRECTIVE.finditer(page.read_text(encoding="utf-8")):
            name = match["name"]
            if match["kind"] in {"currentmodule", "automodule"}:
                module = name
                found.setdefault(name, "")
            else:
                full = f"{module}.{name}"
                assert full not in found, f"{full} is described twice"
                found[full] = match["options"]
                if match["kind"] == "type":
                    ALIASES.add(full)
    return found


DESCRIBED = described()
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (triobatch, triobatch.lowlevel, triobatch.testing)
    for name in module.__all__
}
CLASSES = [name for name, thing in PUBLIC.items() if inspect.isclass(thing)]


def methods(kind):
    """Return the public methods and properties that are ours."""
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] == "triobatch":
            # A named tuple's are properties on PyPy.
            fields = getattr(base, "_fields", ())
            for name, thing in vars(base).items():
                if (
                    not name.startswith("_")
                    and name not in fields
                    and (
                        inspect.isroutine(thing)
                        or isinstance(
                            thing, property | classmethod | staticmethod
                        )
                    )
                ):
                    yield name, base


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_its_place(name):
    assert name in DESCRIBED


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_method_has_its_place(name):
    kind = PUBLIC[name]
    options = DESCRIBED[LIKE.get(name, name)]
    if name in LIKE:
        kind_there = PUBLIC[LIKE[name]]
        assert all(hasattr(kind_there, method) for method, _ in methods(kind))
    some = re.search(r":members: (.*)", options)
    for method, base in methods(kind):
        if f"{name}.{method}" in INTERNAL:
            continue
        if some:
            assert method in some[1].split(", ")
        else:
            assert ":members:" in options, method
        assert (
            base is kind or name in LIKE or ":inherited-members:" in options
        ), method
        assert inspect.getdoc(inspect.getattr_static(kind, method)), method


def test_nothing_is_described_that_is_not_there():
    modules = {"triobatch", "triobatch.lowlevel", "triobatch.testing"}
    # Whether an alias is there, the type checkers say.
    assert set(DESCRIBED) - set(PUBLIC) - modules <= ALIASES


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_what_is_called_internal_is_there(name):
    _, kind, member = name.split(".")
    assert hasattr(getattr(triobatch, kind), member)
