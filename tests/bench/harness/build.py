"""C and Go programs of the sources in ``peers``, and who can take part."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

PEERS = Path(__file__).resolve().parent.parent / "peers"

# Where Debian's packages of Go libraries are laid out, as a GOPATH.
GOPATH = Path("/usr/share/gocode")
GO_NET = GOPATH / "src/golang.org/x/net"

# How to install what a peer needs. Those that are not here are always there:
# there are no benchmarks without Trio and a C compiler.
NEEDS = {
    "uvloop": "pip install uvloop",
    "anyio": "pip install anyio",
    "aioquic": "pip install aioquic trustme",
    "dnspython": "pip install dnspython",
    "qh3": "pip install qh3",
    "go": "apt-get install golang-go golang-golang-x-net-dev",
}
MODULES = {
    "uvloop": "uvloop",
    "anyio": "anyio",
    "aioquic": "aioquic",
    "dnspython": "dns",
    "qh3": "qh3",
}


def missing(peer: str) -> str | None:
    """Return how to install ``peer``, or None if it is there."""
    if peer == "go":
        # A run must not end in its middle for want of a library.
        there = shutil.which("go") is not None and GO_NET.is_dir()
    elif peer in MODULES:
        there = importlib.util.find_spec(MODULES[peer]) is not None
    else:
        there = True
    return None if there else NEEDS[peer]


class Programs:
    """Commands to run the sources in ``peers``, compiled where need be.

    A ``.c`` file is compiled by itself; ``go_x.go`` together with
    ``go_driver.go``. What is built is in a temporary directory, which goes
    when the block ends.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="triobatch-bench")
        self._built: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._directory.cleanup()

    def command(self, source: str, *arguments: str) -> list[str]:
        """Return the command that runs ``source``, a file in ``peers``."""
        path = PEERS / source
        if path.suffix == ".py":
            return [sys.executable, str(path), *arguments]
        if source not in self._built:
            program = str(Path(self._directory.name) / path.stem)
            if path.suffix == ".c":
                self._compile_c(path, program)
            else:
                self._compile_go(path, program)
            self._built[source] = program
        return [self._built[source], *arguments]

    def _compile_c(self, path: Path, program: str) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            sys.exit("the benchmarks need a C compiler: apt-get install gcc")
        flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-D_GNU_SOURCE"]
        subprocess.run(
            [compiler, *flags, "-pthread", str(path), "-o", program],
            check=True,
        )

    def _compile_go(self, path: Path, program: str) -> None:
        # Without cgo there is nothing of C in what is measured.
        environment = os.environ | {
            "GO111MODULE": "off",
            "GOPATH": str(GOPATH),
            "CGO_ENABLED": "0",
        }
        sources = [str(path), str(PEERS / "go_driver.go")]
        subprocess.run(
            ["go", "build", "-o", program, *sources],
            check=True,
            env=environment,
        )
