"""The C core's own test program, compiled and run; see also ``.ci/core``."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux"
    or shutil.which("gcc") is None
    or not (ROOT / "triobatch" / "_native").is_dir(),
    reason="needs Linux, gcc and the sources",
)


def test_the_core_works_without_python(tmp_path):
    program = tmp_path / "core_test"
    native = ROOT / "triobatch" / "_native"
    python_free = (
        source
        for source in native.glob("*.c")
        if source.name
        not in {
            "glue.c",
            "chunks.c",
            "datagram_lists.c",
            "messages.c",
            "take.c",
        }
    )
    subprocess.run(
        [
            *(
                "gcc",
                "-std=gnu11",
                "-D_GNU_SOURCE",
                "-D_FILE_OFFSET_BITS=64",
                "-pthread",
                "-I",
                native,
                "-o",
                program,
            ),
            *(ROOT / "tests" / "core_c").glob("*.c"),
            *python_free,
        ],
        check=True,
    )
    done = subprocess.run(
        [program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" passed, 0 failed\n")
