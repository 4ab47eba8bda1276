"""Memory with triobatch: ``triobatch_memory.py idle PORT``, or ``queue WAY``.

``idle-group`` is for TCP connections in one stream group. WAY is ``buffers``,
``datagrams`` or ``sender``.
"""

import sys

import trio
from measuring import requests
from memory_measuring import (
    LOOPBACK,
    Growth,
    crowds,
    full_socket,
    greet,
    messages,
    raise_limit,
)
from trio.testing import wait_all_tasks_blocked
from trio_memory import run_idle

from triobatch import (
    BatchSocketStream,
    Buffers,
    Datagrams,
    open_batch_sender,
    open_stream_group,
    open_tcp_listeners,
    open_udp_socket,
    serve_tcp,
)


async def udp(served):
    sock = await open_udp_socket(local_address=(LOOPBACK, 0))
    greet(sock.socket.getsockname())
    await sock.receive()
    served.append(sock)
    await sock.receive_batch()


async def idle_group(port):
    raise_limit()
    (listener,) = await open_tcp_listeners(0, host=LOOPBACK)
    own_port = listener.socket.getsockname()[1]
    async with open_stream_group() as group, trio.open_nursery() as nursery:

        async def accept():
            while True:
                group.add(await listener.accept())

        nursery.start_soon(accept)
        nursery.start_soon(group.receive_batch)
        for request in requests():
            growth = Growth()
            before = len(group)
            for there in crowds(port, own_port, request.count):
                while len(group) < before + there:
                    await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
            growth.report(request.count)
        nursery.cancel_scope.cancel()


async def buffers():
    kept = []
    for request in requests():
        growth = Growth()
        kept.append(Buffers(messages(request)))
        growth.report(request.count)


async def datagrams():
    kept = []
    peer = (LOOPBACK, 9)
    for request in requests():
        growth = Growth()
        kept.append(Datagrams((data, peer) for data in messages(request)))
        growth.report(request.count)


async def sender():
    """Queue for a connection whose peer does not read."""
    plain, listener = full_socket()
    stream = BatchSocketStream(trio.socket.from_stdlib_socket(plain))
    with listener:
        async with open_batch_sender(stream, max_buffered=1 << 40) as outlet:
            for request in requests():
                growth = Growth()
                for message in messages(request):
                    outlet.send_nowait(message)
                # Its task takes what there is, and waits.
                await wait_all_tasks_blocked()
                growth.report(request.count)


if __name__ == "__main__":
    if sys.argv[1] == "idle":
        trio.run(run_idle, int(sys.argv[2]), serve_tcp, udp)
    elif sys.argv[1] == "idle-group":
        trio.run(idle_group, int(sys.argv[2]))
    else:
        ways = {"buffers": buffers, "datagrams": datagrams, "sender": sender}
        trio.run(ways[sys.argv[2]])
