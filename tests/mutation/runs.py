"""Tests in forked processes: which run which line, and whether one fails."""

from __future__ import annotations

import collections
import contextlib
import marshal
import os
import resource
import signal
import sys
import threading
import time

import hypothesis
import pytest

# What is imported already.
WARNINGS = "ignore::pytest.PytestAssertRewriteWarning"
# What a change that allocates without end may have.
MOST_MEMORY = 6 * 2**30
# How many calls of a function are followed in one test.
MOST_CALLS = 100


def prepare(top):
    """Make this process one to fork from, which has not got the package."""
    sys.path[:0] = [str(top), str(top / "tests"), str(top / "tests/bench")]
    os.environ["PYTHONPATH"] = str(top)
    hypothesis.settings.register_profile(
        "mutation",
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    os.chdir(top)


class _Coverage:
    """Notes the lines of the package that each test runs, and its time."""

    def __init__(self, top):
        self._package = str(top / "triobatch")
        self._now = None
        self._calls = collections.Counter()
        # Line by line, file by file, the tests; None is for the import.
        self.seen = {}
        self.times = {}
        self.failed = set()

    def start(self):
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame, event, arg):
        name = frame.f_code.co_filename
        if not name.startswith(self._package):
            return None
        self._calls[frame.f_code] += 1
        if self._calls[frame.f_code] > MOST_CALLS:
            return None
        lines = self.seen.setdefault(name, {})

        def note(frame, event, arg):
            lines.setdefault(frame.f_lineno, set()).add(self._now)
            return note

        return note(frame, event, arg)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._now = item.nodeid
        self._calls.clear()
        start = time.monotonic()
        # A test may have traced, itself.
        sys.settrace(self._call)
        try:
            return (yield)
        finally:
            self.times[item.nodeid] = time.monotonic() - start
            self._now = None

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)


class _Chosen:
    """Leaves some tests, in their order."""

    def __init__(self, tests):
        self._rank = {test: rank for rank, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        kept = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(kept, key=lambda item: self._rank[item.nodeid])


def _run(arguments, *plugins):
    """Run pytest in silence; return its exit code."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    return pytest.main(
        [
            *("-q", "-p", "no:cacheprovider", "-W", WARNINGS),
            *("--hypothesis-profile", "mutation"),
            *arguments,
        ],
        plugins=plugins,
    )


def coverage(top, files):
    """Run test files once, with the changes of none.

    Returns:
      The tests that run each line of each file, None for the import; the
      seconds that each takes; the tests that fail; what they have imported.
    """
    result = top / "coverage.marshal"
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            noted = _Coverage(top)
            noted.start()
            _run(files, noted)
            sys.settrace(None)
            others = [
                name
                for name, module in list(sys.modules.items())
                if not (getattr(module, "__file__", None) or "").startswith(
                    str(top)
                )
                and not name.startswith(("triobatch", "test", "conftest"))
            ]
            found = noted.seen, noted.times, noted.failed, others
            result.write_bytes(marshal.dumps(found))
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit("the tests cannot be run")
    return marshal.loads(result.read_bytes())


def is_killed(tests, patience):
    """Run some tests, the first ones first; tell whether one fails.

    Which it does, too, if they are not done after ``patience`` seconds.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setpgid(0, 0)
            # Nothing is kept of it: other changes come to the same files.
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            files = sorted({test.partition("::")[0] for test in tests})
            code = _run(
                ["-x", f"--timeout={patience}", *files], _Chosen(tests)
            )
        finally:
            os._exit(int(code))
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True
