"""Turn the names and man pages that docstrings mention into links.

Docstrings are read in a terminal, so they have double backquotes and
``sendmsg(2)`` and no roles. Here those become roles, where they name something
that has a place to link to; and the names in annotations, which are short and
of several modules, learn where they are documented.
"""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sphinx.util.inspect import TypeAliasForwardRef, safe_getattr

import triobatch
import triobatch.lowlevel
import triobatch.testing

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

# Short names of annotations and of "Raises:", and where they are documented.
HOMES = {
    name: f"{module}.{name}"
    for module, names in {
        "collections.abc": (
            "AsyncIterator",
            "Awaitable",
            "Buffer",
            "Callable",
            "Iterable",
            "Iterator",
            "Sequence",
        ),
        "contextlib": (
            "AbstractAsyncContextManager",
            "AbstractContextManager",
        ),
        "os": ("PathLike",),
        "trio": (
            "BrokenResourceError",
            "BusyResourceError",
            "Cancelled",
            "ClosedResourceError",
            "Nursery",
            "SSLListener",
            "SSLStream",
            "WouldBlock",
        ),
        "triobatch": (
            "Address",
            "BatchHandler",
            "BatchSocketListener",
            "BatchSocketStream",
            "Datagram",
            "DatagramBatchSender",
            "DatagramSocket",
            "Errors",
            "File",
            "Handler",
            "Payload",
            "ReceivedDatagram",
            "Status",
            "StreamHandler",
        ),
    }.items()
    for name in names
} | {
    "AbstractSet": "collections.abc.Set",
    "Any": "typing.Any",
    "ClassVar": "typing.ClassVar",
    "Literal": "typing.Literal",
    "Self": "typing.Self",
    "SocketType": "trio.socket.SocketType",
}

# Names that say enough by themselves, and have no place of their own.
PLAIN = {
    "Args",
    "Inherited",
    "Link",
    "LocalAddress",
    "Maker",
    "Queued",
    "S",
    "Socket",
    "Step",
    "T",
    "Target",
    "Unsent",
}

PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (triobatch, triobatch.lowlevel, triobatch.testing)
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name))
}

LITERAL = re.compile(r"(?<!`)``([A-Za-z_][\w.]*)(\(\))?``(?!`)")
MAN_PAGE = re.compile(r"(?<![\w`.])([a-z][a-z0-9_]*)\((\d)\)(?!`)")


@lru_cache
def known(owner: str) -> dict[str, str]:
    """Return what the names in a docstring of ``owner`` refer to."""
    names = {name.rpartition(".")[2]: name for name in PUBLIC}
    names |= {full: full for full in PUBLIC}
    parts = owner.split(".")
    while parts and ".".join(parts) not in PUBLIC:
        parts.pop()
    kind = PUBLIC.get(".".join(parts))
    if inspect.isclass(kind):
        members = [name for name in dir(kind) if not name.startswith("_")]
        names |= {
            name: ".".join([*parts, name])
            for name in members
            if callable(safe_getattr(kind, name, None))
            and not issubclass(kind, BaseException)
        }
    for full, thing in PUBLIC.items():
        if inspect.isclass(thing):
            short = full.rpartition(".")[2]
            names |= {
                f"{short}.{name}": f"{full}.{name}"
                for name in vars(thing)
                if not name.startswith("_")
            }
    return names


def show_types_beside_names(lines: list[str]) -> None:
    """Make the type of each attribute an option of its directive.

    Napoleon has it as a field of the text, three lines further down.
    """
    start = None
    for index, line in enumerate(lines):
        if line.startswith(".. attribute:: "):
            start = index
        elif line.startswith("   :type: ") and start is not None:
            lines[start + 1 : index + 1] = [line, *lines[start + 1 : index]]
            start = None


def link_names(
    app: Sphinx,
    _what: str,
    name: str,
    _obj: object,
    _options: object,
    lines: list[str],
) -> None:
    """Put roles in place of what a docstring names."""
    show_types_beside_names(lines)
    trio = app.env.intersphinx_named_inventory.get("trio", {})
    outside = {key for names in trio.values() for key in names}
    names = known(name)

    def role(match: re.Match[str]) -> str:
        word, call = match[1], match[2] or ""
        if word in names and names[word] != name:
            return f":py:obj:`{word}{call} <{names[word]}>`"
        if word in outside:
            return f":py:obj:`{word}{call} <{word}>`"
        return match[0]

    code: int | None = None
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if code is not None and (not line.strip() or indent > code):
            continue
        code = indent if line.rstrip().endswith("::") else None
        lines[index] = MAN_PAGE.sub(
            r":manpage:`\1(\2)`", LITERAL.sub(role, line)
        )


def find_home(
    app: Sphinx,
    env: BuildEnvironment,
    node: pending_xref,
    contnode: nodes.TextElement,
) -> nodes.Node | None:
    """Resolve a short name; what is left to intersphinx gets its full one."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    # What signatures have of the package's own, as the type of a variable.
    if target in PLAIN or target.startswith("triobatch._"):
        return contnode
    home = HOMES.get(target)
    if home is None:
        # All that moves datagrams is documented once.
        owner, _, member = target.rpartition(".")
        if owner.endswith("DatagramSocket"):
            home = f"triobatch.DatagramSocket.{member}"
    if home is None:
        return None
    node["reftarget"] = home
    if not home.startswith("triobatch."):
        # An alias, or documented as something else than a class.
        node["reftype"] = "obj"
        return None
    result: Any = env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, "obj", home, node, contnode
    )
    return result


def _name_of(alias: TypeAliasForwardRef) -> str:
    return alias.name


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    # An alias within another type is spelled by its repr (Sphinx 9.0).
    TypeAliasForwardRef.__repr__ = _name_of  # type: ignore[method-assign]
    # After Napoleon, which needs the sections as they were written.
    app.connect("autodoc-process-docstring", link_names, priority=900)
    # Before intersphinx.
    app.connect("missing-reference", find_home, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
