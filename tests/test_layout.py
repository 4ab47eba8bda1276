"""The house: its floors, its rooms, and what is decided where.

Imports that only a type checker reads count like the others: they too say who
has to know whom.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

import triobatch
import triobatch.testing

PACKAGE = Path(triobatch.__file__).parent
NATIVE = PACKAGE / "_native"
GUIDE = PACKAGE.parent / "CONTRIBUTING.md"

# By full name, without the build hook, which runs where setuptools is.
SOURCES = {
    ".".join(
        ["triobatch", *path.relative_to(PACKAGE).with_suffix("").parts]
    ).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if NATIVE not in path.parents
}
EXTENSIONS = {"triobatch._core._c", "triobatch._core._chunks_c"}
MODULES = SOURCES.keys() | EXTENSIONS

# A room on the top sheet is a folder, or a file beside them.
MAX_ROOMS = 20
MAX_ARROWS = 40

# What knows no trio: every outcome but waiting.
WITHOUT_TRIO = [
    "triobatch._wire",
    "triobatch._core",
    "triobatch._queues",
    *(
        f"triobatch._datagrams.{name}"
        for name in (
            "dispatch",
            "equal_dispatch",
            "errnos",
            "errors",
            "gso",
            "inbox",
            "statistics",
        )
    ),
]


@functools.cache
def imports_of(module):
    """Return the modules that a module imports, by full name."""
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
    return found


def own_imports(module):
    """Return those of them that are the package's."""
    return imports_of(module) & MODULES


def room_of(module):
    return [*module.split("."), "__init__"][1]


def arrows():
    return {
        (room_of(module), room_of(other))
        for module in SOURCES
        for other in own_imports(module)
        if room_of(module) != room_of(other)
    }


def circles(graph):
    """Return the nodes that can be reached from themselves."""

    def reached(start):
        seen, todo = set(), [start]
        while todo:
            for other in graph.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    return {node for node in graph if node in reached(node)}


def floors():
    """Return the floor of each room, as CONTRIBUTING.md says."""
    text = GUIDE.read_text(encoding="utf-8")
    found = {}
    for number, rooms in re.findall(r"(?m)^    ([1-7])  (.*?)(?:  |$)", text):
        for room in rooms.split():
            found[room.removesuffix("/").removesuffix(".py")] = int(number)
    return found


def places():
    """Return CONTRIBUTING.md's rows: what, where, and by what name."""
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(r"(?m)^\| ([^|`]+) \| `([^`]+)` \| `([^`]+)` \|$", text)


def test_every_room_has_its_floor():
    rooms = {room_of(module) for module in SOURCES}
    assert floors().keys() == rooms
    assert len(rooms) <= MAX_ROOMS
    assert len(set(floors().values())) <= 7


def test_imports_go_down():
    floor_of = floors()
    upwards = {
        (room, other)
        for room, other in arrows()
        if floor_of[room] <= floor_of[other]
    }
    assert upwards == set()


def test_arrows_between_rooms_are_few():
    counted = {arrow for arrow in arrows() if arrow[0] != "__init__"}
    assert len(counted) <= MAX_ARROWS


def test_there_is_no_circle_of_files():
    # The package's own names come from above, for lowlevel and __main__ too.
    assert circles({module: own_imports(module) for module in SOURCES}) == (
        set()
    )


def without_trio(module):
    return any(
        module == name or module.startswith(f"{name}.")
        for name in WITHOUT_TRIO
    )


def reached_from(module):
    """Return the top-level packages that importing a module brings along."""
    reached, seen, todo = set(), set(), [module]
    while todo:
        current = todo.pop()
        # What is imported as a type's name only is not brought along, but it
        # is a reason to look.
        if current in seen or current not in SOURCES:
            continue
        seen.add(current)
        reached |= {full.partition(".")[0] for full in imports_of(current)}
        todo += own_imports(current)
    return reached


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if without_trio(name)]
)
def test_what_decides_without_waiting_knows_no_trio(module):
    assert reached_from(module).isdisjoint(
        {"trio", "select", "asyncio", "outcome"}
    )


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if room_of(name) == "_queues"]
)
def test_the_queues_know_no_sockets(module):
    assert "_socket" not in imports_of(module)
    assert "socket" not in imports_of(module)


def test_the_search_for_imports_finds_them():
    # Or the tests above would pass on anything.
    assert "trio" in reached_from("triobatch._resource")
    assert "socket" in reached_from("triobatch._core.streams_python")
    assert ("_streams", "_queues") in arrows()
    assert circles({1: {2}, 2: {3}, 3: {2}}) == {2, 3}


@pytest.mark.parametrize(
    "module", ["triobatch", "triobatch.lowlevel", "triobatch.testing"]
)
def test_public_modules_only_hand_on(module):
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    docstring, *body = tree.body
    assert isinstance(docstring, ast.Expr)
    for node in body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            assert target.id in ("__all__", "__version__")
        else:
            assert isinstance(node, ast.ImportFrom)


def test_everything_public_can_be_imported():
    for module in (triobatch, triobatch.lowlevel, triobatch.testing):
        assert len(module.__all__) == len(set(module.__all__))
        for name in module.__all__:
            assert not name.startswith("_") or name == "__version__"
            assert hasattr(module, name)


def test_there_is_no_package_for_the_c_sources():
    assert not (NATIVE / "__init__.py").exists()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        *((path, 400) for path in sorted(PACKAGE.rglob("*.py"))),
        *((path, 419) for path in sorted(NATIVE.glob("*.[ch]"))),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_files_stay_small(path, limit):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit
