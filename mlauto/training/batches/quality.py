"""Validation of arriving data with Great Expectations: run a suite, propose one, and show what came of it.

A suite is a committed file: Great Expectations' own JSON (or the same as YAML). Great Expectations takes seconds and
264 MB to import, so nothing here imports it before it is called.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlauto.errors import ProductError
from mlauto.records import Validation
from mlauto.training.batches.expectations import batch_of, be_quiet, suite_of, suite_with, untyped_text
from mlauto.training.batches.failures import failures_of
from mlauto.training.batches.frames import kinds_of, read_file, typed
from mlauto.training.pregate.gate import doubtful
from mlauto.training.pregate.parts import FrameParts, ParquetParts, UnprovenError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["data_docs", "load_suite", "markdown_table", "propose_suite", "validate", "validate_file"]

# Measured: see docs/decisions/validation.md.
GATE_ROWS = 50_000
# Measured: with 1 span, a new season of real rentals is refused; 3 leaves room and still refuses a unit wrong by ten.
SLACK_SPANS = 3.0
TYPES = {
    "integer": ["int64", "float64"],
    "number": ["int64", "float64"],
    "boolean": ["bool", "int64", "float64"],
    "string": ["str"],
    "time": ["datetime64[us]"],
}


def validate(frame: "pd.DataFrame", suite_path: Path, *, gate_rows: int = GATE_ROWS) -> Validation:
    """What the suite at `suite_path` says of a typed frame.

    Of a frame with `gate_rows` or more, what certainly holds is found without Great Expectations. The rest is first
    asked only for true or false; what failed (at most 20) is asked again for details, with up to five distinct examples
    each. Raises `ProductError` when the suite itself is no use.
    """
    suite = suite_of(load_suite(suite_path), suite_path)
    open_ = suite.expectations if len(frame) < gate_rows else doubtful(FrameParts(frame), suite.expectations)
    if not open_:
        return Validation(passed=True, evaluated=len(suite.expectations))
    batch = batch_of(frame)
    quick = batch.validate(suite_with(open_, suite.name), result_format="BOOLEAN_ONLY")
    failed = [result.expectation_config for result in quick.results if not result.success]
    failures = failures_of(batch, failed, frame)
    return Validation(passed=not failed, evaluated=len(suite.expectations), failures=failures)


def validate_file(
    path: Path, suite_path: Path, *, kinds: Mapping[str, str] | None = None, timestamp: str | None = None
) -> Validation:
    """As `validate` of what `frames.read_file` makes of the file, whose columns are only read where they are asked of.

    The whole of a Parquet file is read only when something may fail. Raises as both do.
    """
    import pyarrow as pa

    suite = suite_of(load_suite(suite_path), suite_path)
    if path.name.lower().endswith(".parquet"):
        try:
            open_ = doubtful(ParquetParts(path, kinds=kinds, timestamp=timestamp), suite.expectations)
        except (UnprovenError, OSError, ValueError, pa.ArrowException):
            open_ = suite.expectations
        if not open_:
            return Validation(passed=True, evaluated=len(suite.expectations))
    return validate(read_file(path, kinds=kinds, timestamp=timestamp), suite_path)


def propose_suite(
    frame: "pd.DataFrame", *, target: str, timestamp: str | None = None, name: str = "expectations"
) -> dict[str, Any]:
    """A suite (Great Expectations' JSON form) that `frame` passes, with room for what seasons and growth will bring.

    Proposed are: at least one row, the set of columns, types, the share of missing values (three times what was seen
    plus 10 points), ranges of numbers (the bulk's span three times over to either side, 95 % of rows), sets of
    categories (80 % of rows; 95 % for a target), no missing target or timestamp. No range is proposed where the sample
    says nothing of one: constants, and counters or dates that only rise or fall. Raises `ProductError` when a named
    column is not in the frame, or the frame has no rows.
    """
    for column, role in ((target, "target"), (timestamp, "timestamp")):
        if column is not None and column not in frame.columns:
            raise ProductError(f"{role} {column!r} is no column of the data; there are: {', '.join(map(str, frame))}")
    if not len(frame):
        raise ProductError("a suite cannot be proposed from no rows: give a file with data")
    frame = typed(frame, timestamp=timestamp)
    kinds = kinds_of(frame)
    expectations = [
        _entry("expect_table_row_count_to_be_between", min_value=1),
        _entry("expect_table_columns_to_match_set", column_set=list(frame.columns), exact_match=True),
    ]
    for column in frame.columns:
        expectations += _for_column(
            frame[column], kinds.get(column), column in {target, timestamp}, column == timestamp
        )
    return {"name": name, "expectations": expectations, "meta": {}}


def load_suite(path: Path) -> dict[str, Any]:
    """The suite in a JSON or YAML file. Raises `ProductError` naming the file, and the entry that is wrong."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        suite = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise ProductError(f"{path} does not exist: write it, or propose one with `mlauto new --from FILE`") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ProductError(f"{path} cannot be read as an expectation suite: {error}") from error
    if not isinstance(suite, dict) or not isinstance(suite.get("expectations"), list):
        raise ProductError(f'{path}: an expectation suite is an object with a list "expectations"')
    for number, entry in enumerate(suite["expectations"]):
        where = f"{path}: expectations[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise ProductError(f'{where} has no "type", such as "expect_column_values_to_not_be_null"')
        if not isinstance(entry.get("kwargs", {}), dict):
            raise ProductError(f"{where}.kwargs ({entry['type']}) must be an object of arguments")
    return {"name": path.stem, "meta": {}, **suite}


def data_docs(frame: "pd.DataFrame", suite: Mapping[str, Any], target_dir: Path) -> Path:
    """Great Expectations' own Data Docs of validating `frame`, written to `target_dir`; the path of its index.html."""
    import great_expectations as gx

    with tempfile.TemporaryDirectory(prefix="mlauto-docs-") as scratch:
        context = gx.get_context(mode="file", project_root_dir=scratch)
        be_quiet(context)
        asset = context.data_sources.add_pandas("batch").add_dataframe_asset("batch")
        definition = gx.ValidationDefinition(
            name="batch",
            data=asset.add_batch_definition_whole_dataframe("batch"),
            suite=context.suites.add(suite_of(suite, target_dir)),
        )
        context.validation_definitions.add(definition).run(batch_parameters={"dataframe": untyped_text(frame)})
        context.build_data_docs()
        site = next(Path(scratch).rglob("data_docs/local_site"))
        shutil.copytree(site, target_dir, dirs_exist_ok=True)
    return target_dir / "index.html"


def markdown_table(validation: Validation) -> str:
    """The validation for people: one sentence, and a table of what failed."""
    if validation.problem:
        return f"**Rejected**: {_cell(validation.problem)}"
    if validation.passed:
        return f"All {validation.evaluated} expectations hold."
    lines = [
        f"**{len(validation.failures)} failures** among {validation.evaluated} expectations",
        "",
        "| expectation | column | expected | observed | examples |",
        "|---|---|---|---|---|",
    ]
    for failure in validation.failures:
        cells = (failure.expectation, failure.column or "", failure.expected, failure.observed)
        lines.append(f"| {' | '.join(map(_cell, cells))} | {_cell(', '.join(failure.examples))} |")
    return "\n".join(lines)


def _for_column(column: "pd.Series", kind: str | None, required: bool, is_time: bool) -> list[dict[str, Any]]:
    """The expectations proposed for one column."""
    entries = []
    name = str(column.name)
    if kind is not None:
        types = TYPES["integer"] if is_time and kind in {"integer", "number"} else TYPES[kind]
        entries.append(_entry("expect_column_values_to_be_in_type_list", column=name, type_list=types))
    allowed = 0.0 if required else round(min(1.0, 3 * float(column.isna().mean()) + 0.1), 3)
    if allowed < 0.9:
        mostly = {"mostly": round(1 - allowed, 3)} if allowed else {}
        entries.append(_entry("expect_column_values_to_not_be_null", column=name, **mostly))
    if is_time:
        return entries
    if kind in {"integer", "number"}:
        entries += _range(column)
    elif kind == "string" and column.nunique() <= min(50, max(2, len(column) // 10)):
        values = sorted(column.dropna().unique().tolist())
        mostly = {"mostly": 0.95 if required else 0.8}
        entries.append(_entry("expect_column_values_to_be_in_set", column=name, value_set=values, **mostly))
    return entries


def _range(column: "pd.Series") -> list[dict[str, Any]]:
    """The range of a numeric column, or nothing where the sample does not show one."""
    import numpy as np

    values = column.dropna()
    low, high = np.quantile(values, [0.001, 0.999]).tolist()
    if low == high or values.is_monotonic_increasing or values.is_monotonic_decreasing:
        return []
    slack = SLACK_SPANS * (high - low)
    bounds = {"min_value": float(f"{low - slack:.6g}"), "max_value": float(f"{high + slack:.6g}")}
    return [_entry("expect_column_values_to_be_between", column=str(column.name), **bounds, mostly=0.95)]


def _entry(kind: str, **arguments: object) -> dict[str, Any]:
    return {"type": kind, "kwargs": arguments}


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
