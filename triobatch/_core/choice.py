"""Which core runs in this process, and why.

``TRIOBATCH_CORE`` may name one, ``c`` or ``python``. Otherwise the C core
serves where it was built and can be loaded.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final


def _why_missing(error: ImportError) -> str:
    # The build leaves word when it fails (_native/build_hook.py).
    record = Path(__file__).with_name("_c_missing.txt")
    if record.exists():
        cause = record.read_text(encoding="utf-8").strip()
        mend = ""
        if sys.platform == "linux":
            # Or pip takes the wheel that it has kept.
            mend = (
                "; where there is a C compiler, pip install --force-reinstall "
                "--no-cache-dir triobatch builds it"
            )
        return f"the C core was not built at installation: {cause}{mend}"
    wing = Path(__file__).parent
    if (wing.parent / "_native").exists() and not any(wing.glob("_c.*.so")):
        # Python looks in the current directory first, so in a checkout it
        # finds these sources before an installed package.
        return "these are the sources, not built: pip install -e . does that"
    return f"the C core cannot be loaded: {error}"


def choose(wanted: str | None) -> tuple[str, str]:
    """Return the core to use and the reason, in words.

    Args:
      wanted: The value of ``TRIOBATCH_CORE``; None or empty for no wish.

    Raises:
      ValueError: ``wanted`` names no core.
      ImportError: the C core is wanted, and cannot be loaded.
    """
    if wanted == "python":
        return "python", "TRIOBATCH_CORE=python"
    if wanted not in (None, "", "c"):
        raise ValueError(f"TRIOBATCH_CORE must be c or python, not {wanted!r}")
    try:
        import triobatch._core._c  # noqa: F401, PLC0415 (it is optional)
    except ImportError as error:
        reason = _why_missing(error)
        if wanted == "c":
            raise ImportError(f"TRIOBATCH_CORE=c, but {reason}") from error
        return "python", reason
    return "c", "TRIOBATCH_CORE=c" if wanted else "it was built and loads"


def settle_structs() -> list[str]:
    """Let cffi work out the core's structs; return their names.

    It would do so when one is first used. Without the GIL two threads can be
    at it together then, and one read what the other has half written
    (do_realize_lazy_struct of cffi 2.1, whose critical section is left
    wherever its thread has to wait).
    """
    from triobatch._core._c import ffi  # noqa: PLC0415 (it is optional)

    _, structs, _ = ffi.list_types()
    for name in structs:
        # Reading its fields is what does it.
        _ = ffi.typeof(f"struct {name}").fields
    return list(structs)


def _has_chunk_extension() -> bool:
    # It may be missing where the core is not: PyPy, free-threaded builds.
    try:
        import triobatch._core._chunks_c  # noqa: F401, PLC0415 (it is optional)
    except ImportError:
        return False
    return True


def _chosen() -> tuple[str, str]:
    try:
        return choose(os.environ.get("TRIOBATCH_CORE"))
    except (ValueError, ImportError) as error:
        # The package is imported before its __main__ has a say.
        if sys.argv[:1] == ["-m"] and "triobatch" in sys.orig_argv:
            raise SystemExit(f"triobatch: {error}") from None
        raise


_choice = _chosen()
CORE: Final = _choice[0]
CORE_REASON: Final = _choice[1]
if CORE == "c":
    settle_structs()
# Whether list arithmetic in C (_native/chunks.c) can be had.
CHUNK_EXTENSION: Final = _has_chunk_extension()
