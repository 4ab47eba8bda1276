"""sendfile(2), through the standard library.

The twin of ``splice_c``, without a ``Relay``: what is not in the core is
copied.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _sigpipe_held_off() -> Iterator[None]:
    """Take the SIGPIPE that a call makes; see ``splice.c``."""
    only = {signal.SIGPIPE}
    pending = signal.SIGPIPE in signal.sigpending()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, only)
    try:
        yield
    except BrokenPipeError:
        # Only one that is pending is waited for.
        if not pending and signal.SIGPIPE in signal.sigpending():
            signal.sigwait(only)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def send_file(fd: int, file: int, offset: int, size: int) -> int:
    """Send a part of a file with one ``sendfile(2)``.

    Returns:
      The bytes taken; 0 at the end of the file.
    """
    with _sigpipe_held_off():
        return os.sendfile(fd, file, offset, size)
