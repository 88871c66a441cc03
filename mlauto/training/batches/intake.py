"""What the files of a batch give to training: new rows with a label. The others wait; what is strange is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlauto.product import Data
from mlauto.store import Store
from mlauto.training.batches.frames import joined, typed
from mlauto.training.batches.waiting import labelled_rows, taken

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Intake", "intake", "newest_time", "ordered"]


@dataclass(frozen=True, kw_only=True)
class Intake:
    """`rows` may be trained on; `unlabelled` others wait, remembered as `waiting` (file -> states in the store).

    `repeated` names the files in which nothing is new, `warnings` are sentences.
    """

    rows: "pd.DataFrame"
    unlabelled: int
    waiting: dict[str, tuple[str, ...]]
    repeated: tuple[str, ...]
    warnings: tuple[str, ...]


def ordered(frames: "Mapping[str, pd.DataFrame]", kinds: Mapping[str, str], timestamp: str | None) -> "pd.DataFrame":
    """All rows as one typed frame, columns in the order of earlier batches, rows in order of time, undated ones first.

    The order of the files counts where the product has no timestamp, and for rows of the same time.
    """
    frame = joined(list(frames.values()))
    order = [column for column in kinds if column in frame] + [column for column in frame if column not in kinds]
    frame = frame[order]
    if timestamp is None or timestamp not in frame:
        return frame
    return frame.sort_values(timestamp, kind="stable", ignore_index=True, na_position="first")


def intake(
    store: Store,
    product: str,
    frames: "Mapping[str, pd.DataFrame]",
    data: Data,
    *,
    kinds: Mapping[str, str],
    latest: float | None = None,
) -> Intake:
    """What is new in the files (name -> typed rows), and has a label; the rest goes into the store to wait.

    `kinds` are those of earlier batches, `latest` is their newest time. Raises `StoreError` when a waiting row's file
    is missing from the store.
    """
    found = {name: taken(store, product, name, frame, data.target) for name, frame in frames.items()}
    new = ordered({name: one.rows for name, one in found.items()}, kinds, data.timestamp)
    there = labelled_rows(new, data.target)
    rows = typed(new[there].reset_index(drop=True), kinds=kinds, timestamp=data.timestamp)
    known, waits = sum(one.known for one in found.values()), int((~there).sum())
    warnings = [sentence for name, frame in frames.items() for sentence in _disorder(name, frame, data.timestamp)]
    warnings += _late(rows, data.timestamp, latest)
    if known:
        warnings.append(f"{known:,} rows were trained on before, when their file came without some labels: left out")
    if waits:
        warnings.append(
            f"{waits:,} of {len(new):,} rows have no label in {data.target!r}: they wait, and are trained on when their"
            " file is landed again, under the same name, with labels"
        )
    return Intake(
        rows=rows,
        unlabelled=waits,
        waiting={name: one.states for name, one in found.items() if one.states},
        repeated=tuple(name for name, one in found.items() if one.known and not _any(one.rows, data.target)),
        warnings=tuple(warnings),
    )


def newest_time(frame: "pd.DataFrame", timestamp: str | None) -> float | None:
    """The newest timestamp as a number: seconds since the epoch, or what the column counts; None without any."""
    if timestamp not in frame:
        return None
    column = frame[timestamp].dropna()
    if not len(column) or column.dtype.kind not in "Mif":
        return None
    newest = column.max()
    return float(newest.timestamp() if column.dtype.kind == "M" else newest)


def _any(frame: "pd.DataFrame", target: str) -> bool:
    return bool(labelled_rows(frame, target).any())


def _disorder(name: str, frame: "pd.DataFrame", timestamp: str | None) -> list[str]:
    """What is to be said of a file whose times go backwards, or are missing."""
    if timestamp not in frame:
        return []
    said = []
    missing, dated = int(frame[timestamp].isna().sum()), frame[timestamp].dropna()
    back = int((dated < dated.shift()).sum()) if dated.dtype.kind in "Mif" else 0
    if back:
        said.append(f"{name}: {timestamp} goes backwards {back:,} times: the rows were put in order")
    if missing:
        said.append(f"{name}: {missing:,} rows have no {timestamp}: they count as the batch's oldest")
    return said


def _late(rows: "pd.DataFrame", timestamp: str | None, latest: float | None) -> list[str]:
    """What is to be said of rows that are older than what was accepted before."""
    if latest is None or newest_time(rows, timestamp) is None:
        return []
    column = rows[timestamp].dropna()
    times = column.astype("datetime64[us]").astype("int64") / 1e6 if column.dtype.kind == "M" else column
    older = int((times < latest).sum())
    if not older:
        return []
    said = f"{older:,} of {len(rows):,} rows are older by {timestamp} than the newest that was accepted before"
    return [f"{said}: batches are weighted in order of arrival, so these count as new"]
