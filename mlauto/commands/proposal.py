"""What a data file says about the product that could be made of it: features, labels, task, and what is wrong."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlauto.errors import ProductError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Proposal", "example_file", "propose", "read_source"]

FEWEST_ROWS = 20
MOST_CLASSES = 50


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A product's columns by role. `labels` are up to five classes, empty for regression; `notes` are for people."""

    target: str
    task: str
    timestamp: str | None
    exclude: tuple[str, ...]
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    labels: tuple[Any, ...]
    notes: tuple[str, ...]


def read_source(source: Path, timestamp: str | None) -> "pd.DataFrame":
    """The file as the loop will see it: typed columns. Raises `ProductError` when the loop could not use it."""
    from mlauto.errors import DataError
    from mlauto.training.batches.frames import SUFFIXES, read_file

    if not source.is_file():
        raise ProductError(f"{source} is no file: name a CSV or Parquet file")
    if not source.name.lower().endswith(SUFFIXES) or source.name.startswith("."):
        raise ProductError(f"{source.name} would not be picked up: rename it to end in {', '.join(SUFFIXES)}")
    try:
        frame = read_file(source, timestamp=timestamp)
    except DataError as error:
        raise ProductError(str(error)) from error
    if len(frame.columns) == 1 and any(mark in str(frame.columns[0]) for mark in ";\t|"):
        raise ProductError(f"{source.name} is not separated by commas: save it as a comma-separated file")
    if len(frame) < FEWEST_ROWS:
        raise ProductError(f"{source.name} has {len(frame)} rows: at least {FEWEST_ROWS} are needed to begin with")
    return frame


def propose(
    frame: "pd.DataFrame", *, target: str | None, task: str | None, timestamp: str | None, exclude: Sequence[str]
) -> Proposal:
    """The roles of a typed frame's columns.

    Without a `task`, text, booleans and up to 20 distinct whole numbers are classes. Besides `exclude`, columns are
    excluded that cannot be features: empty ones, an index that was saved along, times, and text that is nearly unique.
    Raises `ProductError` with the nearest column names, or with advice, for roles that the data does not support.
    """
    from mlauto.training.batches.frames import kinds_of

    names = [str(name) for name in frame.columns]
    if target is None:
        raise ProductError(f"--target is needed with a file: which column is to be predicted? ({_listed(names)})")
    for option, column in (("--target", target), ("--timestamp", timestamp), *(("--exclude", c) for c in exclude)):
        if column is not None and column not in names:
            raise ProductError(f"{option} {column!r} is no column of the file{_nearest(column, names)}")
    if target == timestamp or target in exclude:
        raise ProductError(f"--target {target!r} is also the timestamp or excluded: it can have one role only")
    kinds = kinds_of(frame)
    _require_complete(frame, target, "--target")
    if timestamp is not None:
        _require_complete(frame, timestamp, "--timestamp")
        if kinds[timestamp] in {"string", "boolean"}:
            raise ProductError(f"--timestamp {timestamp!r} holds {frame[timestamp].iloc[0]!r}, which is no time")
    task = task or _task_of(frame[target], kinds[target])
    _require_task(frame[target], kinds[target], task)
    features = [name for name in names if name not in {target, timestamp, *exclude}]
    refused = {name: reason for name in features if (reason := _no_feature(frame[name], kinds.get(name)))}
    usable = [name for name in features if name not in refused]
    if not usable:
        raise ProductError("no column is left to predict from: exclude fewer, or give a file with features")
    return Proposal(
        target=target,
        task=task,
        timestamp=timestamp,
        exclude=(*(name for name in exclude if name != timestamp), *refused),
        numbers=tuple(name for name in usable if kinds[name] != "string"),
        categories=tuple(name for name in usable if kinds[name] == "string"),
        labels=_labels(frame[target]) if task == "classification" else (),
        notes=tuple(f"column {name!r} is excluded: {reason}" for name, reason in refused.items()),
    )


def example_file(folder: Path, *, target: str, task: str, timestamp: str) -> Path:
    """Write a small made-up file (500 hourly rows, numbers, a category, gaps) for a product that has no data yet."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    rows = 500
    hours = np.arange(rows)
    temperature = 15 + 8 * np.sin(hours / 24 * 2 * np.pi) + random.normal(0, 2, rows)
    city = random.choice(["Bern", "Oslo", "Rome"], rows)
    demand = 40 + 2.5 * temperature + 12 * (city == "Rome") + random.normal(0, 5, rows)
    frame = pd.DataFrame(
        {
            timestamp: pd.date_range("2025-01-01", periods=rows, freq="h"),
            "temperature": np.where(random.random(rows) < 0.05, np.nan, temperature.round(2)),
            "weekend": hours // 24 % 7 >= 5,
            "city": city,
            target: demand.round(1) if task == "regression" else (demand > np.median(demand)).astype(int),
        }
    )
    path = folder / "example.csv"
    frame.to_csv(path, index=False)
    return path


def _nearest(name: str, names: Sequence[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in names}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there are: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return ", ".join(names[:30]) + more


def _require_complete(frame: "pd.DataFrame", column: str, option: str) -> None:
    gaps = int(frame[column].isna().sum())
    if gaps:
        raise ProductError(f"{option} {column!r} has no value in {gaps} of {len(frame)} rows: remove those rows first")


def _task_of(values: "pd.Series", kind: str) -> str:
    classes = kind in {"string", "boolean"} or (kind == "integer" and values.nunique() <= 20)
    return "classification" if classes else "regression"


def _require_task(values: "pd.Series", kind: str, task: str) -> None:
    """Raises `ProductError` with advice when the target does not suit the task."""
    column, distinct = str(values.name), values.nunique()
    if distinct < 2:
        raise ProductError(f"--target {column!r} has the same value in every row: there is nothing to predict")
    if kind == "time":
        raise ProductError(f"--target {column!r} holds times: write it as a number, for example hours until then")
    if task == "regression" and kind in {"string", "boolean"}:
        raise ProductError(
            f"--target {column!r} holds {values.iloc[0]!r}, no numbers: use --task classification, or name another"
        )
    if task == "classification" and distinct > MOST_CLASSES and (kind != "string" or distinct > len(values) / 2):
        advice = "name another target" if kind == "string" else "use --task regression, or group its values"
        raise ProductError(f"--target {column!r} has {distinct} different values, too many for classes: {advice}")


def _no_feature(values: "pd.Series", kind: str | None) -> str | None:
    """Why a column cannot be a feature; None when it can."""
    if kind is None:
        return "it has no value at all"
    if str(values.name).startswith("Unnamed:"):
        return "it has no name, and looks like an index that was saved along"
    if kind == "time":
        return "it holds times; derive numbers from it if they matter"
    if kind == "string" and values.nunique() > max(50, values.notna().sum() / 2):
        return "nearly every row has a text of its own"
    return None


def _labels(values: "pd.Series") -> tuple[Any, ...]:
    return tuple(sorted(values.unique().tolist(), key=str)[:5])
