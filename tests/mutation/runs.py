"""Tests in forked processes: which run which line, and whether one fails.

What costs most of a test run is to begin it. So pytest collects a wing's tests
once, in a process from which one is forked for each change: there, functions
get the code of the changed ones. What a module does when it is imported cannot
be changed like that, and is tried in a run of its own.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import marshal
import mmap
import os
import resource
import signal
import sys
import time
import types

import coverage
import hypothesis
import pytest

# What a change that allocates without end may have.
MOST_MEMORY = 6 * 2**30


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


def _pytest(arguments, plugin):
    """Run pytest in silence; return its exit code."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    return pytest.main(
        [
            *("-q", "-s", "-p", "no:cacheprovider", "--timeout=60"),
            # What is imported already.
            *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
            *("--hypothesis-profile", "mutation"),
            *arguments,
        ],
        plugins=[plugin],
    )


class Session:
    """The collected tests of some files."""

    def __init__(self, items):
        self._items = {item.nodeid: item for item in items}

    def run(self, tests):
        """Run tests, here and now, as pytest does."""
        items = [self._items[test] for test in tests]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(
                item=item, nextitem=following
            )

    def coverage(self, top, functions):
        """Run all tests in a fork, with the changes of none.

        Returns:
          The tests that run each line of each file; the seconds that each
          takes; the tests that fail.
        """
        result = top / "coverage.marshal"
        child = os.fork()
        if not child:
            noted = _Coverage(top, functions)
            for item in self._items.values():
                item.config.pluginmanager.register(noted)
                break
            noted.start()
            self.run(self._items)
            found = noted.stop(), noted.times, noted.failed
            result.write_bytes(marshal.dumps(found))
            os._exit(0)
        os.waitpid(child, 0)
        return marshal.loads(result.read_bytes())

    def is_killed(self, change, patience):
        """Tell whether one of the tests fails after a change.

        Args:
          change: Makes it.
          patience: The seconds that each test may take, by its name.
        """
        tests = list(patience)
        with mmap.mmap(-1, mmap.PAGESIZE) as done:

            def run():
                change()
                ending = _Ending(done)
                self._items[tests[0]].config.pluginmanager.register(ending)
                self.run(tests)
                return 0

            return _is_killed(run, list(patience.values()), done)


class _Ending:
    """Ends the process with the first failure, and counts what is done."""

    def __init__(self, done):
        self._done = done

    def pytest_runtest_logreport(self, report):
        if report.failed:
            os._exit(1)
        if report.when == "teardown":
            self._done[:4] = (_number(self._done) + 1).to_bytes(4, "little")


def _number(done):
    return int.from_bytes(done[:4], "little")


class _Loop:
    """Does something else with the collected tests than to run them."""

    def __init__(self, work):
        self._work = work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self._work(Session(session.items))
        return True


def collect(files, work):
    """Collect tests in a forked process, and call ``work`` there."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = _pytest(files, _Loop(work))
        finally:
            os._exit(int(code))
    return child


class _Coverage:
    """Notes the lines of the package that each test runs, and its time."""

    def __init__(self, top, functions):
        self._forget = functions.forget
        self._coverage = coverage.Coverage(
            data_file=None, config_file=False, source=[str(top / "triobatch")]
        )
        self.times = {}
        self.failed = set()

    def start(self):
        self._coverage.start()

    def stop(self):
        """Return the tests that run each line of each file."""
        self._coverage.stop()
        data = self._coverage.get_data()
        return {
            name: {
                line: set(tests)
                for line, tests in data.contexts_by_lineno(name).items()
            }
            for name in data.measured_files()
        }

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        # Or only the first would be seen to run what all of them need.
        self._forget()
        self._coverage.switch_context(item.nodeid)
        start = time.monotonic()
        try:
            return (yield)
        finally:
            self.times[item.nodeid] = time.monotonic() - start

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


def is_killed_from_its_import(tests, patience):
    """Tell whether a test fails where the package is imported now."""
    files = sorted({test.partition("::")[0] for test in tests})
    return _is_killed(
        lambda: _pytest(["-x", *files], _Chosen(tests)), [patience], bytes(4)
    )


def _is_killed(run, patience, done):
    """Run something in a fork; tell whether it comes to another code than 0.

    Which it does, too, if one of its parts takes longer than it may.

    Args:
      run: What is run.
      patience: The seconds that each part of it may take.
      done: Holds how many of them are done.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setpgid(0, 0)
            # Nothing is kept of it: other changes come to the same files.
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            os.environ["TRIOBATCH_MUTATED"] = "1"
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            code = run()
        finally:
            os._exit(int(code))
    part, since = 0, time.monotonic()
    # The last may go on for a moment after its end.
    while time.monotonic() - since < [*patience, 5][part]:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) != 0
        if part != _number(done):
            part, since = _number(done), time.monotonic()
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


class Functions:
    """The functions of the package, whose code can be changed."""

    def __init__(self, top):
        # conftest.py has hidden what was there when tests were collected.
        gc.unfreeze()
        self._of = collections.defaultdict(list)
        self._caches = []
        package = str(top / "triobatch")
        for found in gc.get_objects():
            if isinstance(found, types.FunctionType):
                code = found.__code__
                if code.co_filename.startswith(package):
                    self._of[_name_of(code)].append(found)
            elif isinstance(found, functools._lru_cache_wrapper) and str(
                found.__module__
            ).startswith("triobatch"):
                self._caches.append(found)
        gc.freeze()

    def change(self, before, after, *, every=False):
        """Give functions the code that they have after a change.

        Args:
          before: The code of the module, which was compiled with it.
          after: The other.
          every: Whether those get theirs, too, that are as before.
        """
        protection = sys.modules["trio._core._ki"]
        protection = protection._CODE_KI_PROTECTION_STATUS_WMAP
        for outer in _pairs(before, after, every=every):
            for old, new in _with_inner(*outer):
                for function in self._of[_name_of(old)]:
                    # Whether Ctrl-C is held off goes by the code.
                    with contextlib.suppress(KeyError):
                        protection[new] = protection[function.__code__]
                    function.__code__ = new
        self.forget()

    def forget(self):
        """Empty the package's caches."""
        for cache in self._caches:
            cache.cache_clear()

    def has(self, before, after):
        """Whether all that differs is the code of functions."""
        return before == after or (
            _without_functions(before) == _without_functions(after)
            and all(
                self._of[_name_of(old)] and old.co_freevars == new.co_freevars
                for old, new in _pairs(before, after)
            )
        )


def _name_of(code):
    return code.co_filename, code.co_firstlineno, code.co_name


def _nested(code):
    return [one for one in code.co_consts if isinstance(one, types.CodeType)]


def _is_function(code):
    # Of a module or the body of a class, no more than once.
    return bool(code.co_flags & 2)


def _pairs(before, after, *, every=False):
    """Yield the outermost functions that differ, before and after."""
    for old, new in zip(_nested(before), _nested(after), strict=True):
        if _is_function(old):
            if every or old != new:
                yield old, new
        else:
            yield from _pairs(old, new, every=every)


def _with_inner(old, new):
    """Yield a function's code and that of those in it, before and after.

    A decorator has made its own while the package was imported.
    """
    yield old, new
    olds, news = _nested(old), _nested(new)
    names = [one.co_name for one in olds]
    if names == [one.co_name for one in news]:
        for inner in zip(olds, news, strict=True):
            # Two on one line would be taken for one another.
            alone = names.count(inner[0].co_name) == 1
            if alone and inner[0].co_freevars == inner[1].co_freevars:
                yield from _with_inner(*inner)


def _without_functions(code):
    """Return what a module, or a class, does by itself."""
    return (
        code.co_code,
        code.co_names,
        [
            one
            if not isinstance(one, types.CodeType)
            else ()
            if _is_function(one)
            else _without_functions(one)
            for one in code.co_consts
        ],
    )
