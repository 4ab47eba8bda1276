"""Hand TCP connections on to another server.

    python examples/echo_server.py 127.0.0.1:9000
    python examples/tcp_proxy.py 127.0.0.1:9001 127.0.0.1:9000
    python examples/echo_client.py 127.0.0.1:9001

``--proxy-in`` takes the client's address from the PROXY protocol header that
a proxy in front puts there, and ``--proxy-out`` puts one in front for the
server behind. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import functools
import sys
from typing import TYPE_CHECKING

import trio
from echo_server import parse_address, parse_host_and_port, say, serve

import triobatch
from triobatch import BufferedReceiveStream, ProxyHeader

if TYPE_CHECKING:
    from triobatch import BatchSocketStream

# How long a header, or a connection to the server, may take, in seconds.
PATIENCE = 10

# What ends one connection, and not the others.
ERRORS = (
    EOFError,
    OSError,
    trio.BrokenResourceError,
    trio.TooSlowError,
    triobatch.ProxyHeaderError,
)


async def hand_on(
    client: BatchSocketStream,
    *,
    server: tuple[str, int],
    proxy_in: bool,
    proxy_out: bool,
) -> None:
    """Serve one client: connect, and relay until both sides have ended."""
    header = ProxyHeader()
    reader = BufferedReceiveStream(client)
    try:
        with trio.fail_after(PATIENCE):
            if proxy_in:
                header = await triobatch.receive_proxy_header(reader)
            behind = await triobatch.open_tcp_stream(*server)
        async with behind:
            if proxy_out:
                if header.source is None and not header.local:
                    header = ProxyHeader(
                        client.socket.getpeername(),
                        client.socket.getsockname(),
                    )
                await behind.send_all(header.encode())
            there, back = await triobatch.relay(reader, behind)
    except ERRORS as error:
        print(f"a connection broke: {error}", file=sys.stderr, flush=True)
    else:
        say(f"{there:,} bytes there, {back:,} back")


def main() -> int:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(
        description="Hand TCP connections on to another server."
    )
    parser.add_argument("address", type=parse_address, help="host:port")
    parser.add_argument("server", type=parse_host_and_port, help="host:port")
    parser.add_argument("--proxy-in", action="store_true")
    parser.add_argument("--proxy-out", action="store_true")
    options = parser.parse_args()
    if isinstance(options.address, str):
        parser.error("a proxy is at host:port")
    hands_on = functools.partial(
        hand_on,
        server=options.server,
        proxy_in=options.proxy_in,
        proxy_out=options.proxy_out,
    )
    start = functools.partial(trio.serve_listeners, hands_on)
    return trio.run(serve, options.address, start)


if __name__ == "__main__":
    sys.exit(main())
