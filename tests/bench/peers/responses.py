"""What every request and response server here reads and answers."""

from __future__ import annotations

from measuring import answer, pattern

__all__ = ["BODY", "HEADER", "REQUEST_SIZE", "answer"]

REQUEST_SIZE = 64
_HEADER_SIZE = 200
_BODY_SIZE = 4096

_whole = pattern(_HEADER_SIZE + _BODY_SIZE)
HEADER = _whole[:_HEADER_SIZE]
BODY = _whole[_HEADER_SIZE:]
