"""What a system call answers: a count, at most as large as what was offered.

A call that reports more is not to be believed: what it says would be taken
off a queue together with bytes that nobody has seen. It is an error, and
nothing is taken off. (It happens: a filter driver, a tracer, a wrapper around
the C library, https://github.com/rustls/rustls/pull/2316.)
"""

from __future__ import annotations

import errno
import os

from triobatch._core.chunks import locate, measure

# No call on a descriptor answers it by itself; the C core does, for this.
MORE_THAN_OFFERED = errno.EOVERFLOW


def os_error(number: int) -> OSError:
    """Return the error for an errno of the core."""
    if number == MORE_THAN_OFFERED:
        return OSError(number, "the system reports more than it was offered")
    return OSError(number, os.strerror(number))


def checked(count: int, offered: int) -> int:
    """Return the count that a call has answered.

    Raises:
      OSError: it is more than was offered.
    """
    if not 0 <= count <= offered:
        raise os_error(MORE_THAN_OFFERED)
    return count


def checked_vector(count: int, chunks: list[bytes | memoryview]) -> int:
    """Return the count that a call has answered to a gathered offer.

    What was offered is only added up when all of it was taken.

    Raises:
      OSError: it is more than was offered.
    """
    stop, _ = locate(chunks, 0, 0, count)
    if stop == len(chunks):
        offered = measure(chunks)  # type: ignore[arg-type]
        checked(count, offered if offered >= 0 else sum(map(len, chunks)))
    return count
