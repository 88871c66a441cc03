"""Retraining policies on real and generated streams: gaps to the best fixed history known in hindsight, and their cost.

    python benchmarks/training_policies.py [--quick] [--streams DIR] [--cache DIR] [--json PATH]

Every case (a stream, a model, labels at once or five batches late) is one `mlauto backtest`: 50 batches, 5 initial. The
yardstick is the best of seven fixed histories retrained every batch. Streams: elec2, bike, SEA; generated ones whose
truth is known (abrupt, gradual, recurring; and with few errors a batch: sudden changes, single strange batches); and
elec2 with its rows shuffled, where nothing drifts. Fits that `--cache` holds are not made again; without it nothing is
kept, and the time of elec2 with boosted trees is measured.
Exit code 0 only when every target holds.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from mlauto.commands.backtest import run_backtest
from mlauto.commands.backtest_report import Report, Row
from mlauto.commands.history import Plan
from mlauto.product_training import POLICIES
from mlauto.training.deciding import Labelled
from mlauto.training.retraining import Evidence, due

DELAYS = (0, 5)
PLAYED = ("never", "economy", "quality", "every_batch")
ROWS = 20_000  # of a generated stream
FEW_ROWS = 3_000  # of one with few errors in a batch
BY_ALARM = ("the live model ", "attempt ")  # how the reasons of alarms begin


@dataclass(frozen=True, kw_only=True)
class Case:
    """One backtest to make. `kind` is real, generated, few (errors) or still."""

    data: Path
    model: str
    task: str
    kind: str
    timestamp: str | None = None
    exclude: tuple[str, ...] = ()

    def plan(self, delay: int) -> Plan:
        """The protocol's."""
        given = {"timestamp": self.timestamp, "exclude": self.exclude}
        return Plan(target="target", task=self.task, batches=50, initial=5, delay=delay, **given)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A case's report, and the seconds that it took."""

    case: Case
    report: Report
    seconds: float

    def row(self, policy: str) -> Row:
        """A policy's."""
        return next(row for row in self.report.policies if row.name == policy)


def cases(streams: Path, made: Path, quick: bool) -> Iterator[Case]:
    """What is played; generated files are written below `made`."""
    bike = Case(
        data=streams / "bike_hourly.csv",
        model="linear",
        task="regression",
        kind="real",
        timestamp="timestamp",
        exclude=("casual", "registered"),
    )
    shuffled = shuffle(streams / "elec2.csv", made / "elec2_shuffled.csv", 8_000 if quick else None)
    if quick:
        yield bike
        yield Case(data=shuffled, model="linear", task="classification", kind="still", exclude=("date",))
        return
    for model in ("hgb", "linear"):
        yield Case(data=streams / "elec2.csv", model=model, task="classification", kind="real", exclude=("date",))
        yield Case(**{**vars(bike), "model": model})
        yield Case(data=streams / "synth_sea_abrupt.csv", model=model, task="classification", kind="real")
        yield Case(data=shuffled, model=model, task="classification", kind="still", exclude=("date",))
    for name, concept in CONCEPTS.items():
        file = generate(concept, made / f"{name}.csv")
        yield Case(data=file, model="linear", task="classification", kind="generated")
    for name, concept in FEW_ERRORS.items():
        file = generate(concept, made / f"{name}.csv", rows=FEW_ROWS, wrong=0.01)
        yield Case(data=file, model="linear", task="classification", kind="few")


def shuffle(source: Path, target: Path, rows: int | None) -> Path:
    """The rows in another order, in which nothing drifts."""
    frame = pd.read_csv(source).sample(frac=1.0, random_state=0)
    frame.iloc[:rows].to_csv(target, index=False)
    return target


# the part of rows (0 to 1 through the stream) that follow the second concept instead of the first
CONCEPTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "abrupt": lambda when: (when > 0.55).astype(float),
    "gradual": lambda when: np.clip((when - 0.3) / 0.4, 0, 1),
    "recurring": lambda when: (np.floor(when * 6) % 2).astype(float),
}
FEW_ERRORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sudden": lambda when: (np.searchsorted([0.3, 0.5, 0.7], when) % 2).astype(float),
    "strange": lambda when: np.isin(np.floor(when * 50), [14, 25, 38]).astype(float),
}


def generate(
    concept: Callable[[np.ndarray], np.ndarray], target: Path, *, rows: int = ROWS, wrong: float = 0.1
) -> Path:
    """Two linear concepts of three columns, and that part of the labels wrong."""
    random = np.random.default_rng(0)
    columns = random.normal(size=(rows, 3))
    second = random.random(rows) < concept(np.linspace(0, 1, rows))
    label = np.where(second, columns @ [1.0, -1.0, 0.5] > 0.3, columns @ [1.0, 1.0, 0.0] > 0)
    label ^= random.random(rows) < wrong
    pd.DataFrame(columns, columns=["a", "b", "c"]).assign(target=label.astype(int)).to_csv(target, index=False)
    return target


def play(case: Case, delay: int, cache: Path) -> Found:
    """One case, without a word."""
    began = time.perf_counter()
    report = run_backtest(
        case.data, case.plan(delay), cache=cache, model=case.model, policies=PLAYED, console=Console(quiet=True)
    )
    return Found(case=case, report=report, seconds=time.perf_counter() - began)


def decision_ms() -> float:
    """The fastest of twenty decisions after a thousand batches of one champion."""
    scores = [Labelled(number=n, rows=500, loss=0.2, error=0.018, model=0) for n in range(1000)]
    evidence = Evidence(scores=scores, live=0, fresh=900, grown=1.1, trainings=0)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        due(POLICIES["economy"], evidence)
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds)


Figure = tuple[str, float, str, float]  # name, measured, "<=" or ">=", target


def gaps(found: Sequence[Found], policy: str, metric: str) -> list[float]:
    """Points of error rate, or percent of mae, behind the best history."""
    return [100 * one.row(policy).gap for one in found if one.report.metric == metric]


def policy_figures(found: Sequence[Found], policy: str, limits: dict[str, tuple[float, float]]) -> Iterator[Figure]:
    """Mean and largest gap, and regretted promotions, of the real cases."""
    for metric, unit in (("error_rate", "pp"), ("mae", "%")):
        if behind := gaps(found, policy, metric):
            yield f"{policy}: gap, mean, {unit}", statistics.mean(behind), "<=", limits[metric][0]
            yield f"{policy}: gap, largest, {unit}", max(behind), "<=", limits[metric][1]
    outcomes = [one.row(policy).outcome for one in found]
    promotions = sum(outcome.promotions for outcome in outcomes)
    regretted = sum(outcome.regretted for outcome in outcomes)
    yield f"{policy}: regretted promotions, %", 100 * regretted / max(1, promotions), "<=", limits["regretted"][0]


def figures(found: Sequence[Found], seconds: float | None) -> list[Figure]:
    """All figures that the cases played can give."""
    real = [one for one in found if one.case.kind == "real"]
    still = [one for one in found if one.case.kind == "still"]
    late = [one for one in real if one.report.delay]
    made = [share(one, "economy") for one in real]
    rows: list[Figure] = [("economy: trainings of those of every batch, largest, %", max(made), "<=", 20.0)]
    economy = {"error_rate": (0.6, 2.0), "mae": (4.0, 12.0), "regretted": (2.0, 2.0)}
    quality = {"error_rate": (0.2, 1.0), "mae": (0.5, 1.5), "regretted": (3.0, 3.0)}
    rows += policy_figures(real, "economy", economy)
    rows += policy_figures(real, "quality", quality)
    better = 100 * statistics.mean(one.row("quality").gap < 0 for one in real)
    rows.append(("quality: better than the best fixed history, % of cases", better, ">=", 50.0))
    captured = statistics.median(gain(one, "economy") for one in late)
    rows.append(("labels 5 batches late: economy captures of the gain, median", captured, ">=", 0.9))
    rows.append(("the same: trainings, largest, %", max(share(one, "economy") for one in late), "<=", 25.0))
    for policy in ("economy", "quality"):
        worse = max(100 * loss_over_never(one, policy) for one in found if one.case.kind in ("real", "generated"))
        rows.append((f"{policy}: worse than never retraining, largest, pp or %", worse, "<=", 0.0))
    if few := [one for one in found if one.case.kind == "few"]:
        rows.append(("few errors: quality: gap, largest, pp", max(gaps(few, "quality", "error_rate")), "<=", 1.0))
        worse = max(100 * loss_over_never(one, policy) for one in few for policy in ("economy", "quality"))
        rows.append(("few errors: worse than never retraining, largest, pp", worse, "<=", 0.0))
    alarms = sum(alarmed(one) for one in still)
    rows.append(("no drift: trainings caused by an alarm", alarms, "<=", 0.0))
    rows.append(("ms for a decision after 1,000 batches", decision_ms(), "<=", 5.0))
    if seconds is not None:
        rows.append(("seconds for 4 policies on elec2, boosted trees", seconds, "<=", 90.0))
    return rows


def share(found: Found, policy: str) -> float:
    """Trainings, in percent of those of every batch."""
    return 100 * found.row(policy).outcome.trainings / found.row("every_batch").outcome.trainings


def gain(found: Found, policy: str) -> float:
    """Of what the best history gains over never retraining, the part that the policy gains."""
    never, best = found.row("never").outcome.loss, found.report.hindsight.outcome.loss
    return (never - found.row(policy).outcome.loss) / (never - best)


def loss_over_never(found: Found, policy: str) -> float:
    """By how much it lost more than never retraining: absolute for a rate, else relative."""
    never, ours = found.row("never").outcome.loss, found.row(policy).outcome.loss
    return ours - never if found.report.metric == "error_rate" else ours / never - 1


def alarmed(found: Found) -> int:
    """Trainings of `economy` that an alarm, not growth, caused."""
    return sum(step.trained and step.reason.startswith(BY_ALARM) for step in found.row("economy").outcome.steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="bike and shuffled elec2, linear models")
    parser.add_argument("--streams", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "streams")
    parser.add_argument("--cache", type=Path, help="keep fits there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console(highlight=False)
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        for case in cases(options.streams, made, options.quick):
            for delay in DELAYS:
                one = play(case, delay, options.cache or made / "fits")
                found.append(one)
                console.print(f"{one.seconds:6.1f} s  {one.report.file}, {case.model}, delay {delay}")
    timed = [one.seconds for one in found if one.report.file == "elec2.csv" and one.report.model == "hgb"]
    return report(found, figures(found, timed[0] if timed and options.cache is None else None), options.json, console)


def report(found: Sequence[Found], rows: Sequence[Figure], path: Path | None, console: Console) -> int:
    """Print, and return the exit code."""
    each = Table("case", "late", *(f"{policy}" for policy in PLAYED), "best", "history", "trainings", title="losses")
    for one in found:
        percent = 100 if one.report.metric == "error_rate" else 1
        losses = [f"{percent * one.row(policy).outcome.loss:.2f}" for policy in PLAYED]
        best = one.report.hindsight
        trainings = str(one.row("economy").outcome.trainings)
        name = f"{one.report.file.removesuffix('.csv')}, {one.report.model}"
        late = str(one.report.delay)
        each.add_row(name, late, *losses, f"{percent * best.outcome.loss:.2f}", best.name, trainings)
    console.print(each)
    table = Table("figure", "measured", "target", "holds")
    held = {name: measured <= target if sign == "<=" else measured >= target for name, measured, sign, target in rows}
    for name, measured, sign, target in rows:
        table.add_row(name, f"{measured:.3g}", f"{sign} {target:g}", "yes" if held[name] else "NO")
    console.print(table)
    if path:
        said = {name: {"measured": m, "target": t, "holds": bool(held[name])} for name, m, _, t in rows}
        losses_of = {
            f"{one.report.file}, {one.report.model}, {one.report.delay}": {
                **{policy: one.row(policy).outcome.loss for policy in PLAYED},
                one.report.best: one.report.hindsight.outcome.loss,
            }
            for one in found
        }
        path.write_text(json.dumps({"figures": said, "losses": losses_of}, indent=2))
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
