"""Setuptools commands that add cffi's glue to the C core.

Named in pyproject.toml under ``[tool.setuptools.cmdclass]``; the installed
package never imports this file, and its wheel does not hold it.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.errors import CompileError

NATIVE = Path("triobatch/_native")

# Set to 1, it makes a build fail that would go on without the C core: for
# whoever builds wheels, or an image that is to have the fast one.
REQUIRE_C = os.environ.get("TRIOBATCH_REQUIRE_C", "0") not in {"", "0"}

# One wheel serves every CPython from 3.10 on; PyPy and the free-threaded
# builds have no limited API, so each of them gets a wheel of its own.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
LIMITED_API = sys.implementation.name == "cpython" and not FREE_THREADED


def declarations() -> str:
    """Return what cffi parses: the system types, then core.h without '#'."""
    header = (NATIVE / "core.h").read_text(encoding="utf-8")
    plain = [line for line in header.splitlines() if not line.startswith("#")]
    system = (NATIVE / "system.cdef").read_text(encoding="utf-8")
    return system + "\n".join(plain)


class build_ext(_build_ext):  # noqa: N801 (setuptools names its commands so)
    """Build the C core, or leave word why it could not be built.

    Attributes:
      built: The names of the extensions that were.
    """

    built: frozenset[str] = frozenset()

    def build_extension(self, ext: Extension) -> None:
        """Compile one extension; a failure is recorded for ``-m triobatch``.

        The extensions are ``optional``, so setuptools goes on after an error
        that it knows; unless TRIOBATCH_REQUIRE_C is set.
        """
        module = ext.name.rpartition(".")[2]
        if REQUIRE_C and (module == "_c" or LIMITED_API):
            ext.optional = False
        name = f"{module}_missing.txt"
        records = [Path(self.get_ext_fullpath(ext.name)).with_name(name)]
        if self.editable_mode:
            records.append(NATIVE.with_name("_core") / name)
        try:
            if sys.platform != "linux":
                raise CompileError(f"it is for Linux, not {sys.platform}")
            if module == "_c":
                self.add_glue(ext)
            elif not LIMITED_API:
                raise CompileError("it is for CPython with the GIL")
            elif not self.built:
                raise CompileError("it is of no use without the C core")
            ext.py_limited_api = LIMITED_API
            super().build_extension(ext)
        except Exception as exc:
            for record in records:
                record.parent.mkdir(parents=True, exist_ok=True)
                record.write_text(f"{exc}\n", encoding="utf-8")
            raise CompileError(str(exc)) from exc
        for record in records:
            record.unlink(missing_ok=True)
        self.built |= {ext.name}

    def add_glue(self, ext: Extension) -> None:
        """Let cffi generate the module's C source, and add it to ``ext``."""
        # CPython 3.13 without the GIL has none.
        from cffi import FFI  # noqa: PLC0415

        glue = Path(self.build_temp) / "glue" / "_c.c"
        glue.parent.mkdir(parents=True, exist_ok=True)
        ffi = FFI()
        ffi.cdef(declarations())
        ffi.set_source(
            ext.name, (NATIVE / "glue.c").read_text(encoding="utf-8")
        )
        ffi.emit_c_code(str(glue))
        ext.sources = [*ext.sources, str(glue)]
        if not LIMITED_API:
            ext.define_macros.append(("_CFFI_NO_LIMITED_API", None))


class bdist_wheel(_bdist_wheel):  # noqa: N801 (likewise)
    """Tag the wheel by what is in it.

    ``cp310-abi3`` where the limited API is there; ``py3-none-any`` where
    nothing native was built, so that it is not taken for one that has it.
    """

    def initialize_options(self) -> None:
        """Set the tag before pyproject.toml and the command line may."""
        super().initialize_options()
        if LIMITED_API:
            self.py_limited_api = "cp310"

    def run(self) -> None:
        """Build first: what the wheel is depends on what could be built."""
        self.run_command("build")
        extensions = self.get_finalized_command("build_ext")
        assert isinstance(extensions, build_ext)
        if not extensions.built:
            self.distribution.ext_modules = []
            self.root_is_pure = True
            self.py_limited_api = False
        super().run()
