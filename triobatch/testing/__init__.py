"""What you need to test code that uses triobatch."""

from triobatch._wire.public import settle as _settle
from triobatch.testing._check_stream import check_batch_stream
from triobatch.testing._memory_datagrams import (
    MemoryDatagramSocket,
    memory_datagram_pair,
)
from triobatch.testing._network import (
    SimulatedNetwork,
    open_simulated_network,
)
from triobatch.testing._network_conditions import (
    NetworkConditions,
    NetworkStatistics,
)
from triobatch.testing._network_socket import SimulatedDatagramSocket
from triobatch.testing._scripted_calls import (
    ScriptedCalls,
    os_error,
    scripted_calls,
)
from triobatch.testing._simulate import simulate

__all__ = [
    "MemoryDatagramSocket",
    "NetworkConditions",
    "NetworkStatistics",
    "ScriptedCalls",
    "SimulatedDatagramSocket",
    "SimulatedNetwork",
    "check_batch_stream",
    "memory_datagram_pair",
    "open_simulated_network",
    "os_error",
    "scripted_calls",
    "simulate",
]

_settle(__name__, globals())
