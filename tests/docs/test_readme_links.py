"""What the Markdown files link to in the project and on its site is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SITE = "https://triobatch.readthedocs.io/en/latest/"
PROJECT = re.compile(
    r"https://(?:github\.com/triobatch/triobatch/(?:blob|tree)"
    r"|raw\.githubusercontent\.com/triobatch/triobatch)/main/"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def target_of(link):
    """Return the file that a link is to, None if it is another project's."""
    if link.startswith(SITE):
        page = link.removeprefix(SITE) or "index.html"
        return TOP / "docs" / page.replace(".html", ".rst")
    path = PROJECT.sub("", link)
    return None if re.match(r"[a-z]+:", path) else TOP / path


@pytest.mark.parametrize("name", sorted(p.name for p in TOP.glob("*.md")))
def test_a_link_leads_to_something(name):
    text = (TOP / name).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in LINK.findall(text)]
    targets = {link: target_of(link) for link in links if link}
    gone = [
        link
        for link, target in targets.items()
        if target is not None and not target.exists()
    ]
    assert gone == []


def test_the_readme_leads_to_the_site_and_to_files():
    text = (TOP / "README.md").read_text(encoding="utf-8")
    targets = [target_of(link) for link in LINK.findall(text)]
    assert TOP / "docs" / "performance.rst" in targets
    assert any(target and target.suffix == ".py" for target in targets)
