"""Validating a large Parquet file: Great Expectations alone, the gate before it, and whether they ever disagree.

    python benchmarks/validation.py [--quick] [--json PATH]

1,000,000 rows (100,000 with --quick) of 20 columns, and a suite of 15 expectations of 9 types. CPU seconds of both in
one process that has imported everything and validated once before, the best of three: from the file to the verdict,
with reading. Imports are not in them; they are a row of their own. Peak memory is that of a fresh process for each,
above what its imports take. Verdicts and records are compared on the good file and on one for each of the 15
expectations that fails by just that (100,000 rows). Exit code 0 only when every target holds.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from figures import Figure, main

from mlauto.records import Validation
from mlauto.training.batches.expectations import batch_of, suite_of
from mlauto.training.batches.frames import read_file
from mlauto.training.batches.quality import load_suite, validate, validate_file
from mlauto.training.pregate.gate import verdicts
from mlauto.training.pregate.parts import ParquetParts

NEVER = sys.maxsize
SITES = [f"site {number}" for number in range(20)]
BADLY = 100_000  # rows of the files that fail
CHILD = """
import re, sys, time
from pathlib import Path
begun = time.process_time()
import great_expectations
imports = time.process_time() - begun
import pandas, pyarrow.parquet
from mlauto.training.batches.frames import read_file
from mlauto.training.batches.quality import validate, validate_file
small, large, suite = map(Path, sys.argv[1:4])
def gate(path): return validate_file(path, suite)
def alone(path): return validate(read_file(path), suite, gate_rows=sys.maxsize)
work = {"gate": gate, "alone": alone}[sys.argv[4]]
assert work(small).passed
def kilobytes(field): return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = kilobytes("VmRSS")
assert work(large).passed
print(imports, (kilobytes("VmHWM") - before) / 1024)
"""


def table(rows: int) -> pd.DataFrame:
    """Times, 12 floats (5 with gaps), 3 integers, 3 texts, a boolean."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {"time": pd.date_range("2024-01-01", periods=rows, freq="s", unit="us")}
    for number in range(10):
        gaps = random.random(rows) < (0.05 if number % 2 == 0 else 0)
        columns[f"x{number}"] = np.where(gaps, np.nan, random.normal(50, 10, rows))
    columns |= {f"n{number}": random.integers(0, 1000, rows) for number in range(3)}
    columns["site"] = random.choice(SITES, rows)
    columns["kind"] = random.choice(["a", "b", "c"], rows)
    columns["code"] = pd.Series(random.integers(1000, 9999, rows)).map("C{}".format)
    columns["open"] = random.random(rows) < 0.5
    columns["w"] = random.exponential(1, rows)
    columns["y"] = random.normal(0, 1, rows)
    return pd.DataFrame(columns)


def expectation(name: str, **arguments: object) -> dict[str, Any]:
    return {"type": f"expect_{name}", "kwargs": arguments}


def suite(columns: list[str]) -> dict[str, Any]:
    """What `propose_suite` writes, and what people add."""
    wide = {"min_value": -50, "max_value": 200, "mostly": 0.95}
    return {
        "expectations": [
            expectation("table_row_count_to_be_between", min_value=1000),
            expectation("table_columns_to_match_set", column_set=columns, exact_match=True),
            expectation("column_values_to_not_be_null", column="y"),
            expectation("column_values_to_not_be_null", column="time"),
            expectation("column_values_to_not_be_null", column="x0", mostly=0.9),
            expectation("column_values_to_be_in_type_list", column="x1", type_list=["int64", "float64"]),
            expectation("column_values_to_be_in_type_list", column="site", type_list=["str"]),
            expectation("column_values_to_be_between", column="x2", **wide),
            expectation("column_values_to_be_between", column="x3", **wide),
            expectation("column_values_to_be_between", column="n0", min_value=0, max_value=1000),
            expectation("column_values_to_be_between", column="w", min_value=0, strict_min=True),
            expectation("column_values_to_be_in_set", column="kind", value_set=["a", "b", "c"]),
            expectation("column_values_to_be_in_set", column="site", value_set=SITES, mostly=0.8),
            expectation("column_values_to_match_regex", column="code", regex="^C[0-9]{4}$"),
            expectation("column_mean_to_be_between", column="x4", min_value=40, max_value=60),
        ]
    }


def damaged(good: pd.DataFrame) -> list[pd.DataFrame]:
    """For each expectation of the suite, a frame that it fails."""
    last = np.arange(len(good)) == len(good) - 1
    many = np.arange(len(good)) % 4 == 0
    return [
        good[:900],
        good.rename(columns={"n2": "n3"}),
        good.assign(y=good["y"].mask(last)),
        good.assign(time=good["time"].mask(last)),
        good.assign(x0=good["x0"].mask(many)),
        good.assign(x1=good["x1"].astype(str)),
        good.assign(site=many),
        good.assign(x2=good["x2"].mask(many, -999.0)),
        good.assign(x3=good["x3"] * 1000),
        good.assign(n0=good["n0"].mask(last, 1001)),
        good.assign(w=good["w"].mask(last, 0.0)),
        good.assign(kind=good["kind"].mask(last, "d")),
        good.assign(site=good["site"].mask(many, "elsewhere")),
        good.assign(code=good["code"].mask(last, "C12345")),
        good.assign(x4=good["x4"] + 20),
    ]


def told(path: Path, suite_path: Path) -> tuple[list[bool | None], list[bool]]:
    """The verdicts of the gate, and of Great Expectations."""
    held = suite_of(load_suite(suite_path), suite_path)
    for number, one in enumerate(held.expectations):
        one.meta = {"number": number}
    outcome = batch_of(read_file(path)).validate(held, result_format="BOOLEAN_ONLY")
    truth = {result.expectation_config.meta["number"]: bool(result.success) for result in outcome.results}
    entries = [(one.configuration.type, one.configuration.kwargs) for one in held.expectations]
    return verdicts(ParquetParts(path), entries), [truth[number] for number in range(len(entries))]


def seconds(work: Callable[[], Validation], times: int = 3) -> float:
    """The fewest CPU seconds that it takes; it must pass."""
    took = []
    for _ in range(times):
        begun = time.process_time()
        passed = work().passed
        took.append(time.process_time() - begun)
        if not passed:
            raise SystemExit("the good file does not pass: the benchmark is wrong, or the gate is")
    return min(took)


def fresh(kind: str, small: Path, large: Path, suite_path: Path) -> tuple[float, float]:
    """CPU seconds of importing Great Expectations, and MB that validating takes above the imports, in a new process."""
    command = [sys.executable, "-c", CHILD, str(small), str(large), str(suite_path), kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imports, memory = map(float, done.stdout.split()[-2:])
    return imports, memory


def disagreements(folder: Path, good: pd.DataFrame, suite_path: Path) -> list[Figure]:
    """How often gate and Great Expectations differ, of the good file and of each that fails."""
    differ = undecided = records = unfailed = 0
    for number, frame in enumerate([good, *damaged(good)]):
        path = folder / f"{number}.parquet"
        frame.to_parquet(path, index=False)
        gate, truth = told(path, suite_path)
        differ += sum(said is not None and said != real for said, real in zip(gate, truth, strict=True))
        undecided += sum(said is None for said in gate)
        unfailed += number > 0 and truth[number - 1]
        typed = read_file(path)
        alone = validate(typed, suite_path, gate_rows=NEVER)
        records += alone != validate(typed, suite_path, gate_rows=0) or alone != validate_file(path, suite_path)
    return [
        ("verdicts that differ, of 16 files x 15", differ, "<=", 0),
        ("of these left to Great Expectations", undecided, "<=", 12),
        ("records that differ, of 16 files", records, "<=", 0),
        ("damages that went unnoticed, of 15", unfailed, "<=", 0),
    ]


def figures(quick: bool) -> list[Figure]:
    """The figures with their targets."""
    rows = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="mlauto-validation-") as scratch:
        folder = Path(scratch)
        good, suite_path = table(rows), folder / "suite.json"
        path, small = folder / "good.parquet", folder / "small.parquet"
        good.to_parquet(path, index=False)
        good[:2000].to_parquet(small, index=False)
        suite_path.write_text(json.dumps(suite(list(good))))
        validate(read_file(small), suite_path)
        typed = read_file(path)
        alone = seconds(lambda: validate(read_file(path), suite_path, gate_rows=NEVER))
        gate = seconds(lambda: validate_file(path, suite_path))
        of_frame = seconds(lambda: validate(typed, suite_path, gate_rows=0))
        imports, alone_memory = fresh("alone", small, path, suite_path)
        _, gate_memory = fresh("gate", small, path, suite_path)
        return [
            (f"Great Expectations, {rows:,} x 20 from Parquet, CPU s", alone, "<=", 2.0),
            ("the gate, from Parquet, CPU s", gate, "<=", 0.3),
            ("the gate, of the typed frame, CPU s", of_frame, "<=", 0.3),
            ("Great Expectations / the gate", alone / gate, ">=", 5.0),
            ("peak memory of Great Expectations, MB", alone_memory, "<=", 1500),
            ("peak memory of the gate, MB", gate_memory, "<=", 150),
            ("importing Great Expectations (not in the above), CPU s", imports, "<=", 10.0),
            *disagreements(folder, good[:BADLY], suite_path),
        ]


if __name__ == "__main__":
    raise SystemExit(main(__doc__, figures))
