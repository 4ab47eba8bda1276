"""What every request and response server here reads and answers.

With ``small`` among its arguments a server answers 64 bytes instead of 4.3 KB.
Requests that are there together are answered together.
"""

from __future__ import annotations

import sys

from measuring import answer, pattern

__all__ = ["BODY", "HEADER", "REQUEST_SIZE", "answer"]

REQUEST_SIZE = 64
_HEADER_SIZE, _BODY_SIZE = (24, 40) if "small" in sys.argv else (200, 4096)

_whole = pattern(_HEADER_SIZE + _BODY_SIZE)
HEADER = _whole[:_HEADER_SIZE]
BODY = _whole[_HEADER_SIZE:]
