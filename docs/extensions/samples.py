"""Show a part of a sample without the blank lines that end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def drop_blank_ends(_app: Sphinx, doctree: nodes.document) -> None:
    """Cut the blank lines that ``:end-before:`` leaves."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext().rstrip("\n")
        block.rawsource = text
        block[:] = [nodes.Text(text)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", drop_blank_ends)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
