"""What is built from a checkout, with a compiler and without one."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import trio

from triobatch import __version__

ROOT = Path(__file__).parent.parent
EXTENSIONS = {
    "triobatch/_core/_c.abi3.so",
    "triobatch/_core/_chunks_c.abi3.so",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "pyproject.toml").exists(), reason="not in a checkout"
    ),
    pytest.mark.skipif(
        platform.system() != "Linux"
        or platform.python_implementation() != "CPython"
        or bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        reason="there is one C core, and one abi3 wheel: for Linux, CPython",
    ),
]

NO_COMPILER = {
    "CC": "/nonexistent/cc",
    "CXX": "/nonexistent/c++",
    # The linker's driver is a setting of its own.
    "LDSHARED": "/nonexistent/cc -shared",
}

with_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "gcc").split()[0]) is None,
    reason="there is no C compiler",
)


@pytest.fixture(scope="module")
def make_checkout(tmp_path_factory):
    """Return a function that copies what is to be packed, and nothing built.

    A build leaves object files behind, which the next one would use.
    """
    # The build runs without isolation, so that it needs no network.
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("cffi", minversion="2.0")
    pytest.importorskip("pip")

    def make():
        copy = tmp_path_factory.mktemp("checkout")
        for name in ("pyproject.toml", "README.md", "MANIFEST.in"):
            shutil.copy(ROOT / name, copy)
        for path in ROOT.glob("LICENSE*"):
            shutil.copy(path, copy)
        shutil.copytree(
            ROOT / "triobatch",
            copy / "triobatch",
            ignore=shutil.ignore_patterns(
                "*.so", "__pycache__", "*_missing.txt"
            ),
        )
        return copy

    return make


def started(*command, cwd, **environment):
    """Return what became of a Python program."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run(*command, cwd, **environment):
    done = started(*command, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*command, cwd, start=run, **environment):
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    common = ("--quiet", "--disable-pip-version-check", "--no-cache-dir")
    return start(
        "-m",
        "pip",
        command[0],
        *common,
        *offline,
        *command[1:],
        cwd=cwd,
        **environment,
    )


def build_wheel(source, place, **environment):
    pip("wheel", "--wheel-dir", place, source, cwd=place, **environment)
    (wheel,) = place.glob("*.whl")
    return wheel


def install(wheel, place):
    """Install a wheel; return the environment in which it is imported."""
    target = place / "installed"
    pip("install", "--target", target, wheel, cwd=place)
    # Where what it depends on is. Run with -S, Python heeds no .pth file
    # there: an editable installation would lend its extensions.
    found = [Path(trio.__file__).parents[1], sysconfig.get_path("platlib")]
    return {
        "PYTHONPATH": os.pathsep.join(map(str, [target, *found])),
        "TRIOBATCH_CORE": "",
    }


def capabilities(place, **environment):
    """Return what ``python -m triobatch`` prints, line by line."""
    version, *lines = run(
        "-S", "-m", "triobatch", cwd=place, **environment
    ).splitlines()
    assert version == f"triobatch {__version__}"
    return dict(line.split(maxsplit=1) for line in lines)


@pytest.fixture(scope="module")
def wheel(make_checkout, tmp_path_factory):
    return build_wheel(make_checkout(), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(make_checkout, tmp_path_factory):
    place = tmp_path_factory.mktemp("sdist")
    hook = "import sys; from setuptools.build_meta import *"
    run("-c", f"{hook}; build_sdist(sys.argv[1])", place, cwd=make_checkout())
    return place / f"triobatch-{__version__}.tar.gz"


@pytest.fixture(scope="module")
def bare_wheel(make_checkout, tmp_path_factory):
    """A wheel that was built where there is no compiler."""
    return build_wheel(
        make_checkout(), tmp_path_factory.mktemp("bare"), **NO_COMPILER
    )


def package_files(wheel):
    """Return the files in a wheel, but for those that describe it."""
    with ZipFile(wheel) as archive:
        return {
            name
            for name in archive.namelist()
            if not name.startswith(f"triobatch-{__version__}.dist-info/")
        }


def modules():
    return {
        *(
            str(path.relative_to(ROOT))
            for path in ROOT.glob("triobatch/**/*.py*")
            if path.parent.name not in {"_native", "__pycache__"}
        ),
        "triobatch/py.typed",
    }


@with_compiler
def test_one_wheel_serves_every_cpython_from_3_10_on(wheel):
    assert wheel.name.startswith(f"triobatch-{__version__}-cp310-abi3-linux_")


@with_compiler
def test_a_wheel_holds_the_modules_and_the_extensions_only(wheel):
    assert package_files(wheel) == modules() | EXTENSIONS


@with_compiler
def test_a_wheel_brings_its_licences(wheel):
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    licences = {
        name.rpartition("/")[2] for name in names if "licenses" in name
    }
    assert licences == {"LICENSE", "LICENSE.MIT", "LICENSE.APACHE2"}


@with_compiler
def test_an_installed_wheel_runs_the_c_core(wheel, tmp_path):
    found = capabilities(tmp_path, **install(wheel, tmp_path))
    assert found["core"] == "c"
    assert found["core_reason"] == "it was built and loads"
    assert found["chunk_extension"] == "True"


def test_an_sdist_holds_what_the_extensions_are_built_from(sdist):
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    native = {name.rpartition("/")[2] for name in names if "/_native/" in name}
    assert native == {
        path.name
        for path in (ROOT / "triobatch" / "_native").iterdir()
        if path.is_file()
    }
    assert {"build_hook.py", "core.h", "stream.c", "system.cdef"} <= native


@with_compiler
def test_a_wheel_can_be_built_from_an_sdist(sdist, tmp_path):
    wheel = build_wheel(sdist, tmp_path)
    assert package_files(wheel) == modules() | EXTENSIONS


def test_a_wheel_with_nothing_native_is_for_every_platform(bare_wheel):
    assert bare_wheel.name == f"triobatch-{__version__}-py3-none-any.whl"
    with ZipFile(bare_wheel) as archive:
        (described,) = (
            archive.read(name).decode()
            for name in archive.namelist()
            if name.endswith(".dist-info/WHEEL")
        )
    assert "Root-Is-Purelib: true" in described
    assert "Tag: py3-none-any" in described


def test_a_build_fails_where_the_c_core_is_required(make_checkout, tmp_path):
    done = pip(
        "wheel",
        "--wheel-dir",
        tmp_path,
        make_checkout(),
        cwd=tmp_path,
        start=started,
        TRIOBATCH_REQUIRE_C="1",
        **NO_COMPILER,
    )
    assert done.returncode != 0
    assert "/nonexistent/cc" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_without_a_compiler_a_wheel_says_why_it_has_no_extension(bare_wheel):
    records = {
        "triobatch/_core/_c_missing.txt",
        "triobatch/_core/_chunks_c_missing.txt",
    }
    assert package_files(bare_wheel) == modules() | records
    with ZipFile(bare_wheel) as archive:
        said = archive.read("triobatch/_core/_c_missing.txt")
    assert b"/nonexistent/cc" in said


def test_without_a_compiler_the_python_core_serves(bare_wheel, tmp_path):
    installed = install(bare_wheel, tmp_path)
    found = capabilities(tmp_path, **installed)
    assert found["core"] == "python"
    assert found["core_reason"].startswith(
        "the C core was not built at installation: "
    )
    assert "/nonexistent/cc" in found["core_reason"]
    assert found["chunk_extension"] == "False"


def test_without_a_compiler_asking_for_the_c_core_fails(bare_wheel, tmp_path):
    installed = install(bare_wheel, tmp_path)
    probe = (
        "try:\n"
        "    import triobatch\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    installed["TRIOBATCH_CORE"] = "c"
    said = run("-S", "-c", probe, cwd=tmp_path, **installed)
    assert said.startswith("TRIOBATCH_CORE=c, but the C core was not built")


def test_without_a_compiler_data_arrives_all_the_same(bare_wheel, tmp_path):
    installed = install(bare_wheel, tmp_path)
    program = (
        "import trio\n"
        "from triobatch import BatchSocketStream, Buffers\n"
        "async def main():\n"
        "    left, right = map(BatchSocketStream, trio.socket.socketpair())\n"
        "    buffers = Buffers([b'hello ', bytearray(b'world')])\n"
        "    assert await left.send_buffers(buffers) == 11\n"
        "    print(await right.receive_some())\n"
        "trio.run(main)\n"
    )
    said = run("-S", "-c", program, cwd=tmp_path, **installed)
    assert said == "b'hello world'\n"
