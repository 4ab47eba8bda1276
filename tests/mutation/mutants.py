"""One small change to a module, each time another: what a test should see."""

from __future__ import annotations

import ast
import random
from typing import NamedTuple

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
    """Yield each node that runs, and the statement that it is part of.

    Annotations and docstrings do not run.
    """
    todo = [(tree, tree)]
    while todo:
        node, statement = todo.pop()
        if isinstance(node, ast.stmt):
            statement = node
        yield node, statement
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
                todo.append((child, statement))


def changes(node):
    """Return what each mutation says, its line, and what makes it."""
    found = []
    here = getattr(node, "lineno", 0)
    match node:
        case ast.Compare(ops=[operator]) | ast.BinOp(op=operator) if (
            type(operator) in SWAPS
        ):
            other = SWAPS[type(operator)]
            found.append(
                (other.__name__, here, lambda n: _set_operator(n, other))
            )
        case ast.AugAssign(op=operator) | ast.BoolOp(op=operator) if (
            type(operator) in SWAPS
        ):
            other = SWAPS[type(operator)]
            found.append(
                (other.__name__, here, lambda n: _set_operator(n, other))
            )
        case ast.Constant(value=bool()):
            found.append(
                ("negated", here, lambda n: setattr(n, "value", not n.value))
            )
        case ast.Constant(value=int()):
            found.append(
                ("+ 1", here, lambda n: setattr(n, "value", n.value + 1))
            )
        case ast.If() | ast.While() | ast.IfExp():
            found.append(
                (
                    "not",
                    here,
                    lambda n: setattr(
                        n, "test", ast.UnaryOp(ast.Not(), n.test)
                    ),
                )
            )
        case ast.Return(value=ast.AST() as value) if not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            found.append(
                (
                    "None",
                    here,
                    lambda n: setattr(n, "value", ast.Constant(None)),
                )
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
                        "without",
                        statement.lineno,
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


class Mutant(NamedTuple):
    """One change of a module.

    Attributes:
      said: What it is, in a word.
      line: Where it is, from 1 on.
      code: What is written there.
      lines: Those of the statement that it is part of, without its body.
      tree: The whole module, changed.
    """

    said: str
    line: int
    code: str
    lines: range
    tree: ast.Module


def _lines_of(statement):
    first = getattr(statement, "lineno", 1)
    for decorator in getattr(statement, "decorator_list", ()):
        first = min(first, decorator.lineno)
    body = getattr(statement, "body", None) or getattr(
        statement, "cases", None
    )
    if not body:
        return range(first, getattr(statement, "end_lineno", first) + 1)
    last = getattr(body[0], "lineno", 0) or body[0].pattern.lineno
    return range(first, max(last, first + 1))


def mutants(source, sample=0, seed=1):
    """Return the mutants of a module, or a sample, the same for one seed."""
    tree = ast.parse(source)
    found = [
        (number, what)
        for number, (node, _) in enumerate(places(tree))
        for what in range(len(changes(node)))
    ]
    if sample and sample < len(found):
        found = random.Random(seed).sample(found, sample)
    return [_mutant(source, number, what) for number, what in found]


def count(source):
    """Return how many mutants a module has."""
    return sum(len(changes(node)) for node, _ in places(ast.parse(source)))


def _mutant(source, number, what):
    tree = ast.parse(source)
    node, statement = list(places(tree))[number]
    said, line, change = changes(node)[what]
    if said == "without":
        statement = next(
            other
            for other, _ in places(node)
            if isinstance(other, ast.stmt)
            and other is not node
            and other.lineno == line
        )
    lines = _lines_of(statement)
    change(node)
    ast.fix_missing_locations(tree)
    code = source.splitlines()[line - 1].strip()
    return Mutant(said, line, code, lines, tree)
