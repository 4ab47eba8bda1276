"""Everything at once for an hour: nothing lost, and nothing kept.

    python tests/soak/soak.py [SECONDS] [--only LOAD ...]
    python tests/soak/soak.py 60 --datagrams 10000000

Loads run in rounds. After each all is closed, and the process has to be as it
was: as many descriptors and objects, and no more memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import sys
import time
from pathlib import Path

import trio

sys.path[:0] = [str(Path(__file__).parent)]

import datagram_loads  # noqa: E402
import loads  # noqa: E402

from triobatch import capabilities  # noqa: E402

# Seconds; the first rounds fill caches and pools.
ROUND = 10
WARM_UP = 2
# How long a load may take to end.
PATIENCE = 60
# What may be there more after the last round than after the warm-up: objects,
# of interned names and the like, and bytes, of malloc's free lists.
MORE_OBJECTS = 500
MORE_MEMORY = 24 * 2**20


def measured() -> dict[str, int]:
    """Return what this process has, when nothing is going on."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return {
        "memory": pages * resource.getpagesize(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()),
    }


async def one_round(tally, seed, seconds, chosen):
    """Run all loads once, until the deadline."""
    end = trio.current_time() + seconds

    def over():
        return trio.current_time() > end

    # A load that hangs is a finding as well.
    with trio.fail_after(seconds + PATIENCE):
        await _run_loads(tally, seed, over, chosen)


async def _run_loads(tally, seed, over, chosen):
    async with trio.open_nursery() as nursery:
        for name, load in chosen.items():
            nursery.start_soon(load, tally, loads.new_random(seed, name), over)


def check(first, last):
    """Compare two measurements; return what has grown."""
    grown = []
    if last["descriptors"] != first["descriptors"]:
        grown.append(f"{last['descriptors'] - first['descriptors']} descr.")
    if last["objects"] > first["objects"] + MORE_OBJECTS:
        grown.append(f"{last['objects'] - first['objects']} objects")
    if last["memory"] > first["memory"] + MORE_MEMORY:
        grown.append(f"{(last['memory'] - first['memory']) >> 20} MiB")
    return grown


def soak(seconds, chosen, tally, datagrams=0):
    """Run rounds; return the measurements after each.

    There are more until ``datagrams`` were sent.

    Each has a run of Trio's for itself: that keeps up to a thousand deadlines
    that are over, with their cancel scopes.
    """
    measurements = []
    end = time.monotonic() + seconds
    while (
        time.monotonic() < end
        or len(measurements) < WARM_UP + 1
        or tally["datagrams sent"] < datagrams
    ):
        left = end - time.monotonic()
        if tally["datagrams sent"] < datagrams:
            left = ROUND
        length = max(1, min(ROUND, left, seconds / (WARM_UP + 2)))
        trio.run(one_round, tally, len(measurements), length, chosen)
        measurements.append(measured())
        now = measurements[-1]
        print(
            f"round {len(measurements)}: {now['memory'] >> 20} MiB, "
            f"{now['descriptors']} descriptors, {now['objects']} objects, "
            f"{tally['datagrams sent']} datagrams",
            flush=True,
        )
    return measurements


def main() -> int:
    """Soak, and say what was done and what has grown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=float, nargs="?", default=3600)
    parser.add_argument(
        "--datagrams",
        type=int,
        default=0,
        help="go on after the seconds until so many were sent",
    )
    everything = {**loads.LOADS, **datagram_loads.LOADS}
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="LOAD",
        choices=everything,
        default=(),
        help=", ".join(everything),
    )
    options = parser.parse_args()
    # What is past it is EFBIG, once its signal is ignored, as Python does.
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (loads.MAX_FILE_SIZE, resource.RLIM_INFINITY)
    )
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
    tally = loads.Tally()
    chosen = {
        load: run
        for load, run in everything.items()
        if not options.only or load in options.only
    }
    measurements = soak(options.seconds, chosen, tally, options.datagrams)
    for what, count in sorted(tally.items()):
        print(f"{what:30} {count}")
    print(
        f"datagrams: {tally['datagrams sent']} sent, "
        f"{tally['datagrams received']} received, "
        f"{tally['datagrams lost']} lost, "
        f"{tally['datagrams refused']} refused"
    )
    grown = check(measurements[WARM_UP - 1], measurements[-1])
    print(f"core {capabilities().core}: has grown: {grown or 'nothing'}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
