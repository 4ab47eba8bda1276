"""Sending messages one by one, past those that are refused.

Sans-IO: what sends one message is an argument. The C core has a loop of its
own (core.h, ``tb_send_each``); this one is the Python core's, and that of
``triobatch.testing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Tried(NamedTuple):
    """What messages came to that were sent one by one.

    Attributes:
      refused: An item a message: 1 if it was refused, 0 if it was taken.
      calls: The system calls that were made.
      passed: Failures with the errno of a refusal that did not come again.
    """

    refused: bytes
    calls: int
    passed: int


def try_each(
    send: Callable[..., object],
    messages: Sequence[tuple[Any, ...]],
    refusal: int,
    tries: int,
) -> Tried:
    """Send messages in order; see ``datagrams_c.send_each``.

    Args:
      send: Called with what a message is; raises what stops it.
      messages: The arguments for each.
      refusal: The errno that refuses a message, and keeps none behind it.
      tries: How often running a message must fail so.

    Raises:
      Exception: what ``send`` raised for the first one, if it is no refusal.
    """
    count = len(messages)
    refused = bytearray(count)
    calls = passed = failures = message = 0
    while message < count:
        calls += 1
        try:
            send(*messages[message])
        except Exception as error:
            if getattr(error, "errno", None) == refusal:
                failures += 1
                if failures == tries:
                    refused[message] = 1
                    failures = 0
                    message += 1
                continue
            passed += failures
            if message or failures:
                return Tried(bytes(refused[:message]), calls, passed)
            raise
        passed += failures
        failures = 0
        message += 1
    return Tried(bytes(refused), calls, passed)
