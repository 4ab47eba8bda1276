"""``python -m triobatch``."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import triobatch

of_this_system = pytest.mark.skipif(
    "TRIOBATCH_SIMULATE" in os.environ,
    reason="a program of its own is on the real system",
)


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "triobatch", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@of_this_system
def test_it_prints_the_version_and_what_can_be_done_here():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"triobatch {version('triobatch')}\n{triobatch.capabilities()}\n"
    )


@of_this_system
def test_it_prints_the_same_for_programs():
    done = run("--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.pop("version") == version("triobatch")
    assert found == dataclasses.asdict(triobatch.capabilities())


def test_help_says_what_it_is_for():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m triobatch [-h] [--json]")


@pytest.mark.parametrize("argument", ["--version-of", "something"])
def test_arguments_that_it_does_not_know_are_a_usage_error(argument):
    done = run(argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m triobatch ")
    assert argument in done.stderr.splitlines()[-1]


@of_this_system
def test_sources_that_are_not_built_say_what_to_do(tmp_path):
    shutil.copytree(
        Path(__file__).parents[1] / "triobatch",
        tmp_path / "triobatch",
        ignore=shutil.ignore_patterns("*.so", "*_missing.txt"),
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "TRIOBATCH_CORE"
    }
    done = run(cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "these are the sources, not built: pip install" in done.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="no SIGPIPE")
def test_output_that_nobody_reads_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [sys.executable, "-m", "triobatch"],
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        assert process.communicate()[1] == b""
    assert process.returncode == -signal.SIGPIPE


def test_the_version_is_the_installed_one():
    assert triobatch.__version__ == version("triobatch")


def test_a_core_that_is_none_is_told_in_one_line():
    done = run(env={**os.environ, "TRIOBATCH_CORE": "rust"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "triobatch: TRIOBATCH_CORE must be c or python, not 'rust'\n"
    )


def test_a_program_that_imports_it_gets_the_error():
    done = subprocess.run(
        [sys.executable, "-c", "import triobatch"],
        env={**os.environ, "TRIOBATCH_CORE": "rust"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback ")
    assert "ValueError: TRIOBATCH_CORE must be c or python" in done.stderr
