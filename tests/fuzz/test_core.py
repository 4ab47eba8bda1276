"""What the fuzzer has found worth keeping, through the C core once more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "core"
CORPUS = HERE / "corpus.txt"


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    if shutil.which("gcc") is None or shutil.which("bash") is None:
        pytest.skip("needs gcc and bash")
    directory = tmp_path_factory.mktemp("replay")
    # Without the sanitizers, which may be another compiler's here.
    subprocess.run(
        [HERE / "build.sh", directory, "replay", "gcc", "-O1"], check=True
    )
    return directory / "replay"


@pytest.mark.slow
def test_the_core_makes_of_every_answer_what_it_should(replay):
    with CORPUS.open("rb") as corpus:
        done = subprocess.run(
            [replay], check=False, stdin=corpus, capture_output=True, text=True
        )
    assert (done.returncode, done.stderr) == (0, "")
    count = len(CORPUS.read_text("ascii").splitlines())
    assert done.stdout == f"{count} inputs replayed\n"
