"""Ask a DNS server for what dns_server.py serves, and how fast it answers.

    python examples/dns_client.py 127.0.0.1:5300 --seconds 2

A few questions are compared with what is known of the zone. Then queries are
sent as fast as they are answered, a batch at a time, for some seconds.
"""

from __future__ import annotations

import argparse
import signal
import sys

import trio
from echo_server import (
    end_with_the_reader,
    format_address,
    parse_address,
)

import triobatch

try:
    import dns.message
    import dns.rcode
except ModuleNotFoundError:
    sys.exit("needs dnspython: pip install 'triobatch[examples]'")

# What is asked, and what the answer holds.
EXPECTED = [
    ("www.example.org", "A", dns.rcode.NOERROR, ["192.0.2.2"]),
    ("www.example.org", "AAAA", dns.rcode.NOERROR, ["2001:db8::2"]),
    ("mail.example.org", "AAAA", dns.rcode.NOERROR, []),
    ("WWW.Example.ORG", "A", dns.rcode.NOERROR, ["192.0.2.2"]),
    ("nobody.example.org", "A", dns.rcode.NXDOMAIN, []),
    ("www.example.net", "A", dns.rcode.REFUSED, []),
]
# How many queries are on their way at a time.
WINDOW = 256
# How long an answer may take, in seconds. UDP loses datagrams.
PATIENCE = 1.0


async def ask(
    sock: triobatch.DatagramSocket, query: dns.message.Message
) -> dns.message.Message:
    """Send a query until it is answered."""
    for _ in range(5):
        await sock.send(query.to_wire())
        with trio.move_on_after(PATIENCE):
            while True:
                wire, _ = await sock.receive()
                answer = dns.message.from_wire(wire)
                if query.is_response(answer):
                    return answer
    raise TimeoutError("no answer")


async def compare(sock: triobatch.DatagramSocket) -> bool:
    """Ask what is known; return whether the answers are right."""
    right = True
    for name, kind, code, addresses in EXPECTED:
        answer = await ask(sock, dns.message.make_query(name, kind))
        found = [item.to_text() for rrset in answer.answer for item in rrset]
        if (answer.rcode(), found) != (code, addresses):
            right = False
        print(f"{name} {kind}: {dns.rcode.to_text(answer.rcode())} {found}")
    return right


async def load(sock: triobatch.DatagramSocket, seconds: float) -> float:
    """Keep the server busy; return the answers a second."""
    wires = [
        dns.message.make_query(name, kind).to_wire()[2:]
        for name, kind, *_ in EXPECTED
    ]
    queries = [
        number.to_bytes(2, "big") + wires[number % len(wires)]
        for number in range(WINDOW)
    ]
    answered = 0
    start = trio.current_time()
    await sock.send_many(queries)
    while (elapsed := trio.current_time() - start) < seconds:
        count = 0
        with trio.move_on_after(PATIENCE):
            count = len(await sock.receive_batch(WINDOW))
        answered += count
        # As many again; all of them, if the last were lost.
        await sock.send_many(queries[: count or WINDOW])
    return answered / elapsed


async def run(host: str, port: int, seconds: float) -> int:
    """Ask, and return the exit status."""
    try:
        async with await triobatch.open_udp_socket(
            remote_address=(host, port)
        ) as sock:
            right = await compare(sock)
            if seconds:
                print(f"{await load(sock, seconds):,.0f} answers a second")
    except (OSError, TimeoutError) as error:
        name = format_address((host, port))
        print(f"cannot ask {name}: {error}", file=sys.stderr)
        return 1
    print("the answers are right" if right else "an answer is wrong")
    return 0 if right else 1


def main() -> int:
    """Read the command line, and ask."""
    end_with_the_reader()
    # There is nothing to clean up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser(
        description="Ask a DNS server, and measure it."
    )
    parser.add_argument("address", type=parse_address, help="host:port")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0,
        help="how long to load it (default: not at all)",
    )
    options = parser.parse_args()
    if isinstance(options.address, str):
        parser.error("DNS is served at host:port")
    host, port = options.address
    return trio.run(run, host, port, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
