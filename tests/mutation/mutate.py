"""Change the package in one place at a time, and see that a test fails.

    python tests/mutation/mutate.py _queues.buffers _wire [--sample 50]

Each module's own tests (tests/wing/test_module*.py) are asked, and with
``--wing`` all of the wing's where none of those fails. What no test sees is
listed with its line, and has to be killed or explained.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "triobatch"
# A mutant that hangs is killed as well as one that fails: it takes so many
# times as long as the tests do without it, and some seconds.
PATIENCE = 8

SWAPS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def _is_for_types(node):
    """Whether it is read by a type checker, and runs nowhere."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def places(tree):
    """Yield each node that runs, but for annotations and docstrings."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns", "type_params"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST) or _is_for_types(child):
                    continue
                if isinstance(child, ast.Expr) and isinstance(
                    child.value, ast.Constant
                ):
                    continue
                todo.append(child)


def changes(node):
    """Return (what it says, function that changes a node) of each mutation."""
    found = []
    match node:
        case ast.Compare(ops=[operator]) | ast.BinOp(op=operator) if (
            type(operator) in SWAPS
        ):
            other = SWAPS[type(operator)]
            found.append((other.__name__, lambda n: _set_operator(n, other)))
        case ast.AugAssign(op=operator) | ast.BoolOp(op=operator) if (
            type(operator) in SWAPS
        ):
            other = SWAPS[type(operator)]
            found.append((other.__name__, lambda n: _set_operator(n, other)))
        case ast.Constant(value=bool()):
            found.append(
                ("negated", lambda n: setattr(n, "value", not n.value))
            )
        case ast.Constant(value=int()):
            found.append(("+ 1", lambda n: setattr(n, "value", n.value + 1)))
        case ast.If() | ast.While() | ast.IfExp():
            found.append(
                (
                    "not",
                    lambda n: setattr(
                        n, "test", ast.UnaryOp(ast.Not(), n.test)
                    ),
                )
            )
        case ast.Return(value=ast.AST()):
            found.append(
                ("None", lambda n: setattr(n, "value", ast.Constant(None)))
            )
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if not isinstance(body, list):
            continue
        for index, statement in enumerate(body):
            if isinstance(
                statement,
                ast.Assign | ast.AugAssign | ast.Raise | ast.Delete,
            ) or (
                isinstance(statement, ast.Expr)
                and not isinstance(statement.value, ast.Constant)
            ):
                if isinstance(node, ast.Module | ast.ClassDef):
                    continue
                found.append(
                    (
                        f"without line {statement.lineno}",
                        lambda n, name=name, index=index: _drop(
                            n, name, index
                        ),
                    )
                )
    return found


def _set_operator(node, other):
    if isinstance(node, ast.Compare):
        node.ops = [other()]
    else:
        node.op = other()


def _drop(node, name, index):
    getattr(node, name)[index] = ast.copy_location(
        ast.Pass(), getattr(node, name)[index]
    )


def mutants(source):
    """Yield (line, what was changed, source) for each mutant."""
    tree = ast.parse(source)
    for number, node in enumerate(places(tree)):
        for what, (said, _) in enumerate(changes(node)):
            other = copy.deepcopy(tree)
            changed = next(
                node
                for index, node in enumerate(places(other))
                if index == number
            )
            changes(changed)[what][1](changed)
            ast.fix_missing_locations(other)
            line = getattr(node, "lineno", 0)
            if said.startswith("without"):
                line = int(said.rpartition(" ")[2])
            yield line, said, ast.unparse(other)


def tests_of(module, top):
    """Return the files with a module's own tests, and those of its wing."""
    *wing, name = module.split(".")
    folder = top / "tests" / "/".join(part.strip("_") for part in wing)
    stem = f"test_{name.strip('_')}"
    own = sorted({*folder.glob(f"{stem}.py"), *folder.glob(f"{stem}_*.py")})
    return own, sorted(folder.glob("test_*.py"))


def is_killed(top, files, patience):
    """Run tests in a process of their own; tell whether one fails.

    Which they do, too, if they are not done after ``patience`` seconds.
    """
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        code = 1
        try:
            import pytest  # noqa: PLC0415 (by then it is all imported)

            os.chdir(top)
            code = pytest.main(
                [
                    *("-x", "-q", "-p", "no:cacheprovider"),
                    *("-m", "not slow", "--timeout", "30"),
                    # What is imported already.
                    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
                    *map(str, files),
                ]
            )
        finally:
            os._exit(int(code))
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def preload(top):
    """Import what all the runs need, but for the package itself."""
    sys.path[:0] = [str(top), str(top / "tests"), str(top / "tests/bench")]
    os.environ["PYTHONPATH"] = str(top)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for name in ("pytest", "trio", "trio.testing", "hypothesis", "trustme"):
        __import__(name)
    assert "triobatch" not in sys.modules


def patience_for(top, files):
    """Return how long tests may take; they have to pass as things are."""
    start = time.monotonic()
    if is_killed(top, files, 600):
        sys.exit(f"{files[0]}: fails as it is, or takes 10 minutes")
    return PATIENCE * (time.monotonic() - start) + 5


def score(module, top, sample, seed, tests, ask_wing):
    """Try the mutants of a module; return the killed, all, and survivors."""
    path = top / "triobatch" / (module.replace(".", "/") + ".py")
    source = path.read_text("utf-8")
    listed = list(mutants(source))
    if sample and sample < len(listed):
        listed = random.Random(seed).sample(listed, sample)
    own, wing = tests_of(module, top)
    files = [top / name for name in tests] or own or wing
    patience = patience_for(top, files)
    wings_patience = patience_for(top, wing) if ask_wing else 0
    survivors = []
    try:
        for line, said, text in listed:
            path.write_text(text, "utf-8")
            if is_killed(top, files, patience):
                continue
            if ask_wing and is_killed(top, wing, wings_patience):
                continue
            survivors.append((line, said))
    finally:
        path.write_text(source, "utf-8")
    return len(listed) - len(survivors), len(listed), sorted(survivors)


def main():
    """Print the score of each module, and what has survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wing", action="store_true")
    parser.add_argument("--tests", nargs="+", default=())
    options = parser.parse_args()
    names = []
    for name in options.modules:
        path = PACKAGE / name.replace(".", "/")
        if path.is_dir():
            names += [
                f"{name}.{file.stem}"
                for file in sorted(path.glob("*.py"))
                if file.stem != "__init__"
            ]
        else:
            names.append(name)
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        for name in ("triobatch", "tests"):
            shutil.copytree(
                TOP / name,
                top / name,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md"):
            shutil.copy(TOP / name, top / name)
        preload(top)
        for name in names:
            killed, count, survivors = score(
                name,
                top,
                options.sample,
                options.seed,
                options.tests,
                options.wing,
            )
            print(f"{name}: {killed} of {count} killed", flush=True)
            lines = (
                (PACKAGE / f"{name.replace('.', '/')}.py")
                .read_text("utf-8")
                .splitlines()
            )
            for line, said in survivors:
                print(f"  {line}: {said}: {lines[line - 1].strip()}")


if __name__ == "__main__":
    main()
