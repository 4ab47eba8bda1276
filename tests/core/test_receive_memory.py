"""Memory that sockets take turns with."""

import gc
import socket
import sys
import weakref

import pytest

from triobatch._core.receive_memory import (
    MAX_SPARES,
    MAX_WARM,
    Spares,
    spares,
)


@pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets"
)
def test_sockets_of_a_kind_share_and_others_do_not():
    assert spares(2, socket.AF_INET) is spares(2, socket.AF_INET)
    kinds = [
        spares(2, socket.AF_INET),
        spares(2, socket.AF_INET6),
        spares(2, socket.AF_UNIX),
        spares(2, socket.AF_UNIX, 24),
        spares(3, socket.AF_INET),
    ]
    assert len({id(kind) for kind in kinds}) == len(kinds)
    shapes = [
        (arena.slots, arena.name_size, arena.control_size)
        for arena in (kind.make().arena for kind in kinds)
    ]
    assert shapes == [
        (2, 16, 512),
        (2, 28, 512),
        (2, 110, 0),
        (2, 110, 24),
        (3, 16, 512),
    ]


def test_what_is_made_has_memory_of_its_own():
    kind = Spares(1, socket.AF_INET, 10)
    one, other = kind.make(), kind.make()
    one.arena.memory[:1] = b"x"
    assert other.arena.memory[:1] == b"\0"
    assert not kind


def test_what_was_given_back_last_is_taken_first_and_too_much_goes():
    kind = Spares(1, socket.AF_INET, 1)
    made = [kind.make() for _ in range(MAX_SPARES + 1)]
    first = weakref.ref(made[0].arena)
    for each in made:
        kind.append(each)
    assert kind.pop() is made[-1]
    assert len(kind) == MAX_SPARES - 1
    # Without a cycle that only the collector would find.
    gc.disable()
    try:
        del made, each
        gc_free = first() is None
    finally:
        gc.enable()
    gc.collect()
    assert first() is None
    assert gc_free or not hasattr(gc, "get_threshold")


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux does")
def test_a_few_keep_their_pages_and_the_others_none():
    kind = Spares(1, socket.AF_INET, 10)
    made = [kind.make() for _ in range(MAX_WARM + 2)]
    for each in made:
        each.arena.memory[:1] = each.arena.control[:1] = b"x"
        kind.give_back(each)
    kept = [each.arena.memory[:1] + each.arena.control[:1] for each in made]
    assert kept == [b"xx"] * MAX_WARM + [b"\0\0"] * 2


def test_all_remember_the_same_senders():
    kind = Spares(1, socket.AF_INET, 10)
    assert kind.make().addresses is kind.make().addresses
