"""Drift reports side by side with peers: cost, false alarms over years, power, and what must or must not be found.

Figures of cost are CPU seconds of a fresh process, imports not counted, reading counted, all from one run: a reference
of 100,000 rows and a window of 1,000,000 in 14 columns of numbers and 2 of levels. Peers run with their defaults in
their own pinned environments in the temporary folder; one that cannot be installed is said so and left out, but for
Evidently, without which the comparison fails.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from drift_years import dependent, level, power, years
from figures import Figure, main
from serving_environments import environment
from serving_load import UnavailableError

from mlauto.monitoring.drift.fitting import fit_profile

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = Path(tempfile.gettempdir()) / "mlauto-drift-peers"
PEERS = {
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "pyarrow==22.0.0"),
    "whylogs": (
        "whylogs==1.6.4",
        "pandas==2.3.3",
        "numpy==1.26.4",
        "pyarrow==22.0.0",
        "scipy<1.14",
        "ipython",
        "setuptools<81",
    ),
    "nannyml": ("nannyml==0.13.1", "statsmodels", "pyarrow==17.0.0"),
}
SLOWEST = 900.0
Columns = dict[str, Any]


def columns(rows: int, dice: np.random.Generator) -> Columns:
    """A window of the world in which nothing happens."""
    numbers = {f"x{n}": dice.normal(size=rows) for n in range(14)}
    letters, words = np.array(list("abcdef")), np.array(["often", "now and then", "seldom"])
    return {**numbers, "letter": dice.choice(letters, rows), "word": dice.choice(words, rows, p=[0.7, 0.2, 0.1])}


def spoiled(rows: int, dice: np.random.Generator) -> Iterator[tuple[str, str, Columns]]:
    """Faults that must be found, with the test that must find each."""
    for name, found in (("nulls", "x0 nulls"), ("unseen", "word unseen"), ("correlation", "x0 ~ x1 correlation")):
        window = columns(rows, dice)
        if name == "nulls":
            window["x0"] = np.where(dice.random(rows) < 0.2, np.nan, window["x0"])
        elif name == "unseen":
            window["word"] = np.where(np.arange(rows) % 200 == 0, "never", window["word"])
        else:
            window["x1"] = 0.2 * window["x0"] + np.sqrt(1 - 0.2**2) * window["x1"]
        yield name, found, window


def run(python: Path | str, script: str, *arguments: Path) -> dict[str, Any]:
    """What a script in `peers/` printed last."""
    command = [str(python), str(HERE / "peers" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SLOWEST, cwd=HERE.parent)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise UnavailableError(f"{script}: {(done.stderr.strip().splitlines() or ['no output'])[-1][:200]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def best(*arguments: Path) -> dict[str, Any]:
    """Ours, the cheapest of three: the others only measured what else the machine did."""
    return min((run(sys.executable, "drift_ours.py", *arguments) for _ in range(3)), key=lambda found: found["seconds"])


def written(folder: Path, rows: int, shift: float, dice: np.random.Generator) -> Path:
    """A window file, a million rows at a time."""
    path = folder / f"{rows}-{shift}.parquet"
    first = pa.table(columns(1, dice))
    with pq.ParquetWriter(path, first.schema) as file:
        for start in range(0, rows, 1_000_000):
            some = columns(min(1_000_000, rows - start), dice)
            some["x3"] = some["x3"] + shift
            file.write_table(pa.table(some))
    return path


def cost(folder: Path, profile: Path, reference: Path, quick: bool) -> Iterator[Figure]:
    """Ours, then the peers on the same files."""
    dice = np.random.default_rng(5)
    million = written(folder, 1_000_000, 0.02, dice)
    ours = best(profile, million)
    yield "1M x 16: CPU seconds", ours["seconds"], "<=", 0.35
    yield "1M x 16 moved by 0.02 sd: alarms", float(len(ours["alarms"])), "<=", 0.0
    few = best(profile, written(folder, 10_000, 0.0, dice))
    yield "10k x 16: CPU milliseconds", few["seconds"] * 1e3, "<=", 20.0
    if not quick:
        many = best(profile, written(folder, 10_000_000, 0.02, dice))
        yield "10M x 16: CPU seconds", many["seconds"], "<=", 3.0
        yield "10M x 16: peak MB", many["megabytes"], "<=", 350.0
        yield "10M x 16 moved by 0.02 sd: alarms", float(len(many["alarms"])), "<=", 0.0
    for name, pins in {**PEERS, "scipy": ()}.items():
        target = 60.0 if name == "evidently" else 2.0
        try:
            python: Path | str = environment(ENVIRONMENTS, name, pins) if pins else sys.executable
            seconds = run(python, f"drift_{name}.py", reference, million)["seconds"]
        except UnavailableError as error:
            print(f"{name}: {error}", file=sys.stderr)
            if name != "evidently":
                continue
            seconds = float("nan")
        print(f"{name}: {seconds:.2f} CPU s", file=sys.stderr)
        yield f"{name}: times our CPU seconds", seconds / ours["seconds"], ">=", target


def faults(folder: Path, profile: Path, windows: int) -> Iterator[Figure]:
    """The least share of windows of 20,000 rows in which each was found."""
    dice = np.random.default_rng(6)
    found: dict[str, list[bool]] = {}
    for _ in range(windows):
        for name, wanted, window in spoiled(20_000, dice):
            path = folder / "spoiled.parquet"
            pq.write_table(pa.table(window), path)
            found.setdefault(name, []).append(wanted in run(sys.executable, "drift_ours.py", profile, path)["alarms"])
    names = {"nulls": "20 % nulls", "unseen": "an unseen level in 0.5 %", "correlation": "a correlation changed by 0.2"}
    for name, label in names.items():
        yield f"found: {label}", float(np.mean(found[name])), ">=", 1.0


def figures(quick: bool) -> list[Figure]:
    """Cost and faults through files, rates and power from simulated windows, dependent rows from real streams."""
    dice = np.random.default_rng(4)
    with tempfile.TemporaryDirectory(prefix="mlauto-drift-") as name:
        folder = Path(name)
        given = columns(100_000, dice)
        reference, profile = folder / "reference.parquet", folder / "profile.json"
        pq.write_table(pa.table(given), reference)
        values = {column: one if one.dtype.kind == "f" else one.tolist() for column, one in given.items()}
        profile.write_bytes(msgspec.json.encode(fit_profile(values)))
        rows = [*cost(folder, profile, reference, quick), *faults(folder, profile, 2 if quick else 10)]
    rows += years(5 if quick else 100)
    rows += level(200 if quick else 2000)
    rows += power(20 if quick else 200)
    rows += dependent(40 if quick else 400)
    return rows


if __name__ == "__main__":
    raise SystemExit(main(__doc__, figures))
