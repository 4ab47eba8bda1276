"""What a datagram socket stands on, and that both grounds have all of it."""

from __future__ import annotations

import pytest
import trio

from triobatch._core import calls
from triobatch._datagrams.kernel import AnyReadiness, AnySocket, Kernel
from triobatch._datagrams.readiness import Readiness
from triobatch.testing._memory_kernel import (
    MemoryKernel,
    MemoryReadiness,
    MemorySocket,
)


@pytest.mark.parametrize(
    ("protocol", "ground"),
    [
        (Kernel, calls),
        (Kernel, MemoryKernel),
        (AnySocket, trio.socket.SocketType),
        (AnySocket, MemorySocket),
        (AnyReadiness, Readiness),
        (AnyReadiness, MemoryReadiness),
    ],
)
def test_a_ground_has_what_is_asked_of_it(protocol, ground):
    asked = {name for name in vars(protocol) if not name.startswith("_")}
    assert asked
    assert {name for name in asked if not hasattr(ground, name)} == set()
