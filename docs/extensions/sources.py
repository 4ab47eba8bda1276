"""Let the reference have the order of the sources, and their overloads.

Public objects say that they are of ``triobatch``, and autodoc looks for both
in the source of the module that an object names. So the modules of the package
are read once, and each is told what all of them have.
"""

from __future__ import annotations

import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

import triobatch
import triobatch.testing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx


def analyzers() -> Iterator[ModuleAnalyzer]:
    """Yield those of all modules of the package that are written in Python."""
    modules = pkgutil.walk_packages(triobatch.__path__, "triobatch.")
    for name in ("triobatch", *(module.name for module in modules)):
        if name.endswith("__main__"):
            continue
        try:
            analyzer = ModuleAnalyzer.for_module(name)
            analyzer.analyze()
        except PycodeError:
            # An extension, or what this machine cannot import.
            continue
        yield analyzer


def read_together(_app: Sphinx) -> None:
    """Share what the sources say of order and overloads."""
    order: dict[str, int] = {}
    overloads: dict[str, Any] = {}
    found = list(analyzers())
    for analyzer in found:
        start = max(order.values(), default=-1) + 1
        for name, place in analyzer.tagorder.items():
            order[name] = start + place
        overloads |= analyzer.overloads
    # What is inherited from a private class comes in the order of that.
    for module in (triobatch, triobatch.testing):
        for name in module.__all__:
            kind = getattr(module, name)
            for base in kind.__mro__ if inspect.isclass(kind) else ():
                for member in vars(base):
                    place_there = order.get(f"{base.__name__}.{member}")
                    if place_there is not None:
                        order.setdefault(f"{name}.{member}", place_there)
    for analyzer in found:
        analyzer.tagorder = order
        analyzer.overloads = overloads


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", read_together)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
