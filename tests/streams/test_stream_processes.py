"""What can only be seen from outside the process that sends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest


def run(program, *prefix):
    result = subprocess.run(
        [*prefix, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


_SEND = """
import json
import trio
from triobatch import BatchSocketStream, Buffers

async def main():
    left, right = map(BatchSocketStream, trio.socket.socketpair())

    async def drain():
        views = [bytearray(1000), bytearray(100_000)]
        while await right.receive_into(views) and await right.receive_some():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await left.send_all(b"one")
        for chunks in (
            [b"small"] * 10,
            [b"small"] * 3000,
            [bytes(5000)] * 1030,
            [bytearray(64), bytes(3)] * 2000,
            [bytes(2**20)] * 7,
        ):
            await left.send_buffers(chunks)
            buffers = Buffers(chunks)
            await left.send_buffers(buffers)
        await left.send_eof()
    sent, received = left.statistics(), right.statistics()
    print(
        json.dumps(
            {
                "left": left.socket.fileno(),
                "right": right.socket.fileno(),
                "sent": sent.bytes_sent,
                "received": received.bytes_received,
                "send_calls": sent.send_calls,
                "receive_calls": received.receive_calls,
            }
        )
    )

trio.run(main)
"""


_SENT = 3 + 2 * (50 + 15_000 + 1030 * 5000 + 67 * 2000 + 7 * 2**20)

_CALLS = {"left": ("send", "write"), "right": ("recv", "read")}


@pytest.fixture(scope="module")
def strace():
    """The command that begins all of strace's, if it may trace here."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    allowed = subprocess.run(
        ["strace", "true"], capture_output=True, check=False
    )
    if allowed.returncode != 0:
        pytest.skip("strace may not trace here")
    return "strace"


def test_an_interrupted_system_call_is_made_again(strace, tmp_path):
    trace = tmp_path / "trace"
    told = json.loads(
        run(
            _SEND,
            *(strace, "-o", str(trace)),
            "-e",
            "inject=sendto,sendmsg,recvmsg:error=EINTR:when=1+2",
        )
    )
    assert told["sent"] == told["received"] == _SENT
    interrupted = re.findall(r"(\w+)\(.*EINTR.*INJECTED", trace.read_text())
    assert set(interrupted) == {"sendto", "sendmsg", "recvmsg"}


def test_strace_and_the_statistics_agree(strace, tmp_path):
    trace = tmp_path / "trace"
    calls = "trace=sendto,sendmsg,write,writev,recvfrom,recvmsg,read,readv"
    told = json.loads(run(_SEND, strace, "-o", str(trace), "-e", calls))

    seen = {"left": 0, "right": 0}
    moved = {"left": 0, "right": 0}
    for line in trace.read_text().splitlines():
        call = re.match(r"\w+\((\d+), .*\) += (-?\d+)", line)
        for side, names in _CALLS.items():
            if call and int(call[1]) == told[side] and line.startswith(names):
                seen[side] += 1
                moved[side] += max(int(call[2]), 0)
    assert moved == {"left": told["sent"], "right": told["received"]}
    assert seen == {
        "left": told["send_calls"],
        "right": told["receive_calls"],
    }


_SIGPIPE = """
import signal, sys
import trio
from triobatch import BatchSocketStream, Buffers

signal.signal(signal.SIGPIPE, signal.SIG_DFL)

async def tcp():
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        left = trio.socket.socket()
        await left.connect(listener.getsockname())
        right, _ = await listener.accept()
    return left, right

async def unix():
    return trio.socket.socketpair()

async def nowait(stream):
    stream.send_buffers_nowait(Buffers([b"x"] * 3))

async def main():
    broken = 0
    for pair in (tcp, unix):
        for send in (
            lambda stream: stream.send_all(b"x"),
            lambda stream: stream.send_all(bytearray(b"x")),
            lambda stream: stream.send_buffers([b"x"] * 3),
            lambda stream: stream.send_buffers([bytes(5000)] * 3),
            lambda stream: stream.send_buffers([bytearray(5000)] * 3),
            lambda stream: stream.send_buffers(Buffers([b"x"] * 3)),
            lambda stream: stream.send_buffers(Buffers([bytes(9000)] * 3)),
            nowait,
        ):
            left, right = map(BatchSocketStream, await pair())
            await right.aclose()
            try:
                while True:
                    await send(left)
            except trio.BrokenResourceError:
                broken += 1
            await left.aclose()
    print(broken)

trio.run(main)
"""


def test_a_process_survives_a_peer_that_closed():
    # With SIGPIPE at its default, os.writev and socket.send kill it.
    assert run(_SIGPIPE) == "16\n"
