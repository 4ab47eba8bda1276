"""What you need to test code that uses triobatch."""

from triobatch._wire.public import settle as _settle
from triobatch.testing._check_stream import check_batch_stream
from triobatch.testing._memory_datagrams import (
    MemoryDatagramSocket,
    memory_datagram_pair,
)
from triobatch.testing._scripted_calls import (
    ScriptedCalls,
    os_error,
    scripted_calls,
)

__all__ = [
    "MemoryDatagramSocket",
    "ScriptedCalls",
    "check_batch_stream",
    "memory_datagram_pair",
    "os_error",
    "scripted_calls",
]

_settle(__name__, globals())
