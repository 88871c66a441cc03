"""Questions to a prediction log of 100 million predictions on disk.

    python benchmarks/predictionlog_volume.py [--quick] [--json PATH]

A month of predictions of 16 columns as compaction leaves them, made from the lines of real segments with other ids,
times and versions (`--quick`: 2 million, in the same month), beside the newest 32 MB as lines. Each question is asked
in a process of its own: seconds without its imports, and the most memory it ever had, libraries included. The files
were written just before, so that some are still in the system's cache. About 8 GB of disk while it runs.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, main

from mlauto.monitoring.log.compacted import Writer, table_of
from mlauto.monitoring.log.query import Query, count, tables
from mlauto.monitoring.log.queryrows import batches
from mlauto.monitoring.log.reading import find_prediction
from mlauto.monitoring.log.spans import keep_spans

ROWS, QUICK_ROWS = 100_000_000, 2_000_000
MONTH, HOUR, DAY = 30 * 86_400.0, 3600.0, 86_400.0
BEGAN = 1_790_000_000.0
SEGMENT_BYTES, PATTERNS, TO_A_FILE, TAIL = 4 << 20, 8, 16, 8
ROW = {f"number_{n}": 0.0 for n in range(12)} | {f"category_{n}": "clear" for n in range(4)}


def segment(draw: random.Random, number: int, t: float, step: float) -> list[bytes]:
    """The lines of a full segment."""
    lines: list[bytes] = []
    size = 0
    while size < SEGMENT_BYTES:
        name = f"{number:08x}-{len(lines) + 1:08x}-{draw.randrange(65536):04x}"
        line: dict[str, object] = {"id": name, "t": round(t + len(lines) * step, 3), "v": "30", "ms": draw.random()}
        if draw.random() < 0.001:
            line |= {"error": "version 30 was lost", "code": 503}
        else:
            row = {key: round(draw.gauss(0, 1), 4) if value == 0.0 else value for key, value in ROW.items()}
            line |= {"rows": [row], "y": [1], "p": [[0.25, draw.random()]]}
        lines.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        size += len(lines[-1])
    return lines


def make(folder: Path, rows: int) -> dict[str, float]:
    """The log; what is in it, and seconds and bytes."""
    import pyarrow
    import pyarrow.compute as pc

    draw, began = random.Random(7), time.perf_counter()
    patterns = [table_of(b"".join(segment(draw, 0, 0.0, 0.0))) for _ in range(PATTERNS)]
    mean = sum(table.num_rows for table in patterns) / PATTERNS
    segments, step = max(TO_A_FILE, round(rows / mean)), MONTH / rows
    made, t = 0, BEGAN
    for first in range(0, segments, TO_A_FILE):
        last = min(segments, first + TO_A_FILE) - 1
        with Writer(folder / f"predictions-{first:08x}-{last:08x}.parquet") as writer:
            for number in range(first, last + 1):
                table = patterns[number % PATTERNS]
                count_ = table.num_rows
                times = pc.round(pc.add(pc.multiply(pyarrow.array(range(count_)), step), t), 3)
                version = pyarrow.array([str(1 + int((t - BEGAN) / DAY))] * count_)
                names = pc.binary_replace_slice(table.column("id"), 0, 8, f"{number:08x}")
                for name, values in (("id", names), ("t", times), ("v", version)):
                    table = table.set_column(table.column_names.index(name), name, values)
                writer.add_table(number, table)
                made, t = made + count_, t + count_ * step
    for number in range(segments, segments + TAIL):
        (folder / f"predictions-{number:08x}.jsonl").write_bytes(b"".join(segment(draw, number, t, 0.001)))
        t += 15.0
    keep_spans(folder, "predictions")
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"rows": made, "ended": t, "seconds": time.perf_counter() - began, "bytes": size}


def ask(folder: Path, question: str, ended: float) -> dict[str, float]:
    """One question, in this process."""
    import pyarrow.compute as pc
    import pyarrow.parquet

    began = time.perf_counter()
    if question == "hour":
        middle = BEGAN + MONTH / 2
        found = count(folder, Query(since=middle, until=middle + HOUR))
        rows = found.requests
        assert found.failed > 0
    elif question == "newest hour":
        rows = count(folder, Query(since=ended - HOUR)).requests
    elif question == "day":
        query = Query(since=BEGAN + MONTH - 1.5 * DAY, until=BEGAN + MONTH - 0.5 * DAY, version="30")
        sums = [(pc.sum(table.column("ms")).as_py(), table.num_rows) for table in tables(folder, query, ("ms",))]
        rows = sum(number for _, number in sums)
        assert sum(total for total, _ in sums) > 0
    elif question == "id":
        name = next(tables(folder, Query(since=BEGAN + MONTH / 3), ("id",))).column("id")[7].as_py()
        began = time.perf_counter()
        rows = int(find_prediction(folder, name) is not None)
    else:
        columns = ("time", "id", "version", "prediction", "number_3", "category_1")
        query, rows = Query(since=BEGAN + MONTH / 3), 0
        kinds = {"prediction": "number", "number_3": "number"}
        with pyarrow.parquet.ParquetWriter(folder / "export", _schema(folder, columns, kinds)) as writer:
            for table in batches(folder, query, columns, kinds=kinds, limit=100_000):
                writer.write_table(table)
                rows += table.num_rows
        (folder / "export").unlink()
    seconds = time.perf_counter() - began
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    return {"seconds": seconds, "mb": peak, "rows": rows}


def _schema(folder: Path, columns: tuple[str, ...], kinds: dict[str, str]) -> object:
    return next(batches(folder, Query(since=BEGAN + MONTH / 3), columns, kinds=kinds, limit=1)).schema


QUESTIONS = {  # question -> words, most seconds, most MB
    "hour": ("requests and errors of one hour", 1.0, 300.0),
    "newest hour": ("requests and errors of the newest hour, with the lines", 2.0, 300.0),
    "day": ("mean latency of one version within a day", 5.0, 300.0),
    "id": ("one prediction by its id", 0.2, 300.0),
    "export": ("100,000 rows with 2 features to a file", 5.0, 300.0),
}


def figures(quick: bool) -> list[Figure]:
    """Seconds and MB of each question."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as root:
        made = make(Path(root), QUICK_ROWS if quick else ROWS)
        print(
            f"{made['rows']:,.0f} predictions, {made['bytes'] / 1e9:.2f} GB, made in {made['seconds']:.0f} s",
            flush=True,
        )
        for question, (words, seconds, memory) in QUESTIONS.items():
            command = [sys.executable, __file__, "--ask", root, question, str(made["ended"])]
            told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            assert told["rows"] > 0, f"{question}: nothing was found"
            print(f"{words}: {told['rows']:,} rows", flush=True)
            found.append((f"{words}, seconds", told["seconds"], "<=", seconds))
            found.append((f"{words}, MB", told["mb"], "<=", memory))
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        print(json.dumps(ask(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))))
        raise SystemExit(0)
    raise SystemExit(main(__doc__, figures))
