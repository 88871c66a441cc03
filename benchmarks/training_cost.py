"""What a training costs as history grows: rows, CPU seconds, and the time to decide, by the number of batches.

    python benchmarks/training_cost.py [--quick] [--json PATH] [--chart SVG]

Batches of 300 rows are accepted one after the other into a real store, with half-life 5. After 10, 50, 100, 200, 1,000
and 5,000 of them the training set is assembled; then its rows are read and fitted on, with boosted trees (which take
sample weights) and with nearest neighbours (which do not: resampled), and the policy is asked whether to train. Fits
and decisions are repeated in rounds over all sizes, and ratios are of the least of all rounds, since what else the
machine does only adds. Beside it: the same trees on all history. Exit code 0 only when every target holds.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

from mlauto.product import Code, Data, ModelProduct
from mlauto.product_training import Training
from mlauto.records import Batch, Commit, Score, Signature, TrainedModel, TrainingSet, Validation
from mlauto.store import Store
from mlauto.training.batches.frames import kinds_of
from mlauto.training.estimator import fitted
from mlauto.training.policy import model_key, why_train
from mlauto.training.training_set import accept, accepted_batches, assemble, load_frame, weighted
from mlauto.training.weighting import ALL, History, Member

ROWS, SMALL, ROUNDS = 300, 100, 7
FADING = (Member(history=History(half_life=5.0)),)
SIZES = (10, 50, 100, 200, 1000, 5000)
QUICK = (10, 100, 1000)
EVERYTHING = (10, 50, 100, 200, 1000)  # sizes at which all history is fitted on, for comparison
ESTIMATORS: dict[str, Callable[[], Any]] = {
    "boosted trees": lambda: HistGradientBoostingRegressor(max_iter=40),
    "neighbours": KNeighborsRegressor,
}
PRODUCT = ModelProduct(
    name="cost",
    code=Code(repository="r", estimator="m:build"),
    data=Data(landing="landing", target="y", task="regression"),
    training=Training(retrain="every_batch"),
)
LABELS = {  # line -> its name in the chart, colour, marker
    "boosted trees": ("boosted trees, weighted", "#0072B2", "o"),
    "neighbours": ("nearest neighbours, resampled", "#009E73", "s"),
    "all history": ("boosted trees on all history", "#D55E00", "v"),
}


def arrive(store: Store, number: int) -> None:
    """Accept the batch of that number: ten features, and a target that drifts."""
    random = np.random.default_rng(number)
    columns: dict[str, Any] = {f"x{n}": random.normal(size=ROWS) for n in range(10)}
    frame = pd.DataFrame(columns).assign(y=columns["x0"] * math.sin(number / 20) + columns["x1"])
    path = store.home / "batch.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    batch = Batch(
        key=f"{number:08d}",
        files=(),
        rows=ROWS,
        digest=store.put_file(path),
        validation=Validation(passed=True, evaluated=0),
        arrived=float(number),
    )
    accept(store, PRODUCT.name, batch, kinds_of(frame))


def trained_on(training_set: TrainingSet) -> TrainedModel:
    """A model of that training set, as the policy sees it."""
    score = Score(metric="mae", value=1.0, low=0.9, high=1.1, rows=100)
    return TrainedModel(
        version="1",
        key=model_key("tree", training_set, PRODUCT, "lock"),
        artifact="a",
        commit=Commit(sha="s", tree="tree", subject="", author="", time=0.0),
        training_set=training_set,
        run_id="r",
        signature=Signature(columns={}, task="regression"),
        reference=score,
        scores=(score,),
        checks=(),
        seed=0,
        reason="first model",
        trained=0.0,
    )


def decision_ms(before: TrainingSet, now: TrainingSet) -> float:
    """Milliseconds to decide whether to train; the least of twenty."""
    current, took = trained_on(before), []
    for _ in range(20):
        began = time.perf_counter()
        decision = why_train(
            current=current, product=PRODUCT, tree="tree", training_set=now, lock_digest="lock", trigger="batch"
        )
        took.append((time.perf_counter() - began) * 1000)
        assert decision.train, decision
    return min(took)


def training_seconds(store: Store, training_set: TrainingSet, name: str) -> float:
    """CPU seconds to read the rows and to fit on them."""
    began = time.process_time()
    frame, weights, _ = load_frame(store, training_set)
    fitted(ESTIMATORS[name](), frame.drop(columns="y"), frame["y"].to_numpy(), weights)
    return time.process_time() - began


def history(store: Store, sizes: tuple[int, ...]) -> tuple[dict[int, dict[str, float]], dict[str, TrainingSet]]:
    """Rows and milliseconds to assemble by size, and the training sets: by size, `before SIZE` and `all SIZE`."""
    found: dict[int, dict[str, float]] = {}
    sets: dict[str, TrainingSet] = {}
    for number in track(range(1, max(sizes) + 1), "batches", transient=True):
        arrive(store, number)
        if number in sizes:
            began = time.perf_counter()
            made = assemble(store, PRODUCT.name, FADING)
            took = (time.perf_counter() - began) * 1000
            found[number] = {"rows": made.rows, "assemble_ms": took}
            sets[str(number)] = made
            if number in EVERYTHING:
                index = accepted_batches(store, PRODUCT.name)
                sets[f"all {number}"] = weighted(index.batches, ALL, total=index.total)
        elif number + 1 in sizes:
            sets[f"before {number + 1}"] = assemble(store, PRODUCT.name, FADING)
    return found, sets


def measure(root: Path, sizes: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    """Everything by size: rows, milliseconds, and lists of CPU seconds by the chart's lines."""
    store = Store(root)
    counted, sets = history(store, sizes)
    found: dict[int, dict[str, Any]] = {size: dict(values) for size, values in counted.items()}
    jobs = [(size, name, str(size), name) for size in sizes for name in ESTIMATORS]
    jobs += [(size, "all history", f"all {size}", "boosted trees") for size in sizes if f"all {size}" in sets]
    for number in range(ROUNDS + 1):
        for size in sizes:
            took = decision_ms(sets[f"before {size}"], sets[str(size)])
            found[size]["decision_ms"] = min(took, found[size].get("decision_ms", took))
        for size, line, key, name in jobs:
            if line == "all history" and number != 1:
                continue  # for comparison only: once
            seconds = training_seconds(store, sets[key], name)
            if number:  # the first round warms up
                found[size].setdefault(line, []).append(seconds)
    return found


def ratio(found: dict[int, dict[str, Any]], line: str) -> float:
    """Cost at the largest size to that at 100 batches, the least of all rounds of each."""
    return min(found[max(found)][line]) / min(found[SMALL][line])


def draw(found: dict[int, dict[str, Any]], target: Path) -> None:
    """Rows and CPU seconds by the number of batches."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "mlauto", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained", facecolor="white")
    sizes = sorted(found)
    left.plot(sizes, [found[size]["rows"] for size in sizes], color="#0072B2", marker="o", linewidth=2.2)
    left.plot(sizes, [size * ROWS for size in sizes], color="#D55E00", marker="v", linewidth=1.2)
    for line, (label, colour, marker) in LABELS.items():
        there = [size for size in sizes if line in found[size]]
        seconds = [statistics.median(found[size][line]) for size in there]
        width = 1.2 if line == "all history" else 2.2
        right.plot(there, seconds, label=label, color=colour, marker=marker, linewidth=width)
    for panel, title in ((left, "rows in the training set, and of all history"), (right, "CPU s of a training")):
        panel.set(title=title, xlabel="accepted batches", xscale="log", yscale="log")
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        panel.minorticks_off()
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path, help="where to draw the curve, as SVG")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    with tempfile.TemporaryDirectory() as root, threadpool_limits(1):
        found = measure(Path(root), sizes)
    if options.chart:
        draw(found, options.chart)
    return report(found, options.json)


def report(found: dict[int, dict[str, Any]], path: Path | None) -> int:
    """Print, and return the exit code."""
    most = max(found)
    last = found[most]
    figures = [(f"CPU s at {most:,} batches / at {SMALL}, {name}", ratio(found, name), 1.2) for name in ESTIMATORS]
    figures += [
        (f"rows at {most:,} batches / at {SMALL}", last["rows"] / found[SMALL]["rows"], 1.0),
        (f"ms to decide at {most:,} batches", last["decision_ms"], 5.0),
        (f"ms to decide at {most:,} batches / at {SMALL}", last["decision_ms"] / found[SMALL]["decision_ms"], 1.5),
        (f"ms to assemble at {most:,} batches", last["assemble_ms"], 100.0),
    ]
    table = Table("figure", "measured", "target", "holds")
    for name, measured, target in figures:
        table.add_row(name, f"{measured:.3g}", f"<= {target:g}", "yes" if measured <= target else "NO")
    console = Console(highlight=False)
    console.print(table)
    curve = Table("batches", "rows", *(f"CPU s, {line}" for line in LABELS), "ms to decide", "ms to assemble")
    for size, values in found.items():
        seconds = [f"{statistics.median(values[line]):.3f}" if line in values else "-" for line in LABELS]
        times = (f"{values['decision_ms']:.2f}", f"{values['assemble_ms']:.1f}")
        curve.add_row(f"{size:,}", f"{values['rows']:,}", *seconds, *times)
    console.print(curve)
    if path:
        said = {name: {"measured": m, "target": t, "holds": m <= t} for name, m, t in figures}
        path.write_text(json.dumps({"figures": said, "curve": found}, indent=2))
    return 0 if all(measured <= target for _, measured, target in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
