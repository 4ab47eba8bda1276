"""A host that is gone without a word, and a sample that notices it."""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio
from network import needs_namespaces, two_hosts
from sample_files import import_sample

import triobatch

PEER = ("10.77.0.2", 9000)


@pytest.mark.slow
@needs_namespaces
async def test_a_dead_host_breaks_who_sends_and_who_only_waits():
    notice_death = import_sample("how_to/dead_peer.py").notice_death
    broken = []

    async def find_it_dead(stream, said):
        await stream.send_all(said)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert isinstance(caught.value.__cause__, TimeoutError)
        broken.append(said)

    with contextlib.ExitStack() as stack:
        near, far = stack.enter_context(two_hosts())
        stack.enter_context(trio.fail_after(60))
        with trio.socket.from_stdlib_socket(far.socket()) as listener:
            await listener.bind(PEER)
            listener.listen()
            streams = []
            for _ in range(2):
                sock = near.socket(socket.AF_INET, socket.SOCK_STREAM)
                own = trio.socket.from_stdlib_socket(sock)
                await own.connect(PEER)
                streams.append(triobatch.BatchSocketStream(own))
                notice_death(streams[-1], 2)
            # Nobody answers for its address any more, and nobody says so.
            (link,) = (
                line.split()
                for line in near.output("ip", "-o", "neighbour").splitlines()
            )
            near.run(
                *("ip", "neighbour", "replace", PEER[0], "dev", "veth"),
                *("lladdr", link[link.index("lladdr") + 1]),
                *("nud", "permanent"),
            )
            far.run("ip", "address", "flush", "dev", "veth")
            async with trio.open_nursery() as nursery:
                for stream, said in zip(streams, (b"", b"x"), strict=True):
                    nursery.start_soon(find_it_dead, stream, said)
            for stream in streams:
                await trio.aclose_forcefully(stream)
    assert sorted(broken) == [b"", b"x"]
