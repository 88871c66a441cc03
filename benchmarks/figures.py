"""Figures with their targets: the options, the table and the exit code of a benchmark that has nothing else."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

Figure = tuple[str, float, str, float]  # name, measured, "<=" or ">=", target


def holds(figure: Figure) -> bool:
    """Whether it reaches its target; what is not a number does not."""
    _, value, sign, target = figure
    return value >= target if sign == ">=" else value <= target


def report(rows: Sequence[Figure], path: Path | None) -> int:
    """Print the table, write the JSON where asked; the exit code is 0 only when every target holds."""
    table = Table("figure", "measured", "target", "holds")
    for row in rows:
        name, value, sign, target = row
        table.add_row(name, f"{value:,.4g}", f"{sign} {target:,g}", "yes" if holds(row) else "NO")
    Console(highlight=False, width=120).print(table)
    if path:
        told = {name: {"measured": value, "target": f"{sign} {target:g}"} for name, value, sign, target in rows}
        path.write_text(json.dumps({"figures": told}, indent=2))
    return 0 if all(map(holds, rows)) else 1


def main(description: str | None, figures: Callable[[bool], Sequence[Figure]]) -> int:
    """`--quick` and `--json PATH`, then the figures."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    return report(figures(options.quick), options.json)
