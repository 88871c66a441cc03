"""`mlauto predictions PRODUCT`: a part of the prediction log as a table, however long the log is."""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlauto.commands.live import when
from mlauto.errors import MlautoError
from mlauto.monitoring.log.query import Query, count
from mlauto.monitoring.log.queryrows import DEFAULT, batches
from mlauto.records import Signature, TrainedModel
from mlauto.sections import UNITS
from mlauto.settings import Settings
from mlauto.store import Store

if TYPE_CHECKING:
    import pyarrow

__all__ = ["count_predictions", "export_predictions", "query_of"]

AGO = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def query_of(since: str | None, until: str | None, *, version: str | None, failed: bool | None, now: float) -> Query:
    """The query of these words; a time may also be how long ago it was. Raises `MlautoError`."""
    found = Query(version=version, failed=failed)
    if since is not None:
        found = dataclasses.replace(found, since=_moment("since", since, now))
    if until is not None:
        found = dataclasses.replace(found, until=_moment("until", until, now))
    if found.since >= found.until:
        raise MlautoError(f"--since {since} is not before --until {until}: nothing lies between them")
    return found


def _moment(option: str, text: str, now: float) -> float:
    ago = AGO.fullmatch(text.strip())
    return now - float(ago[1]) * UNITS[ago[2]] if ago else when(text, now, option)


def count_predictions(settings: Settings, product: str, query: Query) -> str:
    """How many requests a query finds, and how many of them failed, in a sentence."""
    found = count(_folder(settings, product), query)
    rate = found.error_rate
    return f"{found.requests:,} requests, {found.failed:,} failed" + (f" ({rate:.3%})" if rate else "")


def export_predictions(
    settings: Settings,
    product: str,
    query: Query,
    target: str,
    *,
    columns: Sequence[str] = (),
    labelled: bool = False,
    limit: int | None = None,
) -> str:
    """Write what a query finds to a `.parquet` or `.csv` file, which appears whole or not at all, or to `-`.

    Returns a sentence. Raises `MlautoError` for another kind of file, when nothing was found, or the file cannot be
    written.
    """
    if target != "-" and not target.endswith((".parquet", ".csv")):
        raise MlautoError(f"--to {target!r}: name a file that ends in .parquet or .csv, or - for CSV on the terminal")
    folder, kinds = _folder(settings, product), _kinds(settings, product)
    found = batches(folder, query, columns or DEFAULT, kinds=kinds, labelled=labelled, limit=limit)
    try:
        lines = _to_terminal(found) if target == "-" else _to_file(found, Path(target))
    except OSError as error:
        raise MlautoError(f"{target} cannot be written: {error}") from error
    if not lines:
        raise MlautoError(f"{product}: the prediction log has nothing of that: try other times, or --count")
    return f"{target}: {lines:,} lines"


def _folder(settings: Settings, product: str) -> Path:
    folder = settings.product_home(product) / "predictions"
    if not folder.is_dir():
        raise MlautoError(f"{product} has no prediction log: {folder} is not there, no prediction was logged yet")
    return folder


def _kinds(settings: Settings, product: str) -> dict[str, str]:
    """Kinds of the newest model's columns, and of its predictions; nothing before there is one."""
    model = Store(settings.home).read_record(product, "model", TrainedModel)
    if model is None:
        return {}
    answers = _kind_of_answers(model.signature)
    return {**model.signature.columns, "prediction": answers, "label": answers}


def _kind_of_answers(signature: Signature) -> str:
    return "number" if signature.task == "regression" else "string"


def _to_terminal(found: "Iterator[pyarrow.Table]") -> int:
    from pyarrow import csv

    lines = 0
    for table in found:
        csv.write_csv(table, sys.stdout.buffer, csv.WriteOptions(include_header=lines == 0))
        lines += table.num_rows
    sys.stdout.buffer.flush()
    return lines


def _to_file(found: "Iterator[pyarrow.Table]", target: Path) -> int:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    lines = 0
    try:
        with contextlib.ExitStack() as open_now:
            writer: Any = None
            for table in found:
                writer = writer or open_now.enter_context(_writer(temporary, table.schema, target.suffix))
                writer.write_table(table)
                lines += table.num_rows
        if lines:
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return lines


def _writer(path: Path, schema: "pyarrow.Schema", suffix: str) -> Any:
    if suffix == ".csv":
        from pyarrow import csv

        return csv.CSVWriter(path, schema)
    from pyarrow import parquet

    return parquet.ParquetWriter(path, schema, compression="zstd")
