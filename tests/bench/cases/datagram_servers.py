"""Servers of datagrams: an echo, and a DNS server, each under load.

A load generator in C asks; what it counts are answers that are right, each to
a request of its own. **Full load** is a number of requests on their way all
the time, from so many sockets: with few of them the generator's requests to
one server leave as one message, with 256 each is a datagram by itself. The
**parts of full load** are of what the server itself took of single datagrams,
sent in even intervals whether answers come or not. Latency is from a request's
leaving until its answer is in the generator's hands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.build import missing
from harness.families import Case, Contestant, Family, Figure, faster, within

from cases.datagrams import OURS, contestants, lacks_receive_buffers

if TYPE_CHECKING:
    from harness.contestants import Answer

GO = "Go batches"
WILDCARD = "serve_udp on all interfaces"
PLAIN = "recvfrom, sendto"

RATE = Figure(
    "rate",
    "thousands of answers a second",
    lambda answer: answer["datagrams"] / answer["seconds"] / 1e3,
    better="more",
)
MEDIAN = Figure(
    "median",
    "microseconds until the answer, median",
    lambda answer: answer["p50"],
)
WORST = Figure(
    "worst",
    "microseconds until the answer, 99th percentile",
    lambda answer: answer["p99"],
)
PROCESSOR = Figure(
    "processor",
    "microseconds of the server's processor time a request",
    lambda answer: answer["server_cpu"] / answer["datagrams"] * 1e6,
)


def check(_case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether all were answered, but for a few at the most."""
    few = count / 100
    if answer["lost"] > few or answer["datagrams"] < count - few:
        return (
            f"{answer['datagrams']} answers to {count} requests, "
            f"{answer['lost']} lost; is net.core.rmem_max too small?"
        )
    return None


ECHO_CASES = (
    Case("full1", "full, 1 peer", {"peers": 1}),
    Case("full16", "full, 16 peers", {"peers": 16}),
    Case("full256", "full, 256 peers", {"peers": 256}),
    Case("paced50", "50 % of that", {"peers": 256, "load": 0.5}, least=100),
    Case("paced10", "10 % of it", {"peers": 256, "load": 0.1}, least=100),
    Case("paced1000", "1000/s", {"peers": 256, "rate": 1000}, count=200),
)
FULL = ["full1", "full16", "full256"]

ECHO = Family(
    name="udp-echo",
    title="UDP echo server",
    contestants=tuple(
        contestants("echo", GO, recvmmsg="C recvmmsg", gro="C GRO, GSO")
    ),
    cases=ECHO_CASES,
    figures=(RATE, MEDIAN, WORST, PROCESSOR),
    seconds=0.1,
    check=check,
    generator="datagram_load.c",
    needs=lacks_receive_buffers,
    promises=(
        *faster(1, OURS, GO, cases=FULL, figure="rate"),
        *faster(1, OURS, "asyncio", "uvloop", cases=FULL, figure="rate"),
        *faster(5, OURS, "Trio", cases=["full1"], figure="rate"),
        *within(1, OURS, "Trio", cases=["paced1000"], figure="worst"),
    ),
)

DNS = Family(
    name="dns",
    title="DNS server of the examples",
    contestants=(
        Contestant("serve_udp", "triobatch", "dns_servers.py", ("batches",)),
        Contestant(WILDCARD, "triobatch", "dns_servers.py", ("wildcard",)),
        Contestant(PLAIN, "trio", "dns_servers.py", ("plain",)),
    ),
    cases=(
        Case("full1", "1 peer", {"dns": 1, "peers": 1, "window": 128}),
        Case("full64", "64 peers", {"dns": 1, "peers": 64, "window": 128}),
    ),
    figures=(RATE, WORST, PROCESSOR),
    seconds=0.2,
    check=check,
    generator="datagram_load.c",
    needs=lambda: missing("dnspython"),
    promises=(
        *faster(2.2, "serve_udp", PLAIN, cases=["full1", "full64"]),
        *faster(2, WILDCARD, PLAIN, cases=["full1", "full64"]),
    ),
)
