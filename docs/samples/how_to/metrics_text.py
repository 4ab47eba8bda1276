"""Counters for Prometheus, as text, without a library."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import trio

import triobatch

# What may fall again; all else only grows.
GAUGES = {"buffered_size", "peak_size", "waiting", "longest_wait"}

Statistics = (
    triobatch.DatagramStatistics
    | triobatch.SenderStatistics
    | triobatch.StreamStatistics
)


def samples(prefix: str, statistics: Statistics) -> Iterator[str]:
    """Yield lines in Prometheus' text format."""
    for field in dataclasses.fields(statistics):
        value = getattr(statistics, field.name)
        if not isinstance(value, (int, float)):
            continue  # None: not known here; or a count for each errno
        if field.name in GAUGES:
            name, kind = f"{prefix}_{field.name}", "gauge"
        else:
            name, kind = f"{prefix}_{field.name}_total", "counter"
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value}"


async def main() -> None:
    sock = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    async with sock:
        await sock.send_many([b"x"] * 100, sock.local_address)
        received = 0
        while received < 100:
            received += len(await sock.receive_batch())
        for line in samples("collector_udp", sock.statistics()):
            if "datagrams" in line:
                print(line)


trio.run(main)
