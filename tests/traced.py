"""``tracemalloc``, which PyPy has not: tests that start it are skipped."""

from __future__ import annotations

import pytest

try:
    import tracemalloc
except ImportError:

    class tracemalloc:  # type: ignore[no-redef]  # noqa: N801 (the module's)
        """Where there is none."""

        @staticmethod
        def start():
            pytest.skip("this Python has no tracemalloc")


__all__ = ["tracemalloc"]
