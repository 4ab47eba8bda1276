"""Simulated time, and a seed that says all."""

from __future__ import annotations

import random
import time
from types import SimpleNamespace

import pytest
import trio

from triobatch.testing import NetworkConditions, simulate

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


def test_it_returns_what_the_function_returns():
    async def main(network, *args):
        assert network.seed == "s"
        return args

    assert simulate(main, 1, "two", seed="s") == (1, "two")


def test_a_failure_tells_its_seed_and_the_last_events(capsys):
    async def main(network):
        await network.open_socket(A).send(b"x", B)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(main, seed=77)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "    0.000000 10.0.0.1:1 > 10.0.0.2:2 1 sent"
    assert lines[-1] == "simulate() has failed; again with seed=77"


def test_a_success_prints_nothing(capsys):
    async def main(network):
        pass

    simulate(main)
    assert capsys.readouterr() == ("", "")


def test_a_seed_that_was_drawn_is_printed_and_brings_the_failure_back(capsys):
    async def main(network):
        assert network.random.random() < 0.5

    failed = 0
    while not failed:
        try:
            simulate(main)
        except AssertionError:
            failed += 1
    seed = int(capsys.readouterr().err.rpartition("=")[2])
    for _ in range(3):
        with pytest.raises(AssertionError):
            simulate(main, seed=seed)


def test_tasks_that_wait_for_one_another_end_at_once():
    async def main(network):
        await network.open_socket(A).receive()

    start = time.monotonic()
    with pytest.raises(trio.TooSlowError):
        simulate(main)
    assert time.monotonic() - start < 60


def test_the_limit_is_simulated_time():
    async def main(network, seconds):
        await trio.sleep(seconds)

    simulate(main, 9.9, time_limit=10)
    with pytest.raises(trio.TooSlowError):
        simulate(main, 10.1, time_limit=10)


async def race(network):
    order = []

    async def note(number):
        for _ in range(5):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(note, number)
    return order


def test_the_order_of_tasks_comes_from_the_seed():
    first, again = simulate(race, seed=1), simulate(race, seed=1)
    assert first == again
    orders = {tuple(simulate(race, seed=seed)) for seed in range(10)}
    assert len(orders) == 10


def test_what_deals_the_tasks_is_as_it_was():
    run = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()
    simulate(race)
    assert before == (run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate())


def test_where_trio_deals_otherwise_it_runs_all_the_same(monkeypatch):
    dealer = SimpleNamespace(random=random.random, shuffle=random.shuffle)
    monkeypatch.setattr(trio._core._run, "_r", dealer)
    assert len(simulate(race)) == 50


def test_the_programs_own_chance_is_apart_from_the_networks():
    async def main(network, draws):
        for _ in range(draws):
            network.random.random()
        a = network.open_socket(A)
        await a.send_many([b"x"] * 100, B)
        return network.statistics().lost

    conditions = NetworkConditions(loss=0.5)
    lost = {
        simulate(main, draws, seed=3, conditions=conditions)
        for draws in range(5)
    }
    assert len(lost) == 1


def test_the_module_random_is_left_alone():
    async def main(network):
        await trio.lowlevel.checkpoint()

    state = random.getstate()
    simulate(main, seed=1)
    assert random.getstate() == state
