"""Show parts of samples, and give the whole of them.

A page shows what matters of a program. Below the last part that it shows there
is a link to the file, which runs; and ``examples/name.py`` in a text is a link
to that.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.addnodes import download_reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PROGRAM = re.compile(r"(examples|docs/samples)/\w+\.py")


def drop_blank_ends(_app: Sphinx, doctree: nodes.document) -> None:
    """Cut the blank lines that ``:end-before:`` leaves."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext().rstrip("\n")
        block.rawsource = text
        block[:] = [nodes.Text(text)]


def link_to(app: Sphinx, path: Path, name: str) -> download_reference:
    """Return a link to a file of the project, which comes with the site."""
    # A target that begins with a slash begins in the directory of the pages.
    target = f"/{os.path.relpath(path, app.srcdir)}"
    literal = nodes.literal(text=name)
    return download_reference("", "", literal, reftarget=target)


def offer_programs(app: Sphinx, doctree: nodes.document) -> None:
    """Put a link to each sample below the last of its parts on the page."""
    samples = Path(app.srcdir, "samples")
    last = {
        Path(block.get("source", "")): block
        for block in doctree.findall(nodes.literal_block)
    }
    for path, block in last.items():
        if path.is_relative_to(samples) and path.suffix == ".py":
            link = nodes.paragraph(
                "", "", nodes.Text("The whole file: "), classes=["program"]
            )
            link += link_to(app, path, path.name)
            block.parent.insert(block.parent.index(block) + 1, link)


def link_programs(app: Sphinx, doctree: nodes.document) -> None:
    """Let the names of programs in a text be links to them."""
    project = Path(app.srcdir).parent
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext()
        if PROGRAM.fullmatch(name) and not isinstance(
            literal.parent, nodes.reference
        ):
            literal.replace_self(link_to(app, project / name, name))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", drop_blank_ends)
    # Before Sphinx collects what is to be downloaded, and says what is not
    # there.
    app.connect("doctree-read", offer_programs, priority=400)
    app.connect("doctree-read", link_programs, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
