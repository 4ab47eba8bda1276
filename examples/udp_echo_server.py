"""Send back every datagram that comes.

    python examples/udp_echo_server.py [PORT [HOST]]

One line answers a whole batch: what one system call has brought is what one
system call sends back. Ctrl-C ends it, with the count.
"""

import sys

import trio

import triobatch


async def answer(sock: triobatch.DatagramSocket) -> None:
    """Send back what is there, and wait only if nothing is."""
    try:
        await sock.send_batch(await sock.receive_batch())
    except triobatch.DatagramErrorGroup as refused:
        # All the others were sent.
        for error in refused.exceptions:
            print(error, file=sys.stderr)


async def main(port: int, host: str | None) -> None:
    """Serve on one port."""
    async with await triobatch.open_udp_socket(
        local_address=(host, port), receive_buffer_size=4 << 20
    ) as sock:
        name = sock.socket.getsockname()
        print(f"echoing on {name[0]}, port {name[1]}", flush=True)
        try:
            while True:
                await answer(sock)
        finally:
            print(sock.statistics())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    try:
        trio.run(
            main,
            int(arguments[0]) if arguments else 7777,
            arguments[1] if len(arguments) > 1 else None,
        )
    except KeyboardInterrupt:
        pass
