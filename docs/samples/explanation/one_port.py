"""Two servers on one port, as two processes would be, and some clients."""

from __future__ import annotations

import trio

import triobatch


async def echo(
    datagrams: list[tuple[bytes, triobatch.Address]],
    sender: triobatch.DatagramBatchSender,
) -> None:
    await sender.send_batch(datagrams)


async def serve(
    port: int,
    task_status: trio.TaskStatus[list[triobatch.DatagramSocket]],
) -> None:
    # For TCP: open_tcp_listeners(port, reuse_port=True).
    await triobatch.serve_udp(
        echo,
        port,
        host="127.0.0.1",
        reuse_port=True,
        receive_buffer_size=4 << 20,
        task_status=task_status,
    )


async def main() -> None:
    async with trio.open_nursery() as nursery:
        # In programs of their own, started once a processor, these are one
        # `trio.run` each.
        (first,) = await nursery.start(serve, 0)
        (second,) = await nursery.start(serve, first.local_address[1])
        assert first.local_address == second.local_address
        for number in range(10):
            async with await triobatch.open_udp_socket(
                remote_address=first.local_address
            ) as client:
                await client.send(b"hello %d" % number)
                assert await client.receive() == (
                    b"hello %d" % number,
                    first.local_address,
                )
        print("each of ten clients has had its answer")
        nursery.cancel_scope.cancel()


trio.run(main)
