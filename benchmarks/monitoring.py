"""Monitoring: drift, labels, validation of arriving data and triage, all of their figures in one table.

    python benchmarks/monitoring.py [--quick] [--only drift,labels,validation,triage] [--json PATH]

Each part is a script of its own as well, whose docstring says what it does. Exit code 0 only when every target holds.
"""

import argparse
import importlib
import time
from pathlib import Path

from figures import Figure, report

PARTS = {
    "drift": "monitoring_drift",
    "labels": "monitoring_labels",
    "validation": "validation",
    "triage": "monitoring_triage",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    rows: list[Figure] = []
    for name in wanted:
        began = time.monotonic()
        rows += [
            (f"{name}: {told}", *rest) for told, *rest in importlib.import_module(PARTS[name]).figures(options.quick)
        ]
        print(f"{name}: measured in {time.monotonic() - began:.0f} s", flush=True)
    return report(rows, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
