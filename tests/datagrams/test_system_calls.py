"""The system calls of datagrams, counted and failed from outside.

strace can make a call fail as if the kernel had refused it, which loopback
never does by itself.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys

import pytest
from receive_buffer import needs_room

from triobatch._core.choice import CORE
from triobatch._core.probes import gso_segments

# Half a second each: a process of its own, and strace.
pytestmark = pytest.mark.slow

# One call for a batch; the Python core makes one for each datagram.
SENDS = "sendmmsg" if CORE == "c" else "sendto"
RECEIVES = "recvmmsg,recvmsg"


PRELUDE = """
import json, socket
import trio
from triobatch import Datagrams, DatagramErrorGroup, DatagramSocket

def bound():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("127.0.0.1", 0))
    return DatagramSocket(trio.socket.from_stdlib_socket(sock))

async def arrived(sock):
    received = []
    try:
        while True:
            received += [p.decode() for p, _ in sock.receive_batch_nowait()]
    except trio.WouldBlock:
        return received
"""


@pytest.fixture(scope="module")
def strace():
    """A function that runs a program under strace.

    It returns what the program printed, read as JSON, and the trace.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    allowed = subprocess.run(
        ["strace", "true"], capture_output=True, check=False
    )
    if allowed.returncode != 0:
        pytest.skip("strace may not trace here")

    def run(program, path, calls, inject=None):
        command = ["strace", "-o", str(path), "-e", f"trace={calls}"]
        if inject:
            command += ["-e", f"inject={calls}:{inject}"]
        result = subprocess.run(
            [*command, sys.executable, "-c", PRELUDE + program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        # Without the lines about signals and the exit.
        trace = re.findall(r"^\w+\(.*", path.read_text(), re.MULTILINE)
        return json.loads(result.stdout), trace

    return run


SEND = """
async def main():
    sender, receiver = bound(), bound()
    target = receiver.socket.getsockname()
    # Each is larger than the last, so none is part of a run.
    payloads = [("%d" % i).zfill(3 + i) for i in range(500)]
    queue = Datagrams((p.encode(), target) for p in payloads)
    refused = []
    try:
        await sender.send_batch(queue)
    except DatagramErrorGroup as group:
        refused = [(e.index, e.errno) for e in group.exceptions]
    left = [p.decode() for p, _ in queue]
    got = await arrived(receiver)
    order = {p: i for i, p in enumerate(payloads)}
    print(json.dumps({
        "whole": sorted(got + left, key=order.__getitem__) == payloads,
        "in order": got == sorted(got, key=order.__getitem__),
        "left": len(left),
        "refused": refused,
    }))

trio.run(main)
"""


@needs_room
@pytest.mark.parametrize("error", ["EINTR", "EAGAIN", "ENOBUFS", "ENOMEM"])
@pytest.mark.parametrize("when", ["1..3", "2+3"])
def test_an_error_that_passes_loses_and_repeats_nothing(
    strace, tmp_path, error, when
):
    outcome, trace = strace(
        SEND, tmp_path / "trace", SENDS, f"error={error}:when={when}"
    )
    assert outcome == {
        "whole": True,
        "in order": True,
        "left": 0,
        "refused": [],
    }
    injected = sum("(INJECTED)" in line for line in trace)
    assert injected
    # No spin: about one try more for each failure.
    least = -(-500 // 64) if CORE == "c" else 500
    assert len(trace) <= least + 2 * injected


@needs_room
@pytest.mark.parametrize("error", ["EPERM", "EIO"])
def test_a_refusal_is_charged_to_one_datagram(strace, tmp_path, error):
    outcome, _ = strace(
        SEND, tmp_path / "trace", SENDS, f"error={error}:when=1"
    )
    assert outcome.pop("refused") == [[0, getattr(errno, error)]]
    assert outcome == {"whole": True, "in order": True, "left": 1}


RUN = """
async def main():
    sender, receiver = bound(), bound()
    target = receiver.socket.getsockname()
    payloads = ["%04d" % i for i in range(500)]
    data = [p.encode() for p in payloads]
    got = []
    await sender.send_batch([(p, target) for p in data])
    got.append(await arrived(receiver) == payloads)
    await sender.send_many(data, target)
    got.append(await arrived(receiver) == payloads)
    await sender.send_segments(b"".join(data), 4, target)
    got.append(await arrived(receiver) == payloads)
    print(json.dumps([got, sender.statistics().gso_refusals]))

trio.run(main)
"""


@pytest.mark.skipif(
    CORE != "c",
    reason="the standard library sends a run as the probe for runs is sent",
)
@pytest.mark.skipif(gso_segments() == 1, reason="needs UDP_SEGMENT")
@pytest.mark.parametrize(("error", "when"), [("EIO", 1), ("EINVAL", 2)])
def test_a_refused_run_goes_again_unsegmented(strace, tmp_path, error, when):
    (got, refusals), trace = strace(
        RUN, tmp_path / "trace", SENDS, f"error={error}:when={when}"
    )
    assert got == [True, True, True]
    assert refusals == {error: 1}
    failed = next(i for i, line in enumerate(trace) if "INJECTED" in line)
    assert "cmsg_type=0x67" in trace[failed]
    # It rests, for the other calls too.
    assert not any("cmsg_type=0x67" in line for line in trace[failed + 1 :])


RECEIVE = """
async def main():
    sender, receiver = bound(), bound()
    target = receiver.socket.getsockname()
    got, errors = [], []
    payloads = ["%d" % i for i in range(200)]
    for i, payload in enumerate(payloads):
        await sender.send(payload.encode(), target)
    while len(got) < 200:
        try:
            with trio.fail_after(60):
                got += [p.decode() for p, _ in await receiver.receive_batch(7)]
        except OSError as error:
            errors.append(error.errno)
    reports = receiver.statistics().reports
    print(json.dumps([got == payloads, errors, reports]))

trio.run(main)
"""


@pytest.mark.parametrize(
    "error", ["EINTR", "EAGAIN", "ECONNREFUSED", "EHOSTUNREACH"]
)
def test_receiving_goes_on_after_what_passes(strace, tmp_path, error):
    (whole, errors, reports), trace = strace(
        RECEIVE, tmp_path / "trace", RECEIVES, f"error={error}:when=1..3"
    )
    assert (whole, errors) == (True, [])
    injected = sum("(INJECTED)" in line for line in trace)
    assert injected
    if CORE == "c":
        assert reports == (injected if error.startswith(("EC", "EH")) else 0)
        assert len(trace) <= -(-200 // 64) + 2 * injected


@pytest.mark.skipif(CORE != "c", reason="about a retry of the C core")
def test_the_errno_that_a_signal_leaves_behind_is_no_error(strace, tmp_path):
    # ERESTARTSYS, which is the kernel's own; see datagrams.c.
    (whole, errors, _), _ = strace(
        RECEIVE, tmp_path / "trace", RECEIVES, "error=512:when=1..2"
    )
    assert (whole, errors) == (True, [])


def test_a_failed_receive_raises_and_loses_nothing(strace, tmp_path):
    (whole, errors, _), _ = strace(
        RECEIVE, tmp_path / "trace", RECEIVES, "error=ENOTCONN:when=1..2"
    )
    assert (whole, len(errors)) == (True, 2)


COUNT = """
async def main():
    sender, receiver = bound(), bound()
    target = receiver.socket.getsockname()
    payloads = [bytes(1200)] * 64
    pairs = [(payload, target) for payload in payloads]
    numbers = []
    for send in (
        lambda: sender.send_many(map(bytes, range(64)), target),
        lambda: sender.send_many(payloads, target),
        lambda: sender.send_batch(pairs),
        lambda: sender.send_batch(Datagrams(pairs)),
        lambda: sender.send_segments(bytes(1200 * 64), 1200, target),
        lambda: sender.send(bytes(1200), target),
        lambda: sender.send_many(payloads[:1], target),
        lambda: sender.send_segments(bytes(1200), 1200, target),
    ):
        await send()
        count = len(await receiver.receive_batch())
        numbers.append(
            [
                count,
                sender.statistics().send_calls,
                receiver.statistics().receive_calls,
            ]
        )
    print(json.dumps([
        sender.socket.fileno(), receiver.socket.fileno(), numbers
    ]))

trio.run(main)
"""


@pytest.mark.skipif(CORE != "c", reason="one call a batch is the C core's")
def test_a_batch_is_one_call_each_way(strace, tmp_path):
    (sender, receiver, numbers), trace = strace(
        COUNT,
        tmp_path / "trace",
        "sendmmsg,sendmsg,sendto,recvmmsg,recvmsg,recvfrom",
    )
    sent = [t for t in trace if re.match(rf"send\w+\({sender},", t)]
    received = [t for t in trace if re.match(rf"recv\w+\({receiver},", t)]
    named = [line.split("(")[0] for line in sent]
    assert named == ["sendmmsg"] * 5 + ["sendto"] * 2 + ["sendmmsg"]
    assert [line.split("(")[0] for line in received] == ["recvmmsg"] * 8
    # The statistics count the same.
    expected = [64] * 5 + [1] * 3
    assert numbers == [
        [count, i + 1, i + 1] for i, count in enumerate(expected)
    ]
    segmented = ["cmsg_type=0x67" in line for line in sent]
    # Nothing to cut, so the kernel is not asked to: some cards refuse that.
    assert segmented[0] is False
    assert segmented[1:5] == [gso_segments() > 1] * 4
    assert segmented[5:] == [False] * 3
