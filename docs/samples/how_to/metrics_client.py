"""Counters for Prometheus, with its client library."""
# Needs prometheus_client.

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import trio
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

import triobatch


class DatagramCollector(Collector):
    """Asks the sockets when it is asked itself: nothing to keep up to date."""

    def __init__(self, sockets: dict[str, triobatch.DatagramSocket]) -> None:
        self._sockets = sockets

    def collect(self) -> Iterator[Metric]:
        counts = {
            name: sock.statistics() for name, sock in self._sockets.items()
        }
        for field in dataclasses.fields(triobatch.DatagramStatistics):
            family = CounterMetricFamily(
                f"udp_{field.name}",
                "See DatagramStatistics.",
                labels=["socket"],
            )
            for name, statistics in counts.items():
                value = getattr(statistics, field.name)
                if isinstance(value, int):
                    family.add_metric([name], value)
            yield family


async def main() -> None:
    sock = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    async with sock:
        registry = CollectorRegistry()
        registry.register(DatagramCollector({"queries": sock}))
        await sock.send_many([b"x"] * 100, sock.local_address)
        for line in generate_latest(registry).decode().splitlines():
            if line.startswith("udp_datagrams_sent"):
                print(line)


trio.run(main)
