"""What docstrings, README and pages show: a type checker finds no fault.

They are fragments, so what is around them is declared here.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import triobatch
import triobatch.lowlevel
import triobatch.testing

TOP = Path(__file__).parents[2]
README = TOP / "README.md"

AROUND = """
import errno
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import triobatch
from triobatch import *
from triobatch.testing import *


def given(name: str) -> Any:
    raise NotImplementedError(name)


async def example_{number}() -> None:
{declarations}
{example}
"""

# Names that examples use and do not make, with their types.
GIVEN = {
    "CONDITIONS": "NetworkConditions",
    "answer": "Callable[..., Any]",
    "clients": "list[BatchSocketStream]",
    "collector": "tuple[str, int]",
    "context": "ssl.SSLContext",
    "drop": "Callable[[trio.abc.SendStream], object]",
    "encode": "Callable[[str], bytes]",
    "frame": "bytes",
    "handler": "Callable[..., Awaitable[object]]",
    "message": "bytes",
    "network": "SimulatedNetwork",
    "reader": "BufferedReceiveStream",
    "readings": "list[str]",
    "requests": "list[bytes]",
    "rows": "AsyncIterator[str]",
    "sender": "BatchSender",
    "sock": "DatagramSocket",
    "stream": "BatchSocketStream",
    "streams": "list[BatchSocketStream]",
    "subscribe": "Callable[..., Awaitable[object]]",
    "upstream": "DatagramSocket",
    "serve_and_ask": "Callable[[SimulatedNetwork], Awaitable[None]]",
    "thousand_hours": "Callable[[SimulatedNetwork], Awaitable[None]]",
    "wrap_server_stream": "Callable[..., Awaitable[Any]]",
}
# The sender of a datagram socket has a method of this name, and no other has.
FOR_DATAGRAMS = "sender.queue("


def docstrings():
    for module in (triobatch, triobatch.lowlevel, triobatch.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            if not getattr(thing, "__module__", "").startswith("triobatch"):
                continue
            yield name, thing
            if inspect.isclass(thing):
                for method in dir(thing):
                    found = inspect.getattr_static(thing, method)
                    if not method.startswith("_") and callable(found):
                        yield f"{name}.{method}", found


def on_pages():
    """Return the fragments of Python on the pages of the documentation.

    What is no program text of Python is a command, or what one prints.
    """
    for page in sorted((TOP / "docs").rglob("*.rst")):
        text = page.read_text(encoding="utf-8") + "\n"
        for block in re.findall(r"::(?: python)?\n\n((?:   .*\n|\n)+)", text):
            fragment = textwrap.dedent(block).strip()
            inside = textwrap.indent(fragment, "    ")
            try:
                tree = ast.parse(f"async def fragment():\n{inside}")
            except SyntaxError:
                continue
            # Words alone, such as a line of a table, say nothing.
            if any(isinstance(node, ast.Call) for node in ast.walk(tree)):
                yield page.stem, fragment


def examples():
    """Return each example under the name of what it is an example for."""
    found = {}
    for name, thing in docstrings():
        text = (inspect.getdoc(thing) or "") + "\n"
        for block in re.findall(r"::\n\n((?:    .*\n|\n)+)", text):
            found.setdefault(textwrap.dedent(block).strip(), name)
    text = README.read_text(encoding="utf-8")
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", text):
        found[block.strip()] = "README"
    for page, fragment in on_pages():
        found.setdefault(fragment, page)
    return found


def checked(number, example):
    types = dict(GIVEN)
    if FOR_DATAGRAMS in example:
        types["sender"] = "DatagramBatchSender"
    made = set(re.findall(r"(?m)^(?:async def )?(\w+)(?: =|\()", example))
    made |= set(re.findall(r"(?:\bas|\bfor) (\w+)\b", example))
    declarations = [
        f'    {name}: {kind} = given("{name}")'
        for name, kind in types.items()
        if re.search(rf"\b{name}\b", example) and name not in made
    ]
    return AROUND.format(
        number=number,
        declarations="\n".join(declarations),
        example=textwrap.indent(example, "    "),
    )


def test_there_are_examples():
    assert len(examples()) > 15
    assert len({page for page, _ in on_pages()}) >= 3


def test_python_on_a_page_is_a_sample_or_a_fragment_that_is_read():
    read = [fragment for _, fragment in on_pages()]
    for page in (TOP / "docs").rglob("*.rst"):
        text = page.read_text(encoding="utf-8") + "\n"
        for block in re.findall(
            r"code-block:: py\w*\n\n((?:   .*\n|\n)+)", text
        ):
            assert textwrap.dedent(block).strip() in read, page
        # Nobody would look for it in the others.
        assert not re.search(r"code-block:: py\w*\n +:", text), page


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="needs mypy"
)
def test_a_type_checker_finds_no_fault_in_them(tmp_path):
    for number, (example, name) in enumerate(examples().items()):
        path = tmp_path / f"example_{number}_{name.replace('.', '_')}.py"
        source = checked(number, example.replace("from __future__", "#"))
        path.write_text(source, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--check-untyped-defs", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(TOP)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
