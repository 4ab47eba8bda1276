"""What the network reports of datagrams that were sent earlier."""
# Only on Linux.

from __future__ import annotations

import errno

import trio

import triobatch


async def main() -> None:
    # A port on which nobody listens: it was free a moment ago.
    async with await triobatch.open_udp_socket(
        local_address=("127.0.0.1", 0)
    ) as closed:
        address = closed.local_address
    async with await triobatch.open_udp_socket(error_queue=True) as sock:
        await sock.send(b"is anybody there?", address)
        [report] = await sock.receive_errors()
        print(errno.errorcode[report.errno], report.address == address)
        print("reported by", report.offender)


trio.run(main)
