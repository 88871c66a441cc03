"""What the control plane has found of a product, for `/metrics`: rows of a record, whatever they are about.

The record is `<products>/<product>/records/gauges.json`, replaced as a whole by the live sensor: a list of
`{"name": "mlauto_...", "labels": {...}, "value": 1.0, "help": "..."}`. It is no more trusted than users' requests are:
names and labels are checked, rows are bounded, and each gets the label `product`, so that no record speaks for another.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mlauto.serving.metrics import FAMILIES, Family, heading, sample

__all__ = ["LONGEST", "MOST_ROWS", "OWN", "Row", "measured"]

MOST_ROWS = 500  # of one product
MOST_BYTES = 1 << 20
MOST_LABELS = 4
LONGEST = 120  # of a label's value
NAME = re.compile(r"mlauto_[a-z_]+")
LABEL = re.compile(r"[a-z][a-z_]*")
READABLE, REFUSED = "mlauto_gauges_readable", "mlauto_gauges_refused"
OWN = {
    READABLE: Family("gauge", ("product",), "1 when the control plane's record of the product can be read."),
    REFUSED: Family("gauge", ("product",), "Rows of that record that are not shown: odd names, doubles, too many."),
}


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sample. A name that ends in `_total` is a counter's; `help` is said once, by the first that has it."""

    name: str
    value: float
    labels: dict[str, str] = {}
    help: str = ""


def measured(products_home: Path, products: Iterable[str]) -> list[str]:
    """The lines of the products that have a record, each metric's together.

    A record that does not parse gives no row, and is told by `mlauto_gauges_readable`.
    """
    series: dict[str, dict[tuple[tuple[str, str], ...], float]] = {READABLE: {}, REFUSED: {}}
    told = {name: family.help for name, family in OWN.items()}
    for product in products:
        path = products_home / product / "records" / "gauges.json"
        rows = _read(path)
        if rows is None and not path.exists():
            continue
        refused = max(0, len(rows or ()) - MOST_ROWS)
        for row in (rows or ())[:MOST_ROWS]:
            labels = (("product", product), *sorted(row.labels.items()))
            known = series.setdefault(row.name, {}) if _sound(row) else None
            if known is None or labels in known:
                refused += 1
                continue
            known[labels] = row.value
            told[row.name] = told.get(row.name) or row.help
        series[READABLE][("product", product),] = int(rows is not None)
        series[REFUSED][("product", product),] = refused
    return [line for name, values in series.items() for line in _family(name, told[name], values)]


def _family(name: str, told: str, values: dict[tuple[tuple[str, str], ...], float]) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    return [*heading(name, kind, told), *(sample(name, labels, value) for labels, value in values.items())]


def _sound(row: Row) -> bool:
    """Whether it may be shown: a name that nobody else has, few labels, short values."""
    taken = row.name in OWN or any(row.name.startswith(name) for name in FAMILIES)
    if taken or not NAME.fullmatch(row.name) or len(row.labels) > MOST_LABELS:
        return False
    names = all(LABEL.fullmatch(name) and name != "product" for name in row.labels)
    return names and all(len(text) <= LONGEST for text in row.labels.values())


def _read(path: Path) -> list[Row] | None:
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        return msgspec.json.decode(content, type=list[Row]) if len(content) <= MOST_BYTES else None
    except (OSError, msgspec.MsgspecError):
        return None
