"""What a chart needs beyond what matplotlib writes: words, and dark mode."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

# By what each colour of a light page is replaced on a dark one. The background
# is painted, so a chart can be read on any page.
DARK = {
    "#ffffff": "#131416",
    "#212529": "#e9ecef",
    "#868e96": "#909aa4",
    "#e9ecef": "#2b3035",
    "#495057": "#adb5bd",
    "#ced4da": "#495057",
    "#0b7285": "#22b8cf",
    "#15aabf": "#1098ad",
    "#74c0cf": "#0c6d7d",
    "#e8590c": "#ff922b",
    "#f59f00": "#ffd43b",
    "#5f3dc4": "#9775fa",
    "#c2255c": "#f783ac",
    "#2b8a3e": "#69db7c",
    "#adb5bd": "#868e96",
}


def finished(svg: str, title: str, description: str) -> str:
    """Return a chart with a title, a description and colours for the dark.

    What hovers or reads aloud says the title; who cannot see the bars has the
    figures in the description (SVG 2, section 5.8).
    """
    # Matplotlib's own would be read as the title's.
    svg = re.sub(r" *<title>.*?</title>\n", "", svg, count=1)
    head = (
        f'<title id="title">{escape(title)}</title>\n'
        f'<desc id="desc">{escape(description)}</desc>\n'
        f"<style>\n{_dark_style()}\n</style>\n"
    )
    opening = re.search(r"<svg\b[^>]*>\n?", svg)
    assert opening is not None
    tag = opening[0].rstrip().removesuffix(">")
    labelled = f'{tag} role="img" aria-labelledby="title desc">\n'
    return svg[: opening.start()] + labelled + head + svg[opening.end() :]


def _dark_style() -> str:
    """Return rules that are stronger than the colours in ``style``."""
    rules = [
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    # Black where nothing else is said.
    rules.append("text:not([style*='fill']) { fill: #e9ecef }")
    inner = "\n".join(f"  {rule}" for rule in rules)
    return f"@media (prefers-color-scheme: dark) {{\n{inner}\n}}"
