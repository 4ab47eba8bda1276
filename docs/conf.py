"""How the site is built: see ``.ci/docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

from triobatch import __version__

project = "triobatch"
author = "The triobatch authors"
copyright = "2026, the triobatch authors"  # noqa: A001 (Sphinx' name)
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "sphinx_copybutton",
    "myst_parser",
    "links",
    "sources",
    "samples",
]
toc_object_entries_show_parents = "hide"
exclude_patterns = [
    "_build",
    "samples",
    "inventories",
    "*-tables.rst",
    "**/*-tables.rst",
]
nitpicky = True
# Variables of a signature, and nothing to look up.
nitpick_ignore = [
    ("py:class", "Args"),
    ("py:class", "triobatch.testing._simulate.T"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# A line an argument, as they are read.
maximum_signature_line_length = 79
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = True
# These stay names, and are not spelled out as the unions that they stand for.
autodoc_type_aliases = {
    name: name
    for name in (
        "Address",
        "BatchHandler",
        "Buffer",
        "Datagram",
        "Errors",
        "File",
        "Handler",
        "Inherited",
        "Link",
        "LocalAddress",
        "Maker",
        "Payload",
        "Queued",
        "ReceivedDatagram",
        "Status",
        "Step",
        "StreamHandler",
        "Target",
        "Unsent",
    )
}

# Inventories of what is referred to, so that a build needs no network:
# inventories/make.py says whence they come.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "trio": ("https://trio.readthedocs.io/en/stable", "inventories/trio.inv"),
}
intersphinx_disabled_reftypes: list[str] = []
manpages_url = (
    "https://man7.org/linux/man-pages/man{section}/{page}.{section}.html"
)

html_theme = "furo"
html_title = "triobatch"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# The version that search engines are to show.
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/triobatch/triobatch",
    "source_branch": "main",
    "source_directory": "docs/",
    "footer_icons": [],
}
pygments_style = "friendly"
pygments_dark_style = "monokai"

# Pages of others move and have bad days; what is ours has to be right.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_workers = 4
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]
