"""Print what triobatch can do here: ``python -m triobatch``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal

from triobatch import __version__, capabilities


def main() -> None:
    """Read the command line, and print."""
    if hasattr(signal, "SIGPIPE"):
        # End as other programs do when nobody reads the output (`| head`).
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(
        prog="python -m triobatch",
        description="Print what triobatch can do here, and which core runs.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print it as JSON, for a program"
    )
    if parser.parse_args().json:
        found = dataclasses.asdict(capabilities())
        print(json.dumps({"version": __version__, **found}, indent=2))
    else:
        print(f"triobatch {__version__}")
        print(capabilities())


if __name__ == "__main__":
    main()
