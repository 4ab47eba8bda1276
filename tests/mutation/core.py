"""Change the C core in one place at a time, and see that a test fails.

    python tests/mutation/core.py [--record]

The changes are those that one makes by mistake: one too many, an EAGAIN that
is lost, something that is not handed back. Asked are the corpus of the fuzzer,
over its fake kernel, and then the test program of the core, over the real one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).parents[2]
TABLE = TOP / "docs/project/mutation-core-tables.rst"
NATIVE = "triobatch/_native"
SOURCES = (
    *("broadcast", "stream", "splice", "datagrams", "receive_datagrams"),
    "groups",
)
# Of a change that hangs.
PATIENCE = 60
# The file, what is written there once, and what instead.
CHANGES = (
    ("stream.c", "errno == EINTR ? -EAGAIN : -errno", "-errno"),
    ("stream.c", "(size_t)answer > offered", "(size_t)answer > offered + 1"),
    ("stream.c", "if (size < front->iov_len)", "if (size <= front->iov_len)"),
    ("stream.c", "front->iov_len -= size;", ""),
    ("stream.c", "(MSG_DONTWAIT | MSG_NOSIGNAL)", "(MSG_NOSIGNAL)"),
    ("groups.c", "used += (size_t)results[i];", ";"),
    ("groups.c", "count > memory_size / receive_size", "0"),
    ("groups.c", "scratch += pieces[i].iov_len;", ""),
    ("groups.c", "> piece_count - next", "> piece_count"),
    ("answers.h", "interrupted(errno) ? -EAGAIN : -errno", "-errno"),
    (
        "answers.h",
        "count < TB_MESSAGES ? count",
        "count < TB_MESSAGES + 2 ? count",
    ),
    (
        "receive_datagrams.c",
        "(size - 1) / segment_size",
        "size / segment_size",
    ),
    ("receive_datagrams.c", "MSG_DONTWAIT | MSG_TRUNC;", "MSG_DONTWAIT;"),
    ("datagrams.c", "room -= sizes[i];", ""),
    ("datagrams.c", "column->bytes += *size;", ""),
    ("datagrams.c", "done += (size_t)sent;", "done += (size_t)sent + 1;"),
    ("datagrams.c", "outcomes->passed += failed != 0;", ""),
    ("datagrams.c", "if (run > segment_size)", "if (run >= segment_size)"),
    (
        "datagrams.c",
        "(taken - 1) / batch->segment_size",
        "taken / batch->segment_size",
    ),
    ("splice.c", "state->held -= (size_t)moved;", "state->held = 0;"),
    (
        "splice.c",
        "if (moved == -EAGAIN)\n            return TB_RELAY_WAIT_TARGET;",
        "",
    ),
    ("splice.c", "pthread_sigmask(SIG_SETMASK, &held->before, NULL);", ""),
    ("splice.c", "if (!held->pending) {", "if (held->pending) {"),
    ("splice.c", "moved ? (int)moved : -EPIPE", "0"),
    ("splice.c", "if (found == -EAGAIN)", "if (found == -EINTR)"),
    ("splice.c", "| MSG_MORE);", ");"),
)


def build_and_run(top, work):
    """Return what has seen the change; None if nothing has."""
    fuzz = top / "tests/fuzz/core"
    built = subprocess.run(
        [fuzz / "build.sh", work, "replay", "gcc", "-O0", "-w"],
        check=False,
        capture_output=True,
    )
    if built.returncode:
        return "the compiler"
    with (fuzz / "corpus.txt").open("rb") as corpus:
        if fails([work / "replay"], stdin=corpus):
            return "the corpus"
    sources = [top / NATIVE / f"{name}.c" for name in SOURCES]
    subprocess.run(
        [
            *("gcc", "-O0", "-w", "-std=gnu11", "-D_GNU_SOURCE"),
            *("-D_FILE_OFFSET_BITS=64", "-I", top / NATIVE),
            *(top / "tests/core_c/core_test.c", *sources),
            *("-lpthread", "-o", work / "core_test"),
        ],
        check=True,
    )
    return "the test program" if fails([work / "core_test"]) else None


def fails(command, **options):
    """Tell whether a program fails, or hangs."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            **options,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def table(rows):
    """Return the table of the documentation."""
    lines = [
        f'   ``{name}``,"``{old}``","{new}",{seen or "nothing"}'
        for name, old, new, seen in rows
    ]
    return "\n".join(
        [
            ".. Written by tests/mutation/core.py --record.",
            "",
            ".. csv-table::",
            "   :header: file,what is there,what instead,seen by",
            "",
            *lines,
            "",
        ]
    )


def main():
    """Print what has seen each change."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        top, work = Path(directory, "top"), Path(directory, "work")
        for name in (NATIVE, "tests/fuzz/core", "tests/core_c"):
            shutil.copytree(TOP / name, top / name)
        if seen := build_and_run(top, work):
            sys.exit(f"{seen} fails without a change")
        for name, old, new in CHANGES:
            path = top / NATIVE / name
            source = path.read_text("utf-8")
            if source.count(old) != 1:
                sys.exit(f"{name} has not once: {old}")
            path.write_text(source.replace(old, new), "utf-8")
            seen = build_and_run(top, work)
            path.write_text(source, "utf-8")
            what, instead = " ".join(old.split()), new or "nothing"
            print(f"{seen}: {name}: {what} -> {instead}", flush=True)
            rows.append((name, what, f"``{new}``" if new else instead, seen))
    killed = sum(row[-1] is not None for row in rows)
    print(f"{killed} of {len(rows)} killed")
    if options.record:
        TABLE.write_text(table(rows), "utf-8")


if __name__ == "__main__":
    main()
