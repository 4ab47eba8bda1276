"""Check that the links of a built site lead somewhere, as far as they stay."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        """Note what one element says."""
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.anchors.add(found["id"])
        if tag in {"a", "link"} and found.get("href"):
            self.links.add(found["href"])
        if tag in {"img", "script"} and found.get("src"):
            self.links.add(found["src"])


def broken(site: Path) -> list[str]:
    """Return a line for each link of the site that leads nowhere."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    lines = []
    for path, page in sorted(pages.items()):
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            if not parts.path:
                target = path
            anchor = unquote(parts.fragment)
            there = pages.get(target)
            if not target.exists() or (
                anchor and there and anchor not in there.anchors
            ):
                lines.append(f"{path.relative_to(site.resolve())}: {link}")
    if not pages:
        lines.append(f"{site} has no pages")
    return lines


if __name__ == "__main__":
    found = broken(Path(sys.argv[1]))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
