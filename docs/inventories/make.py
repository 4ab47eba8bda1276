"""Make the inventories that the site's links to Python and Trio need.

They lie here, so that the site can be built, and its references checked,
without a network. Usage: ``make.py python.inv FULL`` or ``make.py trio.inv
FULL``, where FULL is the ``objects.inv`` of a build of that documentation
(https://docs.python.org/3/objects.inv; Debian's python3-doc and Trio's sdist,
which has its docs/, will do). What is kept are the objects of Python.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

# Newer than the documentation that python.inv was made from.
ADDED = {
    "python.inv": [
        "collections.abc.Buffer py:class 1 library/collections.abc.html#$ -",
    ],
    "trio.inv": [],
}


def main() -> None:
    """Write the inventory that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ADDED)
    parser.add_argument("full", type=Path)
    options = parser.parse_args()
    # Four lines of text, and a compressed one an object.
    *head, body = options.full.read_bytes().split(b"\n", 4)
    lines = [
        line
        for line in zlib.decompress(body).decode().splitlines()
        if line.split(" ")[1].startswith("py:")
    ]
    lines += ADDED[options.name]
    packed = zlib.compress("".join(f"{one}\n" for one in lines).encode(), 9)
    target = Path(__file__).parent / options.name
    target.write_bytes(b"\n".join([*head, packed]))
    print(f"{target.name}: {len(lines)} objects, {len(packed)} bytes")


if __name__ == "__main__":
    main()
