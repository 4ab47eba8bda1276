"""Fuzz the C core: a corpus of hexadecimal lines, and libFuzzer's output.

    python tests/fuzz/core/run.py [SECONDS] [--keep]

With TRIOBATCH_FUZZ_SEED the same is tried each time.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.txt"
# Most inputs are short; a longer one says the same again.
MAX_INPUT_SIZE = 512
# Random inputs among them, so that some calls are asked for all they can do.
LONG_INPUTS = 300
SANITIZED = (
    "clang",
    "-O2",
    "-fno-omit-frame-pointer",
    "-fsanitize=fuzzer-no-link,address,undefined",
    # An input is a row of choices: what is compared teaches nothing.
    "-fno-sanitize-coverage=trace-cmp",
    "-fno-sanitize-recover=all",
)


def unpack(directory: Path) -> None:
    """Write the corpus, and long inputs, to a file each."""
    directory.mkdir()
    for number, line in enumerate(CORPUS.read_text("ascii").splitlines()):
        (directory / str(number)).write_bytes(bytes.fromhex(line))
    rng = random.Random(os.environ.get("TRIOBATCH_FUZZ_SEED"))
    for number in range(LONG_INPUTS):
        size = rng.choice((64, 128, 256, MAX_INPUT_SIZE))
        (directory / f"long-{number}").write_bytes(rng.randbytes(size))


def pack(directory: Path) -> None:
    """Write a directory's files to the corpus, the shortest first."""
    inputs = sorted(
        {path.read_bytes() for path in directory.iterdir()},
        key=lambda data: (len(data), data),
    )
    lines = [data.hex() + "\n" for data in inputs if data]
    CORPUS.write_text("".join(lines), "ascii")


def fuzz(work: Path, seconds: int) -> str:
    """Build and run the fuzzer; return what it said."""
    subprocess.run(
        [HERE / "build.sh", work / "build", "fuzzer", *SANITIZED], check=True
    )
    done = subprocess.run(
        [
            work / "build" / "fuzzer",
            f"-max_total_time={seconds}",
            # 0 is another one each time.
            f"-seed={os.environ.get('TRIOBATCH_FUZZ_SEED', '0')}",
            f"-max_len={MAX_INPUT_SIZE}",
            # All inputs are as likely as one another, the long ones too.
            *("-keep_seed=1", "-len_control=0", "-entropic=0"),
            f"-artifact_prefix={work}/",
            "-print_final_stats=1",
            work / "corpus",
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit("\n".join(done.stderr.splitlines()[-60:]))
    return done.stderr


def main() -> None:
    """Fuzz, and report how much was tried."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write what reached something new back to the corpus",
    )
    options = parser.parse_args()
    if options.seconds < 1:
        # libFuzzer takes 0 for no end.
        parser.error(f"seconds must be at least 1, not {options.seconds}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        unpack(work / "corpus")
        said = fuzz(work, options.seconds)
        if options.keep:
            kept = work / "kept"
            kept.mkdir()
            subprocess.run(
                [
                    work / "build" / "fuzzer",
                    "-merge=1",
                    f"-max_len={MAX_INPUT_SIZE}",
                    kept,
                    work / "corpus",
                ],
                stderr=subprocess.DEVNULL,
                check=True,
            )
            pack(kept)
    ran = re.search(r"Done \d+ runs in (\d+) second", said)
    tally = re.search(
        r"tally: (\d+) inputs, (\d+) bytes drawn, (\d+) moved", said
    )
    coverage = re.findall(r"cov: (\d+)", said)
    print(
        f"core: {tally[1]} inputs in {ran[1]} s, of which {tally[2]} bytes "
        f"decided something; {tally[3]} bytes given to the kernel and "
        f"received from it; {coverage[-1]} edges reached, nothing found"
    )


if __name__ == "__main__":
    main()
