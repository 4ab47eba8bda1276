"""Change the C core in one place at a time, and see that a test fails.

    python tests/mutation/core.py [FILE ...] [--record]

The changes are those that one makes by mistake: one too many, an EAGAIN that
is lost, something that is not handed back. Asked are the corpus of the fuzzer,
over its fake kernel, and then the test program of the core, over the real one.
Of the list extension, which has no kernel, the tests in Python are asked, and
then a debug build of Python, which counts its references.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

TOP = Path(__file__).parents[2]
TABLE = TOP / "docs/project/mutation-core-tables.rst"
NATIVE = "triobatch/_native"
SOURCES = (
    *("broadcast", "stream", "splice", "datagrams", "receive_datagrams"),
    "groups",
)
EXTENSION = ("chunks", "datagram_lists", "messages", "take")
EXTENSION_TESTS = (
    *("chunks", "datagram_batches_c", "datagram_lists", "groups_c"),
    *("messages", "streams_c"),
)
# Seconds, of a change that hangs.
PATIENCE = 300
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
    ("chunks.c", "(size = Py_SIZE(chunk)) == 0", "(size = Py_SIZE(chunk), 0)"),
    ("chunks.c", "if (size < left)", "if (size <= left)"),
    ("chunks.c", "if (size > room - copied)", "if (size > room)"),
    ("chunks.c", "bytes_in(chunk) + offset;", "bytes_in(chunk);"),
    ("datagram_lists.c", "(size_t)size > room", "(size_t)size > room + 1"),
    ("datagram_lists.c", "&& i != count - 1", ""),
    ("datagram_lists.c", "size <= UINT16_MAX", "size <= UINT16_MAX + 1"),
    (
        "datagram_lists.c",
        "copied % run_size > segment_size",
        "copied % run_size >= segment_size",
    ),
    ("datagram_lists.c", "PyTuple_Size(other) != count", "0"),
    ("messages.c", "if (total > room)", "if (total > room + 1)"),
    ("messages.c", "    if (count > most)\n        return -1;", ""),
    ("messages.c", "start == total &&", ""),
    ("messages.c", "    Py_INCREF(piece);", ""),
    ("messages.c", "    Py_DECREF(pieces);", ""),
    ("messages.c", "        start += count;", ""),
    ("messages.c", "if (sizes[i] > 0)", "if (sizes[i] > 1)"),
    ("take.c", "if (size > arena->name_size)", "if (0)"),
    ("take.c", "&& memcmp(name, sender->name, size) == 0", ""),
    ("take.c", "if (size > arena->control_size)", "if (0)"),
    ("take.c", "&& memcmp(control, said->control, size) == 0", ""),
    ("take.c", "size >= header_size + sizeof(stamp)", "size >= header_size"),
    ("take.c", "1000000000LL", "100000000LL"),
    ("take.c", "said->timestamps && size > 0", "said->timestamps"),
    ("take.c", "size > arena->slot_size ||", ""),
    ("take.c", "|| arena->flags[now.next] & MSG_TRUNC", ""),
    ("take.c", "now.offset < size && limit > 0", "now.offset < size"),
    ("take.c", "        limit--;", ""),
    ("take.c", "        now.offset = 0;", ""),
    ("take.c", "    Py_XDECREF(data);", ""),
    (
        "take.c",
        "    Py_DECREF(key);\n    sender->name",
        "    sender->name",
    ),
    ("take.c", "        Py_XDECREF(flags);", ""),
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
            *(*(top / "tests/core_c").glob("*.c"), *sources),
            *("-lpthread", "-o", work / "core_test"),
        ],
        check=True,
    )
    return "the test program" if fails([work / "core_test"]) else None


def build_and_test(top, work):
    """Return what has seen the change of the list extension."""
    sources = [top / NATIVE / f"{name}.c" for name in EXTENSION]
    include = sysconfig.get_paths()["include"]
    compile_extension(
        sources, ["-I", include], top / "triobatch/_core/_chunks_c.abi3.so"
    )
    tests = [f"tests/core/test_{name}.py" for name in EXTENSION_TESTS]
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
    if fails(
        [*pytest, "-p", "no:cacheprovider", "--hypothesis-seed=0"],
        cwd=top,
        env=os.environ
        | {
            "PYTHONPATH": str(top),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TRIOBATCH_CORE": "c",
        },
    ):
        return "the tests"
    if not shutil.which("python3-dbg"):
        return None
    found = subprocess.run(
        ["python3-dbg-config", "--includes"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    compile_extension(sources, found.stdout.split(), work / "_chunks_c.so")
    count = ["python3-dbg", top / "tests/core/references.py", work]
    return "the references" if fails(count) else None


def compile_extension(sources, includes, path):
    """Compile the list extension; a change that cannot be is none."""
    # A process that runs it keeps the one that it has opened.
    path.unlink(missing_ok=True)
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-O1", "-w", "-std=gnu11"),
            *("-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64"),
            *(*includes, *sources, "-o", path),
        ],
        check=True,
    )


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
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        top, work = Path(directory, "top"), Path(directory, "work")
        for name in ("triobatch", "tests"):
            shutil.copytree(TOP / name, top / name)
        for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md"):
            shutil.copy2(TOP / name, top / name)
        work.mkdir()
        for ask in (build_and_run, build_and_test):
            if seen := ask(top, work):
                sys.exit(f"{seen} fails without a change")
        for name, old, new in CHANGES:
            if options.files and name not in options.files:
                continue
            path = top / NATIVE / name
            source = path.read_text("utf-8")
            if source.count(old) != 1:
                sys.exit(f"{name} has not once: {old}")
            path.write_text(source.replace(old, new), "utf-8")
            of_extension = Path(name).stem in EXTENSION
            ask = build_and_test if of_extension else build_and_run
            seen = ask(top, work)
            path.write_text(source, "utf-8")
            what, instead = " ".join(old.split()), new or "nothing"
            print(f"{seen}: {name}: {what} -> {instead}", flush=True)
            rows.append((name, what, f"``{new}``" if new else instead, seen))
    killed = sum(row[-1] is not None for row in rows)
    print(f"{killed} of {len(rows)} killed")
    if options.record and not options.files:
        TABLE.write_text(table(rows), "utf-8")


if __name__ == "__main__":
    main()
