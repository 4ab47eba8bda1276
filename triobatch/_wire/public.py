"""Where public objects live: where they are imported from.

Tracebacks, pickles, ``help`` and the reprs of classes name the module that an
object says it is of. In which file of the package it is written is nobody
else's business, and may change.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping


def settle(module: str, namespace: Mapping[str, Any]) -> None:
    """Let the classes and functions of a public module say that they are its.

    Args:
      module: The name of the module.
      namespace: Its globals. What has a private name stays where it is, and
        what is another package's.

    As Trio does it (``fixup_module_metadata`` in trio/_util.py).
    """
    private = f"{module.partition('.')[0]}."
    for name, item in namespace.items():
        if (
            not name.startswith("_")
            and isinstance(item, type | FunctionType)
            and item.__module__.startswith(private)
        ):
            if isinstance(item, type):
                _resolve_annotations(item, namespace)
            item.__module__ = module


def _resolve_annotations(item: type, namespace: Mapping[str, Any]) -> None:
    """Make types of the texts, which are to be read where they are written."""
    hints = get_type_hints(item, localns=dict(namespace))
    item.__annotations__ = {name: hints[name] for name in item.__annotations__}
