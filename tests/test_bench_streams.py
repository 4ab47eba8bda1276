"""The benchmarks of relays and readers count what arrived, and all of it."""

import os
import shutil
import subprocess
import sys

import pytest

if not hasattr(os, "sched_setaffinity") or shutil.which("cc") is None:
    pytest.skip(
        "the benchmarks keep to processors, and need a C compiler",
        allow_module_level=True,
    )

from cases import readers, stream_relays
from harness.build import Programs
from harness.contestants import ContestantError, Driver
from harness.rounds import run_family

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "family",
    [stream_relays.FAMILY, readers.FAMILY],
    ids=lambda family: family.name,
)
def test_every_contestant_hands_over_what_was_sent(family):
    with Programs() as programs:
        result = run_family(
            family,
            programs,
            peers={"trio", "asyncio", "c"},
            rounds=1,
            seconds=0.01,
            progress=lambda *what: None,
        )
    assert result.failures == []
    for case in family.cases:
        assert len(result.answers[case.name]) >= 4


# Hands on all bytes but one, which it changes; or none of those after it.
RELAY = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
first, second = listener.accept()[0], listener.accept()[0]
data = bytearray(first.recv(100, socket.MSG_WAITALL))
data[7] ^= 1
second.sendall(data if sys.argv[1] == "changes" else data[:7])
if sys.argv[1] == "changes":
    first.recv(1)
"""


@pytest.mark.parametrize("fault", ["changes", "loses"])
def test_a_relay_that_changes_or_loses_a_byte_is_found_out(fault):
    case = stream_relays.FAMILY.cases[0]
    with (
        Programs() as programs,
        subprocess.Popen(
            [sys.executable, "-c", RELAY, fault],
            stdout=subprocess.PIPE,
            text=True,
        ) as relay,
    ):
        port = relay.stdout.readline().rpartition(":")[2].strip(" }\n")
        command = programs.command("stream_relay_load.c", port)
        load = Driver("load", command, {0})
        try:
            load.read()
            if fault == "loses":
                with pytest.raises(ContestantError, match="lost something"):
                    load.measure(case.name, 1, block=100, verify=1)
                return
            answer = load.measure(case.name, 1, block=100, verify=1)
        finally:
            load.end()
            relay.kill()
    assert answer["bytes"] == 100
    wrong = stream_relays.check(
        type(case)("bulk", "bulk", {"block": 100}), 1, answer
    )
    assert wrong == "1 bytes are not what was sent"
