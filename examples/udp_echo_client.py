"""Send datagrams to an echo server and count what comes back.

    python examples/udp_echo_client.py [HOST PORT [COUNT]]

Without an address it brings a server of its own. Batches of 64 are on their
way at a time; what is not back in a second counts as lost.
"""

import sys

import trio

import triobatch

BATCH = 64
SIZE = 1200
PATIENCE = 1  # seconds


async def exchange(sock: triobatch.DatagramSocket, count: int) -> int:
    """Send ``count`` datagrams, and return how many came back."""
    payloads = [bytes(SIZE)] * BATCH
    sent = returned = 0
    next_report = trio.current_time() + 1
    while sent < count:
        offered = min(BATCH, count - sent)
        sent += await sock.send_many(payloads[:offered])
        back = 0
        with trio.move_on_after(PATIENCE):
            while back < offered:
                back += len(await sock.receive_batch(offered - back))
        returned += back
        if trio.current_time() > next_report:
            print(f"{sent} of {count} sent, {returned} back", flush=True)
            next_report += 1
    return returned


async def echo(sock: triobatch.DatagramSocket) -> None:
    """Be the server."""
    async with sock:
        while True:
            await sock.send_batch(await sock.receive_batch())


async def main(host: str | None, port: int, count: int) -> None:
    """Run against the server given, or against one of our own."""
    async with trio.open_nursery() as nursery:
        if host is None:
            server = await triobatch.open_udp_socket(
                local_address=("127.0.0.1", 0)
            )
            nursery.start_soon(echo, server)
            host, port = server.socket.getsockname()
        async with await triobatch.open_udp_socket(
            remote_address=(host, port)
        ) as sock:
            start = trio.current_time()
            returned = await exchange(sock, count)
            seconds = trio.current_time() - start
            statistics = sock.statistics()
        nursery.cancel_scope.cancel()
    calls = statistics.send_calls + statistics.receive_calls
    datagrams = statistics.datagrams_sent + statistics.datagrams_received
    print(
        f"{count} datagrams of {SIZE} bytes: {count - returned} lost,"
        f" {calls / max(1, datagrams):.3f} system calls a datagram,"
        f" {returned / seconds:,.0f} echoes a second"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 1:
        sys.exit(__doc__)
    trio.run(
        main,
        arguments[0] if arguments else None,
        int(arguments[1]) if arguments else 0,
        int(arguments[2]) if len(arguments) > 2 else 100_000,
    )
