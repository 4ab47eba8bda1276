"""How the package is laid out: who imports whom, and how long files are."""

import ast
from pathlib import Path

import pytest

import triobatch
import triobatch.testing

PACKAGE = Path(triobatch.__file__).parent
NATIVE = PACKAGE / "_native"

# From the top down: a module imports only from below its own line.
LAYERS = [
    "__main__",
    "__init__",
    "lowlevel",
    "testing",
    "_version",
    "_capabilities",
    # For tests.
    "_scripted_calls",
    "_memory_datagrams",
    "_check_stream",
    # In a nursery.
    "_serve_udp",
    "_sender",
    "_batch_sender",
    "_datagram_batch_sender",
    "_sender_statistics",
    "_stream_sending_task",
    "_datagram_sending_task",
    "_sending_task",
    "_datagram_outbox",
    "_queued_datagram",
    "_broadcast",
    "_broadcast_result",
    # Streams.
    "_listener",
    "_stream",
    "_stream_statistics",
    "_write_to",
    "_stream_options",
    "_stream_send",
    "_stream_receive",
    "_send_buffers",
    "_notsent_lowat",
    "_gather",
    "_errors",
    # Datagrams.
    "_open_udp_socket",
    "_datagram_socket",
    "_datagram_sender",
    "_datagram_receiver",
    "_datagram_send",
    "_arena_filling",
    "_segment_dispatch",
    "_dispatch",
    "_outlet",
    "_readiness",
    "_unix_peer",
    "_datagram_statistics",
    "_datagram_lowlevel",
    "_datagram_capabilities",
    "_guard",
    # Sans-IO.
    "_outbox",
    "_inbox",
    "_batch",
    "_buffers",
    "_views",
    # The kernel.
    "_datagram_syscalls",
    "_core_c_datagrams",
    "_core_python_datagrams",
    "_syscalls",
    "_core_c",
    "_core_python",
    "_borrowed_socket",
    # Sans-IO that the cores need as well.
    "_arena",
    "_reports",
    "_segmentation",
    "_segments",
    "_error_queue",
    "_datagrams",
    "_datagram_errors",
    "_metadata",
    "_addresses",
    "_chunks",
    "_core_choice",
    "_core",
    "_chunks_c",
]

# What knows neither trio nor sockets, and so can be used with neither.
SANS_IO = [
    "_addresses",
    "_arena",
    "_batch",
    "_buffers",
    "_chunks",
    "_core_choice",
    "_datagram_errors",
    "_datagrams",
    "_error_queue",
    "_inbox",
    "_metadata",
    "_reports",
    "_outbox",
    "_segmentation",
    "_segments",
    "_views",
]

# What codes addresses and control messages takes inet_pton and the numbers of
# families and options from the socket module, and no socket.
ADDRESS_CODING = {
    "_addresses",
    "_arena",
    "_datagram_errors",
    "_datagrams",
    "_error_queue",
    "_inbox",
    "_metadata",
    "_segmentation",
    "_segments",
}

# Who may import the cores. _core_choice tries whether there is one.
CORES = {
    "_core_c",
    "_core_python",
    "_core_c_datagrams",
    "_core_python_datagrams",
    "_core",
    "_chunks_c",
}
IMPORT_CORES = {
    "_scripted_calls",
    "_syscalls",
    "_datagram_syscalls",
    "_core_c",
    "_core_c_datagrams",
    "_chunks",
    "_core_choice",
}

# What a function imports when it is called, upwards: the only such import.
UPWARDS = {("_buffers", "_write_to")}

SOURCES = {path.stem: path for path in PACKAGE.glob("*.py")}


def for_type_checkers(node):
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def walk_what_runs(tree):
    """Walk a module, without what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if for_type_checkers(node):
            for other in node.orelse:
                yield other
                yield from walk_what_runs(other)
        else:
            yield node
            yield from walk_what_runs(node)


def imported_by(name):
    """Return every module that a module imports, at any time, by full name."""
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    imported = set()
    for node in walk_what_runs(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            if node.module == "triobatch":
                imported.update(f"triobatch.{x.name}" for x in node.names)
            else:
                imported.add(node.module)
    return imported


def own_imports(name):
    return {
        imported.removeprefix("triobatch.").partition(".")[0]
        for imported in imported_by(name)
        if imported.startswith("triobatch.")
    } & set(LAYERS)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_module_has_its_layer(name):
    assert LAYERS.count(name) == 1


def test_every_layer_has_its_module():
    extensions = {"_core", "_chunks_c"}
    assert set(LAYERS) - extensions == set(SOURCES)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_imports_go_down(name):
    below = LAYERS[LAYERS.index(name) + 1 :]
    upwards = {(name, other) for other in own_imports(name) - {*below}}
    if name == "__main__":
        upwards = set()
    assert upwards <= UPWARDS


def test_the_import_upwards_runs_only_when_it_is_called():
    for name, other in UPWARDS:
        tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
        at_import = {
            node.module
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
        }
        assert other in own_imports(name)
        assert f"triobatch.{other}" not in at_import


def reached_from(name):
    """Return the top-level packages that importing a module brings along."""
    reached, seen, todo = set(), set(), [name]
    while todo:
        current = todo.pop()
        if current in seen or current not in SOURCES:
            continue
        seen.add(current)
        reached |= {full.partition(".")[0] for full in imported_by(current)}
        todo += [
            other
            for other in own_imports(current)
            if (current, other) not in UPWARDS
        ]
    return reached


@pytest.mark.parametrize("name", SANS_IO)
def test_what_is_sans_io_knows_neither_trio_nor_sockets(name):
    forbidden = {"trio", "_socket", "select", "asyncio", "outcome"}
    if name not in ADDRESS_CODING:
        forbidden.add("socket")
    assert reached_from(name).isdisjoint(forbidden)


def test_the_search_for_imports_finds_them():
    # Or the tests above would pass on anything.
    assert "trio" in reached_from("_guard")
    assert "socket" in reached_from("_core_python")
    assert own_imports("_gather") == {"_chunks", "_syscalls"}
    assert "_buffers" in own_imports("__init__")


@pytest.mark.parametrize("name", ["_syscalls", "_core_c", "_core_python"])
def test_the_system_calls_know_no_trio(name):
    assert "trio" not in reached_from(name)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_only_the_system_calls_import_the_cores(name):
    assert name in IMPORT_CORES or own_imports(name).isdisjoint(CORES)


@pytest.mark.parametrize("name", ["__init__", "lowlevel", "testing"])
def test_public_modules_only_hand_on(name):
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
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
        *((path, 320) for path in sorted(PACKAGE.rglob("*.py"))),
        *((path, 399) for path in sorted(NATIVE.glob("*.[ch]"))),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_files_stay_small(path, limit):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit
