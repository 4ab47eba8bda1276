"""Sending messages one by one, past those that are refused.

Sans-IO: what sends one message is an argument. The C core has a loop of its
own (core.h, ``tb_send_past``); this one is the Python core's, and that of
``triobatch.testing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Tried(NamedTuple):
    """What messages came to.

    Attributes:
      errors: An item for each that has an outcome, from the first on: the
        errno if it was refused, 0 if it was taken.
      stopped: The errno that stopped the one behind them; 0 if none did.
      calls: The system calls that were made. One takes all up to what it
        does not take, here as well, where each message has its own.
      passed: Failures among them that did not come again.
    """

    errors: bytes
    stopped: int
    calls: int
    passed: int


def try_each(
    send: Callable[..., object],
    messages: Sequence[tuple[Any, ...]],
    segment_sizes: Sequence[int],
    tries: bytes,
) -> Tried:
    """Send messages in order; see ``datagrams_c.send_past``.

    Args:
      send: Called with what a message is; raises what stops it.
      messages: The arguments for each.
      segment_sizes: What each is cut into, 0 for a plain one.
      tries: As for ``send_past``.

    Raises:
      ValueError, OverflowError: ``send`` raised it for the first.
    """
    errors = bytearray(len(messages))
    again = passed = 0
    for message, arguments in enumerate(messages):
        try:
            send(*arguments)
            continue
        except OSError as error:
            number = error.errno or 0
        except (ValueError, OverflowError):
            # An address that the socket module does not take.
            if not message:
                raise
            number = 0
        plain = number < len(tries) and not segment_sizes[message]
        needed = tries[number] if plain else 0
        if needed == 1:
            errors[message] = number
            continue
        if needed:
            again += 1
            try:
                send(*arguments)
                passed += 1
                continue
            except OSError as error:
                if error.errno == number:
                    errors[message] = number
                    continue
                passed += 1
                number = error.errno or 0
        done = bytes(errors[:message])
        return Tried(done, number, _calls(done) + again + 1, passed)
    done = bytes(errors)
    return Tried(done, 0, _calls(done) + again + passed, passed)


# The errnos are all alike.
_REFUSED = bytes(min(number, 1) for number in range(256))


def _calls(errors: bytes) -> int:
    """Return what the C core needs: one a refusal, and one between two."""
    marks = b"\1" + errors.translate(_REFUSED)
    return marks.count(b"\1\0") + marks.count(1) - 1


def go_past(
    send: Callable[[int, int], int], segment_sizes: Sequence[int], tries: bytes
) -> Tried:
    """Send messages as the C core does, many with one system call.

    Args:
      send: Called with the first message and the one behind the last; returns
        how many of them were taken, or raises what stops the first.
      segment_sizes: What each is cut into, 0 for a plain one.
      tries: As for ``send_past``.
    """
    errors = bytearray()
    calls = passed = failed = 0
    alone = False
    count = len(segment_sizes)
    while len(errors) < count:
        first = len(errors)
        calls += 1
        try:
            errors += bytes(send(first, first + 1 if alone else count))
            passed += failed != 0
            failed, alone = 0, False
            continue
        except OSError as error:
            # Who made it may keep it, and its frames the payloads.
            number = error.with_traceback(None).errno or 0
        passed += failed not in {0, number}
        plain = number < len(tries) and not segment_sizes[first]
        needed = tries[number] if plain else 0
        if not needed or failed not in {0, number}:
            return Tried(bytes(errors), number, calls, passed)
        alone = True
        if needed > 1 and not failed:
            failed = number
        else:
            errors.append(number)
            failed = 0
    return Tried(bytes(errors), 0, calls, passed)
