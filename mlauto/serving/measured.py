"""What monitoring has found of a product, for `/metrics`: read from its record, for the gateway knows of no joins.

The record is `<products>/<product>/records/live_metrics.json`, replaced as a whole by the live sensor.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

__all__ = ["MEASURED", "measured"]

Key = tuple[str, ...]
MEASURED: dict[str, Key] = {  # gauge -> the names of its labels
    "mlauto_label_delay_seconds": ("product", "quantile"),
    "mlauto_predictions_waiting_for_labels": ("product",),
    "mlauto_live_metrics_timestamp_seconds": ("product",),
}


class _Delay(msgspec.Struct):
    median: float
    p90: float


class _Record(msgspec.Struct):
    measured: float
    waiting: int = 0
    label_delay: _Delay | None = None


def measured(products_home: Path, products: Iterable[str]) -> dict[str, dict[Key, float]]:
    """Gauges of the products that were measured; of one whose record does not parse there are none.

    The timestamp says how old they are, so that a control plane that is down is not mistaken for labels that come.
    """
    found: dict[str, dict[Key, float]] = {name: {} for name in MEASURED}
    for product in products:
        record = _read(products_home / product / "records" / "live_metrics.json")
        if record is None:
            continue
        found["mlauto_predictions_waiting_for_labels"][(product,)] = record.waiting
        found["mlauto_live_metrics_timestamp_seconds"][(product,)] = record.measured
        if record.label_delay is not None:
            found["mlauto_label_delay_seconds"][product, "0.5"] = record.label_delay.median
            found["mlauto_label_delay_seconds"][product, "0.9"] = record.label_delay.p90
    return found


def _read(path: Path) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError):
        return None
