"""The watch after a promotion, simulated: false rollbacks, and labels until a real loss is found.

    python benchmarks/watch.py [--quick] [--json PATH]

1,000 promotions of each kind (150 with --quick), each looked at after every 20 of 4,000 labelled rows that both
versions predicted: error rates (usual: 3 % and 20 %) and absolute errors (half normal, and with a heavy tail), rows
independent or as alike as neighbours in AR(1) streams of 0.5 and 0.9. What is hard for one version is so for the other.
False rollbacks are counted where the new version is worse by just what is allowed, the hardest case that is none. The
rule of three standard errors, which came before, is looked at as often on the same rows. Of 150 promotions of a kind a
few more than one in a hundred may be chance: with --quick a kind fails when it errs more often than one in a hundred
does in 99 of 100 cases, all kinds together as ever. Exit code 0 only when every target holds.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.signal import lfilter
from scipy.stats import binom, norm

from mlauto.monitoring.scores import mean_interval
from mlauto.monitoring.watch.record import Tally
from mlauto.monitoring.watch.sequential import added, evaluated
from mlauto.proof import ABSOLUTE, RELATIVE, THRESHOLD

Floats = NDArray[np.float64]
Losses = tuple[Floats, Floats]
ROWS, STEP = 4000, 20
SHARED = 0.7  # part of a row's difficulty that both versions have in common
ALIKE = (0.0, 0.5, 0.9)
FEWEST_ROWS = 20
THREE = 3.0 / 1.96
FULL = 1000  # promotions of each kind


class Found(NamedTuple):
    """What became of the promotions of a kind; `labels` until the loss was proven, where it was."""

    worse: float
    not_worse: float
    sigmas: float
    labels: list[int]


def stream(random: np.random.Generator, alike: float) -> Floats:
    """A stationary AR(1) stream with variance 1."""
    noise = random.normal(size=ROWS) * np.sqrt(1 - alike**2)
    noise[0] = random.normal()
    return np.asarray(lfilter([1.0], [1.0, -alike], noise))


def hardness(random: np.random.Generator, alike: float) -> tuple[Floats, Floats, Floats]:
    """How hard each row is: for both versions, for the new one, for the old one; the last two hold the first."""
    common, own, other = (stream(random, alike) for _ in range(3))
    part, rest = np.sqrt(SHARED), np.sqrt(1 - SHARED)
    return common, part * common + rest * own, part * common + rest * other


def rates(usual: float, worse: float) -> Callable[[np.random.Generator, float], Losses]:
    """Errors of classifiers, the new one's more frequent by `worse`."""

    def drawn(random: np.random.Generator, alike: float) -> Losses:
        _, new, old = hardness(random, alike)
        return (new < norm.ppf(usual + worse)).astype(float), (old < norm.ppf(usual)).astype(float)

    return drawn


def errors(worse: float, *, heavy: bool = False) -> Callable[[np.random.Generator, float], Losses]:
    """Absolute errors of regressors, the new one's larger by that share; heavy: some rows are very much harder."""

    def drawn(random: np.random.Generator, alike: float) -> Losses:
        common, new, old = hardness(random, alike)
        scale = np.exp(common) if heavy else 1.0
        return np.abs(new) * scale * (1 + worse), np.abs(old) * scale

    return drawn


def watched(new: Floats, old: Floats, metric: str) -> tuple[str, int]:
    """The verdict of the watch and the labels that it took; `open` where none came."""
    tally = Tally()
    for at in range(0, ROWS, STEP):
        tally = added(tally, metric, new[at : at + STEP], old[at : at + STEP])
        found = evaluated(tally, metric)
        if found is not None and found.e_value >= THRESHOLD:
            return ("worse" if found.difference > found.allowed else "not worse"), tally.rows
    return "open", ROWS


def three_sigmas(excess: Floats) -> bool:
    """Whether the interval of the fixed sample, three standard errors wide, ever lay above what is allowed."""
    for rows in range(STEP, ROWS + 1, STEP):
        value, half = mean_interval(excess[:rows])
        if rows >= FEWEST_ROWS and value - half * THREE > 0:
            return True
    return False


def run(
    drawn: Callable[[np.random.Generator, float], Losses], metric: str, alike: float, count: int, *, sigmas: bool
) -> Found:
    """So many promotions, each from a seed of its own."""
    verdicts: list[tuple[str, int]] = []
    alarms = 0
    for seed in range(count):
        new, old = drawn(np.random.default_rng([seed, int(100 * alike)]), alike)
        verdicts.append(watched(new, old, metric))
        allowed = old + ABSOLUTE if metric == "error_rate" else old * (1 + RELATIVE)
        alarms += sigmas and three_sigmas(new - allowed)
    said = [verdict for verdict, _ in verdicts]
    labels = [rows for verdict, rows in verdicts if verdict == "worse"]
    return Found(said.count("worse") / count, said.count("not worse") / count, alarms / count, labels)


def measured(count: int) -> list[tuple[str, float, str, float]]:
    """The figures with their targets."""
    rows: list[tuple[str, float, str, float]] = []
    kinds = {
        "error rate 20 %": (rates(0.20, ABSOLUTE), "error_rate"),
        "error rate 3 %": (rates(0.03, ABSOLUTE), "error_rate"),
        "mae": (errors(RELATIVE), "mae"),
        "mae, heavy tail": (errors(RELATIVE, heavy=True), "mae"),
    }
    most = 1.0 if count >= FULL else 100 * float(binom.ppf(0.99, count, 0.01)) / count
    every: list[float] = []
    for alike in ALIKE:
        for name, (drawn, metric) in kinds.items():
            found = run(drawn, metric, alike, count, sigmas=name in {"error rate 20 %", "mae"})
            rows.append((f"false rollbacks, {name}, AR {alike:g}, %", 100 * found.worse, "<=", most))
            every.append(found.worse)
            if name in {"error rate 20 %", "mae"}:
                rows.append((f"three standard errors, {name}, AR {alike:g}, %", 100 * found.sigmas, ">=", 1.0))
    rows.append(("false rollbacks of all kinds, %", 100 * sum(every) / len(every), "<=", 1.0))
    for name, drawn, metric, limit in (
        ("5 pp of 20 %", rates(0.20, 0.05), "error_rate", 2000),
        ("5 pp of 3 %", rates(0.03, 0.05), "error_rate", 800),
        ("20 pp of 20 %", rates(0.20, 0.20), "error_rate", 300),
        ("15 % of mae", errors(0.15), "mae", 1200),
        ("100 % of mae", errors(1.0), "mae", 120),
    ):
        found = run(drawn, metric, 0.0, max(50, count // 4), sigmas=False)
        rows += [
            (f"median labels until proven, {name}", float(np.median(found.labels or [ROWS])), "<=", limit),
            (f"found within {ROWS:,} labels, {name}, %", 100 * found.worse, ">=", 90),
        ]
    good = run(errors(-0.1), "mae", 0.0, max(50, count // 4), sigmas=False)
    rows.append(("settled early where mae is 10 % better, %", 100 * good.not_worse, ">=", 90))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = measured(150 if options.quick else FULL)
    holds = [value >= target if sign == ">=" else value <= target for _, value, sign, target in rows]
    table = Table("figure", "measured", "target", "holds")
    for (name, value, sign, target), good in zip(rows, holds, strict=True):
        table.add_row(name, f"{value:,.4g}", f"{sign} {target:,g}", "yes" if good else "NO")
    Console(highlight=False, width=120).print(table)
    if options.json:
        figures = {name: {"measured": v, "target": f"{sign} {t:g}"} for name, v, sign, t in rows}
        options.json.write_text(json.dumps({"figures": figures}, indent=2))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
