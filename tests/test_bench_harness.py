"""What the benchmarks' figures rest on: turns, acknowledgements, ratios."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

if not hasattr(os, "sched_setaffinity"):
    # Other systems have none, nor has PyPy.
    pytest.skip("the benchmarks keep to processors", allow_module_level=True)

from harness import contestants
from harness.build import Programs
from harness.bystanders import Bystanders
from harness.families import Case, Contestant, Family, Figure
from harness.rounds import WARM_UP, expected, run_family

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="needs a C compiler"
)

# Answers what its argument says, and notes whose turn it was.
DRIVER = """
import json, sys
name, log, seconds, lost = sys.argv[1:]
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    word, case, count, *options = line.split()
    if lost == "dies":
        sys.exit(3)
    if lost == "babbles":
        print("no JSON", flush=True)
        continue
    with open(log, "a") as file:
        print(name, case, count, *options, file=file)
    arrived = int(count) * 10 - (0 if lost == "nothing" else int(lost))
    spent = int(count) * float(seconds)
    print(json.dumps({"seconds": spent, "count": int(count),
                      "bytes": arrived}), flush=True)
"""


def check(case, count, answer):
    return None if answer["bytes"] == count * 10 else "bytes are missing"


def family_of(tmp_path, *contestants, **more):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    log = str(tmp_path / "log")
    return Family(
        name="some",
        title="Some test",
        contestants=tuple(
            Contestant(name, "trio", str(driver), (name, log, seconds, lost))
            for name, seconds, lost in contestants
        ),
        cases=(Case("small", "small ones"), Case("large", "large ones")),
        figures=(
            Figure("time", "s", lambda a: a["seconds"] / a["count"]),
            Figure("rate", "a s", lambda a: a["count"] / a["seconds"], "more"),
        ),
        seconds=1.0,
        check=check,
        **more,
    )


def ignore(benchmark, what, seconds):
    """Show no progress."""


def measure(family, rounds=3, progress=ignore):
    with Programs() as programs:
        return run_family(
            family,
            programs,
            peers=None,
            rounds=rounds,
            seconds=None,
            progress=progress,
        )


def turns(tmp_path):
    return [
        line.split() for line in (tmp_path / "log").read_text().splitlines()
    ]


def test_contestants_take_turns_after_a_warm_up(tmp_path):
    family = family_of(
        tmp_path, ("A", "0.5", "nothing"), ("B", "0.25", "nothing")
    )
    measure(family)
    small = [turn for turn in turns(tmp_path) if turn[1] == "small"]
    assert [turn[0] for turn in small[-6:]] == ["A", "B"] * 3
    # About a second each: so many operations as fit.
    assert {turn[2] for turn in small[-6:] if turn[0] == "A"} == {"2"}
    assert {turn[2] for turn in small[-6:] if turn[0] == "B"} == {"4"}


def test_contents_are_verified_once_before_anything_is_timed(tmp_path):
    measure(family_of(tmp_path, ("A", "0.5", "nothing")))
    for case in ("small", "large"):
        options = [turn[3:] for turn in turns(tmp_path) if turn[1] == case]
        assert options[0] == ["verify=1"]
        assert not any(options[1:])


@pytest.mark.parametrize("lost", ["1", "-1", "dies", "babbles"])
def test_a_contestant_that_loses_bytes_is_out_and_named(
    tmp_path, lost, capsys
):
    family = family_of(
        tmp_path, ("good", "0.5", "nothing"), ("bad", "0.5", lost)
    )
    result = measure(family)
    (failure,) = result.failures
    assert "bad" in failure
    for row in result.answers.values():
        assert list(row) == ["good"]
        assert len(row["good"]) == 3
    assert "bad" in capsys.readouterr().err


def test_a_contestant_that_hangs_is_out(tmp_path, monkeypatch):
    monkeypatch.setattr(contestants, "PATIENCE", 0.1)
    driver = contestants.Driver("mute", ["sleep", "60"], {0})
    try:
        with pytest.raises(contestants.ContestantError, match="mute hung"):
            driver.read()
    finally:
        driver.end()


def test_a_peer_that_is_not_installed_is_skipped_and_says_how(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    family = family_of(tmp_path, ("A", "0.5", "nothing"))
    absent = Contestant("gone", "go", "no_such_file.go")
    family = Family(
        **{**vars(family), "contestants": (*family.contestants, absent)}
    )
    result = measure(family)
    assert not result.failures
    assert "apt-get install golang-go" in result.skipped["go"]
    assert list(result.answers["small"]) == ["A"]


def test_progress_ends_with_what_was_expected(tmp_path):
    family = family_of(
        tmp_path, ("A", "0.5", "nothing"), ("B", "0.25", "nothing")
    )
    told = []
    measure(family, progress=lambda *what: told.append(what))
    planned = expected(family, None, 3, None)
    # A second each, of two contestants with two cases.
    assert planned > 4 * (3 + WARM_UP)
    assert sum(seconds for _, _, seconds in told) == pytest.approx(planned)
    assert {benchmark for benchmark, _, _ in told} == {"some"}


def test_nothing_is_expected_of_what_this_machine_lacks(tmp_path):
    family = family_of(
        tmp_path, ("A", "0.5", "nothing"), needs=lambda: "no disk"
    )
    assert expected(family, None, 3, None) == 0
    assert measure(family).lacking == "no disk"


SPIN = """
import time
while time.process_time() < 0.5:
    pass
print(flush=True)
input()
"""


def test_a_process_of_somebody_else_is_told_from_a_child_that_ended():
    bystanders = Bystanders()
    with subprocess.Popen(
        [sys.executable, "-c", SPIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as spinner:
        spinner.stdout.readline()
        # Not waited for: the kernel does not count it as ours yet.
        start = time.monotonic()
        before = bystanders.seconds()
        assert bystanders.share() > 0
        spinner.communicate(b"\n")
    after = bystanders.seconds()
    # Others may have worked meanwhile, on every processor.
    theirs = (time.monotonic() - start) * os.cpu_count()
    assert before - after > 0.4 - theirs


@needs_compiler
@pytest.mark.slow
def test_a_broadcast_sink_that_is_held_up_still_counts_every_byte(
    monkeypatch,
):
    # It used to take a message for the last broadcast's, when it found that
    # before it found the header of the next one, and then waited for ever.
    monkeypatch.setattr(contestants, "PATIENCE", 20.0)
    ended = threading.Event()
    pause = random.Random(5)

    def hold_up(pid):
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(pause.uniform(0, 0.0005))
            os.kill(pid, signal.SIGCONT)
            ended.wait(pause.uniform(0, 0.0005))

    with Programs() as programs, ExitStack() as stack:
        everywhere = os.sched_getaffinity(0)

        def start(source, *arguments):
            command = programs.command(source, *arguments)
            driver = contestants.Driver(source, command, everywhere)
            stack.callback(driver.end)
            return driver, driver.read()

        sink, ready = start("broadcast_sink.c")
        sender, _ = start("c_broadcast.c", str(ready["port"]))
        thread = threading.Thread(target=hold_up, args=(sink.pid,))
        thread.start()
        try:
            for _ in range(1000):
                answer = sender.measure("some", 2, connections=10, size=200)
                assert answer["bytes"] == 4000
        finally:
            ended.set()
            thread.join()
