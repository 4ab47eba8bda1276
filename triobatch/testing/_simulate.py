"""Run a program on a simulated network, in simulated time, from a seed."""

from __future__ import annotations

import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import trio
from trio.testing import MockClock

from triobatch._wire.arguments import as_seconds, check_callable
from triobatch._wire.hints import TypeVarTuple, Unpack
from triobatch.testing._network import (
    SimulatedNetwork,
    open_simulated_network,
)
from triobatch.testing._network_conditions import NetworkConditions

Args = TypeVarTuple("Args")
T = TypeVar("T")

_YEAR = 365.0 * 24 * 3600
# How much of the history is printed with a seed.
_LINES = 10


def simulate(
    main: Callable[[SimulatedNetwork, Unpack[Args]], Awaitable[T]],
    *args: Unpack[Args],
    seed: int | str | None = None,
    conditions: NetworkConditions | None = None,
    time_limit: float = _YEAR,
) -> T:
    """Run a function on a simulated network, in simulated time.

    It is ``trio.run`` with a ``MockClock`` that jumps to the next event as
    soon as every task waits for one, so that quiet hours cost nothing. What
    comes by chance comes from the seed: what the network does, in which
    order tasks run, and ``network.random``. ::

        def test_a_lossy_network(seed=None):
            simulate(serve_and_ask, seed=seed)

    Where the function fails, its seed and the last events of the network are
    printed to stderr; with ``seed=`` it fails in the same way again.

    Args:
      main: An async function; it is given a ``SimulatedNetwork``, and
        ``args``.
      args: What else it is given.
      seed: A number or a string, drawn by chance if it is None.
      conditions: See ``open_simulated_network``.
      time_limit: Simulated seconds that it may take. Tasks that all wait for
        one another take as long as that, which is at once.

    Returns:
      What the function returns.

    Raises:
      trio.TooSlowError: the limit is exceeded.

    What comes from elsewhere is not in the seed: threads, real sockets, the
    time of day, the order of a ``set`` of strings (``PYTHONHASHSEED``). And
    one simulation runs at a time in a process: Trio deals the tasks of all
    threads from one generator.
    """
    check_callable(main, "main")
    time_limit = as_seconds(time_limit, "time_limit")
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    networks: list[SimulatedNetwork] = []
    try:
        with _scheduling_of(seed):
            return trio.run(
                partial(
                    _run, main, args, seed, conditions, time_limit, networks
                ),
                clock=MockClock(autojump_threshold=0),
            )
    except BaseException:
        for network in networks:
            for line in network.history()[-_LINES:]:
                print(f"    {line}", file=sys.stderr)
        print(
            f"simulate() has failed; again with seed={seed!r}",
            file=sys.stderr,
        )
        raise


async def _run(
    main: Callable[[SimulatedNetwork, Unpack[Args]], Awaitable[T]],
    args: tuple[Unpack[Args]],
    seed: int | str,
    conditions: NetworkConditions | None,
    time_limit: float,
    networks: list[SimulatedNetwork],
) -> T:
    with trio.fail_after(time_limit):
        async with open_simulated_network(
            seed, conditions=conditions
        ) as network:
            networks.append(network)
            return await main(network, *args)
    # Only a type checker thinks that the block might swallow an error.
    raise AssertionError("unreachable")  # pragma: no cover (see above)


@contextmanager
def _scheduling_of(seed: int | str) -> Iterator[None]:
    """Let Trio run its tasks in an order that comes from a seed.

    Trio deals tasks that are ready at the same time like cards, from a
    generator of its own. pytest-trio and Hypothesis set it by the same names,
    which are private; where they are not there, the order is another one each
    time.
    """
    names = vars(sys.modules["trio._core._run"])
    switch, dealer = "_ALLOW_DETERMINISTIC_SCHEDULING", names.get("_r")
    if switch not in names or not isinstance(dealer, random.Random):
        yield
        return
    before, state = names[switch], dealer.getstate()
    names[switch] = True
    dealer.seed(f"tasks {seed}")
    try:
        yield
    finally:
        names[switch] = before
        dealer.setstate(state)
