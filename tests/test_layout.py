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

# How often code reads an attribute of another room's that is named as private,
# and what for.
MAX_REACHES = 10
REACHES = {
    "_columns": "what was sent is deleted from both, and from nowhere else",
    "_send_guard": "whether somebody else is sending, before it is used",
    "_write_to": "handed in from above",
}

# What has no test under its own name, and why.
WITHOUT_TEST = {
    "triobatch._version": "a string",
    "triobatch.lowlevel": "names of _core.files and _datagrams.lowlevel",
    "triobatch._streams.group_readiness": "test_group_receiving, on each kind",
    "triobatch._senders.statistics": "types",
    "triobatch._streams.group_statistics": "a type",
}
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
            "kernel",
            "outcomes",
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


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if room_of(name) != "_core"]
)
def test_only_the_one_seam_chooses_a_core(module):
    cores = EXTENSIONS | {
        f"triobatch._core.{name}"
        for name in (
            "datagrams_c",
            "datagrams_python",
            "streams_c",
            "streams_python",
        )
    }
    assert own_imports(module).isdisjoint(cores)


def names_defined(tree):
    """Return what a module defines, and what its classes and objects have."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(
                    value=ast.Name(id="self" | "cls"),
                    attr=name,
                    ctx=ast.Store(),
                )
            ):
                found.add(name)
            # A slot.
            case ast.Constant(value=str(name)) if name.isidentifier():
                found.add(name)
    return found


def reaches():
    """Return where a room reads a private attribute that it does not define.

    By name: one that the room defines too is taken for its own.
    """
    trees = {
        module: ast.parse(path.read_text(encoding="utf-8"))
        for module, path in SOURCES.items()
    }
    own = {}
    for module, tree in trees.items():
        own.setdefault(room_of(module), set()).update(names_defined(tree))
    # What namedtuple() has in public.
    own["namedtuple"] = {"_replace", "_asdict", "_make", "_fields"}
    return [
        f"{SOURCES[module].relative_to(PACKAGE)}:{node.lineno}: "
        f"{ast.unparse(node)}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in ("self", "cls")
        and node.attr not in own[room_of(module)] | own["namedtuple"]
    ]


def test_few_reach_into_the_privates_of_another_room():
    found = reaches()
    assert len(found) <= MAX_REACHES, "\n".join(found)
    assert {reach.rpartition(".")[2] for reach in found} <= REACHES.keys()


def test_the_search_for_imports_finds_them():
    # Or the tests above would pass on anything.
    assert "trio" in reached_from("triobatch._resource")
    assert "socket" in reached_from("triobatch._core.streams_python")
    assert ("_streams", "_queues") in arrows()
    assert circles({1: {2}, 2: {3}, 3: {2}}) == {2, 3}


def test_the_table_of_decisions_is_true():
    rows = places()
    assert len(rows) >= 13
    wrong = [
        f"{what}: {where} does not define {name}"
        for what, where, name in rows
        if not re.search(
            rf"(?m)^ *(?:(?:async )?def |class )?{re.escape(name)}\b",
            (PACKAGE / where).read_text(encoding="utf-8"),
        )
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "module",
    [
        module
        for module, path in SOURCES.items()
        # A package's own file has a sentence, or the public names.
        if path.name != "__init__.py" and module not in WITHOUT_TEST
    ],
)
def test_a_test_is_found_by_the_name_of_its_module(module):
    *rooms, name = module.split(".")[1:]
    folder = Path(__file__).parent.joinpath(
        *(room.removeprefix("_") for room in rooms)
    )
    stem = f"test_{name.strip('_')}"
    found = [*folder.glob(f"{stem}.py"), *folder.glob(f"{stem}_*.py")]
    assert found, f"there is no {folder / stem}.py"


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
        elif isinstance(node, ast.Expr):
            # Its last line: whose it says that its names are.
            assert node is body[-1]
            assert ast.unparse(node) == "_settle(__name__, globals())"
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
