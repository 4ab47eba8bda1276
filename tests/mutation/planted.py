"""Faults of the kinds that were feared, and which tool sees which.

    python tests/mutation/planted.py [FAULT ...] [--only TOOL ...] [--record]

Each fault is put into a copy of the tree, which is built. Then the tools are
asked: each passes in a copy that has no fault, or its word is worth nothing,
and sees a fault if it fails, or hangs. ``--record`` writes the table of the
documentation.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TABLE = TOP / "docs/project/planted-tables.rst"
NATIVE = "triobatch/_native/"
PYTEST = (
    *("python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
    # The same examples each time, of those that are random else as well.
    "--hypothesis-seed=0",
)
ALL = "slow or not slow"


@dataclass(frozen=True)
class Fault:
    """A change of the package in one place.

    Attributes:
      name: What kind of fault it is, and where.
      path: The file.
      code: What is there; once.
      planted: What is put in its place.
      wing: The tests that are asked as the suite's.
    """

    name: str
    path: str
    code: str
    planted: str
    wing: tuple[str, ...]


FAULTS = (
    Fault(
        "size off by one, of a received slot (C)",
        NATIVE + "receive_datagrams.c",
        "iovecs[i].iov_len = arena->slot_size;",
        "iovecs[i].iov_len = arena->slot_size + 1;",
        ("tests/core", "tests/datagrams"),
    ),
    Fault(
        "size off by one, after a short write",
        "triobatch/_streams/gather.py",
        "self.left = drop(self._buffers, sent)\n        if whole:",
        "self.left = drop(self._buffers, sent - (not whole))\n"
        "        if whole:",
        ("tests/streams",),
    ),
    Fault(
        "lost EAGAIN, of a stream's calls (C)",
        NATIVE + "stream.c",
        "return errno == EINTR ? -EAGAIN : -errno;",
        "return errno == EAGAIN ? 0 : errno == EINTR ? -EAGAIN : -errno;",
        ("tests/core", "tests/streams"),
    ),
    Fault(
        "lost EAGAIN, of a batch of datagrams",
        "triobatch/_datagrams/dispatch.py",
        "            self.peer = peer\n            return Outcome.FULL\n",
        "            self.peer = peer\n            return self._done()\n",
        ("tests/datagrams",),
    ),
    Fault(
        "sent twice after EIO",
        "triobatch/_datagrams/dispatch.py",
        "        if done:\n",
        "        if done and tried.stopped != errno.EIO:\n",
        ("tests/datagrams",),
    ),
    Fault(
        "leak on cancel, of a list's buffers",
        "triobatch/_streams/sending.py",
        "        try:\n"
        "            return await self.send(buffers, refused=refused)\n"
        "        finally:\n"
        "            # Even when a traceback keeps it alive.\n"
        "            buffers.clear()\n",
        "        sent = await self.send(buffers, refused=refused)\n"
        "        buffers.clear()\n"
        "        return sent\n",
        ("tests/streams",),
    ),
    Fault(
        "leak on cancel, of a sender's room",
        "triobatch/_senders/datagram_outbox.py",
        "            self._forget(datagram)\n        self._end_flushes()\n"
        "        return tags\n",
        "            self._forget(datagram)\n"
        "            self.nbytes += len(datagram.payload)\n"
        "        self._end_flushes()\n        return tags\n",
        ("tests/senders",),
    ),
    Fault(
        "missed wake-up, of a flush",
        "triobatch/_senders/stream_outbox.py",
        "next(iter(flushing.values())) <= self._sent_size:",
        "next(iter(flushing.values())) < self._sent_size:",
        ("tests/senders",),
    ),
)
WINGS = ("tests/core", "tests/datagrams", "tests/senders", "tests/streams")
NO_FAULT = Fault("none", "", "", "", WINGS)

SANITIZED = "-fsanitize=address,undefined"
CORE_PROGRAM = (
    f"gcc -g -O1 -std=gnu11 -D_GNU_SOURCE {SANITIZED} "
    "-fno-sanitize-recover=all -I triobatch/_native tests/core_c/*.c "
    "triobatch/_native/{broadcast,stream,splice,datagrams,receive_datagrams,"
    "groups}.c -lpthread -o core_sanitized && ./core_sanitized"
)


@dataclass(frozen=True)
class Tool:
    """Something that is asked.

    Attributes:
      name: The head of its column.
      command: What is run in the copy, behind which the wing's tests go if
        it has an empty word.
      seconds: After how many it hangs.
      sources: Where the faults are that it can see.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    sources: str = "triobatch/"


TOOLS = (
    Tool("suite", (*PYTEST, "-m", ALL, "--timeout=60", ""), 900),
    Tool("models", (*PYTEST, "-m", "models", "tests/models"), 600),
    Tool(
        "network",
        (*PYTEST, "-m", ALL, "tests/testing", "tests/models/test_network.py"),
        600,
    ),
    Tool("guard", ("python", "tests/bench/guard.py"), 600),
    Tool("soak", ("python", "tests/soak/soak.py", "30"), 300),
    Tool("boundary", ("python", "tests/fuzz/boundary.py", "60"), 300),
    Tool("C fuzzer", ("python", "tests/fuzz/core/run.py", "30"), 600, NATIVE),
    Tool("C with ASAN", ("bash", "-c", CORE_PROGRAM), 300, NATIVE),
)


def plant(fault: Fault, top: Path) -> None:
    """Change the one place in a tree."""
    path = top / fault.path
    code = path.read_text("utf-8")
    if code.count(fault.code) != 1:
        raise LookupError(f"{fault.path} has no {fault.code!r}, or several")
    path.write_text(code.replace(fault.code, fault.planted), "utf-8")


def copy_tree(fault: Fault, top: Path) -> None:
    """Make a copy with the fault in it, and build it."""
    listed = subprocess.run(
        ["git", "-C", TOP, "ls-files"], stdout=subprocess.PIPE, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if (TOP / name).exists():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, top / name)
    if fault.path:
        plant(fault, top)
    built = top / "built"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--target", built, top),
        ],
        check=True,
    )
    for path in (built / "triobatch/_core").glob("*.so"):
        shutil.copy2(path, top / "triobatch/_core")
    shutil.rmtree(built)


def environment(top: Path) -> dict[str, str]:
    """Return an environment in which the copy is what is imported."""
    return os.environ | {
        "PYTHONPATH": str(top),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TRIOBATCH_MUTATED": "1",
        "TRIOBATCH_CORE": "c",
        "TRIOBATCH_FUZZ_SEED": "1000000",
        "TRIOBATCH_MODEL_EXAMPLES": "20",
    }


def ask(tool: Tool, fault: Fault, top: Path) -> tuple[bool, str]:
    """Run a tool in a copy; return whether it failed, and its last words."""
    command = [
        sys.executable if word == "python" else word
        for word in tool.command
        if word
    ]
    if "" in tool.command:
        command += fault.wing
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=top,
            env=environment(top),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(tool.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return True, f"hung for {tool.seconds} s"
        output.seek(0)
        said = output.read().decode(errors="replace").splitlines()
    return status != 0, " | ".join(said[-3:])[-300:]


def ask_all(
    faults: list[Fault], tools: list[Tool], jobs: int
) -> dict[tuple[str, str], str]:
    """Return what each tool said to each fault: ``yes``, ``no`` or a dash."""
    answers = {}
    spoken = threading.Lock()

    def one(tool: Tool, fault: Fault, top: Path) -> None:
        start = time.monotonic()
        failed, said = ask(tool, fault, top)
        took = time.monotonic() - start
        answer = answers[fault.name, tool.name] = "yes" if failed else "no"
        with spoken:
            print(
                f"{fault.name}; {tool.name}: {answer} in {took:.0f} s: {said}"
            )
            sys.stdout.flush()

    with (
        tempfile.TemporaryDirectory() as name,
        ThreadPoolExecutor(jobs) as pool,
    ):
        started = []
        for number, fault in enumerate([NO_FAULT, *faults]):
            top = Path(name) / str(number)
            copy_tree(fault, top)
            for tool in tools:
                answers[fault.name, tool.name] = "\N{EN DASH}"
                if not fault.path or fault.path.startswith(tool.sources):
                    started.append(pool.submit(one, tool, fault, top))
        for each in started:
            each.result()
    return answers


def table_of(
    faults: list[Fault],
    tools: list[Tool],
    answers: dict[tuple[str, str], str],
) -> str:
    """Return a table in reST: a row a fault, a column a tool."""
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - fault"]
    lines += [f"     - {tool.name}" for tool in tools]
    for fault in [NO_FAULT, *faults]:
        lines.append(f"   * - {fault.name}")
        lines += [f"     - {answers[fault.name, t.name]}" for t in tools]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Ask, and fail where a tool fails without a fault, or none sees one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT")
    names = [tool.name for tool in TOOLS]
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TOOL",
        choices=names,
        default=(),
        help=", ".join(names),
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    faults = [
        fault
        for fault in FAULTS
        if not options.faults
        or any(word in fault.name for word in options.faults)
    ]
    tools = [
        tool for tool in TOOLS if not options.only or tool.name in options.only
    ]
    for word in options.faults:
        if not any(word in fault.name for fault in faults):
            parser.error(f"no fault has a name with {word!r}")
    answers = ask_all(faults, tools, options.jobs)
    table = table_of(faults, tools, answers)
    print(table)
    if options.record:
        TABLE.write_text(table, "utf-8")
    wrong = [t.name for t in tools if answers["none", t.name] == "yes"]
    wrong += [
        fault.name
        for fault in faults
        if "yes" not in {answers[fault.name, tool.name] for tool in tools}
    ]
    for name in wrong:
        print(f"WRONG: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
