"""``tracemalloc``, which PyPy has not: tests that start it are skipped."""

from __future__ import annotations

import importlib.util

import pytest

# For tests that cannot leave off where they would start it, as a thread waits
# for what they send.
needs_tracemalloc = pytest.mark.skipif(
    importlib.util.find_spec("_tracemalloc") is None,
    reason="this Python has no tracemalloc",
)

try:
    import tracemalloc
except ImportError:

    class tracemalloc:  # type: ignore[no-redef]  # noqa: N801 (the module's)
        """Where there is none."""

        @staticmethod
        def start():
            pytest.skip("this Python has no tracemalloc")


__all__ = ["needs_tracemalloc", "tracemalloc"]
