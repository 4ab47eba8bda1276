"""Tables for a terminal, for Markdown and for reStructuredText."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.tables import Table

# For files, and for what is no terminal: wide enough for three cases.
WIDTH = 110
# "1,234 1.23 [1.21-1.25]", and what is between columns.
CELL = 26
# Columns of a page, above which an interval gets a line of its own.
MANY = 7
EMPTY = "\N{EN DASH}"
GENERATED = "made by tests/bench/run.py, do not edit"


def console() -> Console:
    """Return where tables are printed."""
    # Numbers need no colours of their own, and brackets are no markup.
    found = Console(highlight=False, markup=False)
    if not found.is_terminal:
        found.width = WIDTH
    return found


def for_terminal(table: Table, width: int) -> Group:
    """Return what rich prints, in as many parts as ``width`` needs."""
    margin = max((len(_line(row[0])) for row in table.rows), default=0)
    across = len(table.heads)
    if table.note:
        across = max(1, (width - margin - 4) // CELL)
    title = Text(f"\n{table.title}", style="bold")
    parts: list[Text | RichTable] = [title]
    if table.note:
        parts.append(Text(table.note, style="dim"))
    for start in range(1, len(table.heads), across):
        columns = (0, *range(start, len(table.heads))[:across])
        parts.append(_rich(table, columns, box.SIMPLE_HEAD))
    return Group(*parts)


def _rich(table: Table, columns: Iterable[int], style: box.Box) -> RichTable:
    columns = tuple(columns)
    rich = RichTable(box=style, pad_edge=False)
    for column in columns:
        right = bool(table.note) and column > 0
        rich.add_column(
            Text(table.heads[column]), justify="right" if right else "left"
        )
    for row in table.rows:
        style_of = "red" if row[-1] == ("MISSED",) else ""
        rich.add_row(
            *(Text(_line(row[column])) for column in columns), style=style_of
        )
    return rich


def _line(cell: tuple[str, ...]) -> str:
    return "  ".join(cell) or EMPTY


def markdown(tables: Iterable[Table], machine: Mapping[str, str]) -> str:
    """Return a document of all ``tables``."""
    # As wide as it wants to be: a line that is broken is no table.
    out = Console(width=10_000, record=False, color_system=None)
    parts = [f"<!-- {GENERATED} -->\n\n{_machine(machine)}"]
    for table in tables:
        rich = _rich(table, range(len(table.heads)), box.MARKDOWN)
        with out.capture() as captured:
            out.print(rich)
        lines = [line.strip() for line in captured.get().splitlines()]
        text = "\n".join(line for line in lines if line)
        note = f"\n\n{_sentence(table.note)}" if table.note else ""
        parts.append(f"## {table.title}{note}\n\n{text}")
    return "\n\n".join(parts) + "\n"


def rst(tables: Iterable[Table], machine: Mapping[str, str]) -> str:
    """Return a page's tables, between ``.. begin NAME`` and ``.. end NAME``.

    So a page may include one alone: with ``:start-after: begin NAME`` and
    ``:end-before: end NAME``.
    """
    parts = [
        f".. {GENERATED}",
        f".. begin machine\n\n{_machine(machine)}\n\n.. end machine",
    ]
    for table in tables:
        lines = [f".. begin {table.name}", ""]
        many = len(table.heads) > MANY
        lines += [
            f".. list-table:: {table.title}",
            "   :class: figures many" if many else "   :class: figures",
            "   :header-rows: 1",
            "   :stub-columns: 1",
            "",
        ]
        heads = tuple((head,) if head else () for head in table.heads)
        for row in (heads, *table.rows):
            for place, given in enumerate(row):
                cell = _narrow(given) if many else given
                mark = "   * -" if place == 0 else "     -"
                lines += _rst_cell(mark, cell)
        if table.note:
            lines += ["", _escape(_sentence(table.note))]
        lines += ["", f".. end {table.name}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _narrow(cell: tuple[str, ...]) -> tuple[str, ...]:
    """Return a cell with an interval on a line of its own."""
    return tuple(
        line for text in cell for line in text.replace(" [", "\n[").split("\n")
    )


def _rst_cell(mark: str, cell: tuple[str, ...]) -> list[str]:
    if len(cell) < 2:
        # A cell of a dash would be a list that has nothing in it.
        return [f"{mark} {_escape(cell[0])}" if cell else mark]
    first, *others = cell
    indent = " " * len(mark)
    return [
        f"{mark} | {_escape(first)}",
        *(f"{indent} | {_escape(other)}" for other in others),
    ]


def _escape(text: str) -> str:
    for special in ("\\", "*", "`", "|", "_"):
        text = text.replace(special, f"\\{special}")
    return text


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _machine(machine: Mapping[str, str]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in machine.items())
