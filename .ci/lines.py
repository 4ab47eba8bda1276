"""Print what coverage.py has counted, by wing; fail where a line is missing.

``lines.py JSON...``: of each core, and last of all together. A line may be
missing where ``pragma: no cover`` has the reason in brackets behind it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path


def main(reports: list[str]) -> int:
    """Return how many lines are not run, or left out without a reason."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for path in map(Path, reports):
        for name, of_file in json.loads(path.read_text())["files"].items():
            wing = Path(name).parent.name
            ran, lines = counts[wing].setdefault(path.stem, [0, 0])
            summary = of_file["summary"]
            counts[wing][path.stem] = [
                ran + summary["covered_lines"],
                lines + summary["num_statements"],
            ]
    for wing, by_report in sorted(counts.items()):
        shares = (
            f"{name} {100 * ran / lines:.1f} %"
            for name, (ran, lines) in by_report.items()
        )
        print(f"{wing:12}", ", ".join(shares))
    wrong = 0
    for name, of_file in json.loads(Path(reports[-1]).read_text())[
        "files"
    ].items():
        if of_file["missing_lines"]:
            print(f"{name}: not run: {of_file['missing_lines']}")
            wrong += len(of_file["missing_lines"])
        for number, line in enumerate(Path(name).read_text().split("\n"), 1):
            if re.search(r"pragma: no cover(?! \(\w)", line):
                print(f"{name}:{number}: left out without a reason")
                wrong += 1
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
