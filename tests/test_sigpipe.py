"""A peer that goes while the kernel sends by pages.

``sendfile(2)`` and ``splice(2)`` then say what was taken before, and leave a
SIGPIPE that no flag prevents. Programs that have put it back to its default,
as those do that end with ``| head``, must not die of it.
"""

from __future__ import annotations

import pytest
from faults import build, needs_preload, run

from triobatch._core.choice import CORE

PROGRAM = """
import ctypes, signal, socket, sys, tempfile
import trio, triobatch

BROKEN = 4
libc = ctypes.CDLL(None)
count = ctypes.c_long.in_dll(libc, "fault_count")
SIZE = 4_000_000
signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    wrap = trio.socket.from_stdlib_socket
    return [triobatch.BatchSocketStream(wrap(end)) for end in (near, far)]


async def whole(stream):
    data = b""
    while len(data) < SIZE:
        data += await stream.receive_some(SIZE)
    assert data == bytes(SIZE)


async def send_file():
    near, far = pair()
    libc.set_fault(near.socket.fileno(), BROKEN)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(SIZE))
        file.flush()
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(whole, far)
            await near.send_file(file)


async def relay():
    first, a = pair()
    b, last = pair()
    libc.set_fault(b.socket.fileno(), BROKEN)
    async with first, last, trio.open_nursery() as nursery:
        nursery.start_soon(triobatch.relay, a, b)
        nursery.start_soon(first.send_all, bytes(SIZE))
        await whole(last)
        await last.aclose()
        await first.aclose()


async def main():
    await {"send_file": send_file, "relay": relay}[sys.argv[1]]()
    print(count.value > 0, signal.SIGPIPE in signal.sigpending())


trio.run(main)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("libc"))


@needs_preload
@pytest.mark.parametrize("way", ["send_file", "relay"])
def test_a_peer_that_goes_in_the_middle_does_not_kill_the_process(
    library, way
):
    if way == "relay" and CORE == "python":
        pytest.skip("it copies, with MSG_NOSIGNAL")
    assert run(library, PROGRAM, way) == ["True False"]
