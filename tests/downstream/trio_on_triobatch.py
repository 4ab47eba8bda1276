"""A pytest plugin that puts triobatch's streams and listeners in Trio's place.

Trio's own tests, and those of libraries over it, then try these classes
without a change. It has to be loaded before the tests are, since they take the
names from the modules of Trio: ``pytest -p
tests.downstream.trio_on_triobatch``.
"""

from __future__ import annotations

import sys
import types

import trio

import triobatch
from triobatch._streams import listener

_INSTEAD = {
    "SocketStream": triobatch.BatchSocketStream,
    "SocketListener": triobatch.BatchSocketListener,
}

# A listener of ours asks one of Trio's to check the socket: it goes on seeing
# Trio as it was.
_trio = types.ModuleType("trio")
_trio.__dict__.update(trio.__dict__)
listener.trio = _trio  # type: ignore[assignment]

for _module in [
    module
    for name, module in sys.modules.items()
    if name == "trio" or name.startswith("trio.")
]:
    for _name, _class in _INSTEAD.items():
        if hasattr(_module, _name):
            setattr(_module, _name, _class)
