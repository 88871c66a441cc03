"""The detector of losses: years without any, and labels until a real one is found.

    python benchmarks/monitoring_labels.py [--quick] [--json PATH]

A year is 8,760 hourly looks at 100 labels each, at the hardest null: the mean loss is just the limit. 100 years of each
kind (6 with --quick): errors of 10 % and of 1 %, absolute errors clipped as the live loop clips them; independent and
as alike as neighbours in AR(1) streams; and the losses of boosted trees on elec2 and bike_hourly, drawn anew in whole
weeks. Calibration is shown where it can be measured, too: years whose e-value reaches 10 (10 % at most). Delays are
means over 200 losses (40) that begin after 5,000 good labels. Segments: eight of one column, looked at once a day.
Estimates without labels are compared with NannyML's (`labels_estimates.py`). The real streams are `$MLAUTO_STREAMS`, or
`shared/streams` beside the checkout; without them those two kinds fail.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import labels_estimates
import numpy as np
import pandas as pd
from figures import Figure, main
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom, norm

from mlauto.monitoring.quality.budget import STAKE
from mlauto.monitoring.quality.detector import ALPHA, Detector, Terms, added, e_value
from mlauto.monitoring.quality.limits import limit_of
from mlauto.records import Score

Floats = NDArray[np.float64]
LOOKS, LABELS = 8760, 100
YEAR = LOOKS * LABELS
RATE = 0.10
STREAMS = Path(os.environ.get("MLAUTO_STREAMS") or Path(__file__).resolve().parents[2] / "shared" / "streams")
TRAINED = 0.25  # of a stream's rows
MEASURABLE = 10.0  # an e-value that a tenth of all years may reach


def alike(random: np.random.Generator, rows: int, by: float) -> Floats:
    """A stationary AR(1) stream with variance 1."""
    noise = random.normal(size=rows) * np.sqrt(1 - by**2)
    noise[0] = random.normal()
    return np.asarray(lfilter([1.0], [1.0, -by], noise))


def errors(rate: float, by: float, random: np.random.Generator, rows: int) -> tuple[Floats, float]:
    """Errors at that rate, which is the limit."""
    return (alike(random, rows, by) < norm.ppf(rate)).astype(float), rate


def clipped(losses: Floats, mean: float) -> tuple[Floats, float]:
    """Absolute errors as the live loop tests them where `mean` is the limit."""
    limit = limit_of(Score(metric="mae", value=mean, low=mean, high=mean, rows=1), 0.0)
    if limit is None:
        raise ValueError("mae has a limit")
    return limit.scale(losses), limit.scaled


def absolute(by: float, random: np.random.Generator, rows: int) -> tuple[Floats, float]:
    """Absolute errors of normal ones."""
    return clipped(np.abs(alike(random, rows, by)), float(np.sqrt(2 / np.pi)))


def weeks(losses: Floats, week: int, task: str, random: np.random.Generator, rows: int) -> tuple[Floats, float]:
    """A real stream's losses in whole weeks drawn anew, round the end, so that every row is as likely."""
    starts = random.integers(0, len(losses), size=rows // week + 1)
    drawn = losses[(starts[:, None] + np.arange(week)) % len(losses)].ravel()[:rows]
    mean = float(losses.mean())
    return (drawn, mean) if task == "classification" else clipped(drawn, mean)


def real(name: str, task: str, unused: Sequence[str]) -> Floats:
    """Losses of boosted trees, fitted on the stream's first quarter, on the rest in its order."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    frame = pd.read_csv(STREAMS / name).drop(columns=list(unused))
    truth, inputs, cut = frame["target"], frame.drop(columns="target"), int(TRAINED * len(frame))
    model = HistGradientBoostingClassifier() if task == "classification" else HistGradientBoostingRegressor()
    said = model.fit(inputs[:cut], truth[:cut]).predict(inputs[cut:])
    wrong = np.asarray(said != truth[cut:], dtype=float)
    return wrong if task == "classification" else np.abs(np.asarray(said - truth[cut:], dtype=float))


Drawn = Callable[[np.random.Generator, int], tuple[Floats, float]]


def kinds() -> dict[str, Drawn]:
    """What years are made of."""
    every: dict[str, Drawn] = {f"errors {RATE:.0%}, AR {by:g}": partial(errors, RATE, by) for by in (0.0, 0.5, 0.9)}
    every["errors 1%, AR 0"] = partial(errors, 0.01, 0.0)
    every |= {f"mae, AR {by:g}": partial(absolute, by) for by in (0.0, 0.9)}
    elec2 = real("elec2.csv", "classification", ["date"])
    bike = real("bike_hourly.csv", "regression", ["timestamp", "casual", "registered"])
    every["elec2"] = partial(weeks, elec2, 336, "classification")
    every["bike_hourly"] = partial(weeks, bike, 168, "regression")
    return every


def terms(limit: float, now: float = 0.0) -> Terms:
    """As the live loop tests."""
    return Terms(limit=limit, stake=STAKE, threshold=1 / ALPHA, now=now)


def peak(drawn: Drawn, seed: Sequence[int]) -> float:
    """The largest e-value of a year."""
    losses, limit = drawn(np.random.default_rng(seed), YEAR)
    detector, largest = Detector(since=0.0), 0.0
    for at in range(0, YEAR, LABELS):
        detector = added(detector, losses[at : at + LABELS], terms(limit))
        largest = max(largest, e_value(detector))
    return largest if detector.alarmed_at is None else np.inf


def delay(before: Drawn, after: Drawn, look: int, seed: int) -> float:
    """Labels from the beginning of a loss until it is proven, looked at after so many."""
    random = np.random.default_rng([seed, 1])
    good, limit = before(random, 5000)
    detector = Detector(since=0.0)
    for at in range(0, len(good), LABELS):
        detector = added(detector, good[at : at + LABELS], terms(limit))
    bad, _ = after(random, 60_000)
    for at in range(0, len(bad), look):
        detector = added(detector, bad[at : at + look], terms(limit, float(at + look)))
        if detector.alarmed_at is not None:
            return detector.alarmed_at
    return np.inf


def segmented(rates: Sequence[float], threshold: float, days: int, seed: int) -> float:
    """Hours until any segment of one column alarms; each has as many rows, and its own detector."""
    random, rows = np.random.default_rng([seed, 2]), 24 * LABELS // len(rates)
    detectors = [Detector(since=0.0) for _ in rates]
    for day in range(1, days + 1):
        for at, rate in enumerate(rates):
            losses = (random.random(rows) < rate).astype(float)
            detectors[at] = added(detectors[at], losses, replace(terms(RATE, 24.0 * day), threshold=threshold))
            if detectors[at].alarmed_at is not None:
                return 24.0 * day
    return np.inf


def larger(by: float, random: np.random.Generator, rows: int) -> tuple[Floats, float]:
    """Absolute errors that many times as large, under the same limit."""
    return clipped(by * np.abs(alike(random, rows, 0.0)), float(np.sqrt(2 / np.pi)))


def figures(quick: bool) -> list[Figure]:
    """All figures with their targets."""
    years, losses = (6, 40) if quick else (100, 200)
    most = 100 * float(binom.ppf(0.99, years, 0.01)) / years  # of so few years of one kind one more may be chance
    found: list[Figure] = []
    every: list[float] = []
    with Pool(2) as pool:
        for at, (name, drawn) in enumerate(kinds().items()):
            peaks = np.array(pool.map(partial(peak, drawn), [(at, year) for year in range(years)]))
            every += peaks.tolist()
            found.append((f"false-alarm years, {name}, %", 100 * float((peaks >= 1 / ALPHA).mean()), "<=", most))
            print(f"{name}: median peak {np.median(peaks):.3g}, largest {peaks.max():.3g}", file=sys.stderr)
        reach = float((np.array(every) >= MEASURABLE).mean())
        found.append(
            ("false-alarm years of all kinds, %", 100 * float((np.array(every) >= 1 / ALPHA).mean()), "<=", 1.0)
        )
        found.append(("years whose e-value reaches 10, %", 100 * reach, "<=", 10.0))
        good = partial(errors, RATE, 0.0)
        for name, bad, look, unit, limit in (
            ("errors 10 % to 15 %, hours", partial(errors, 0.15, 0.0), LABELS, LABELS, 15.0),
            ("errors 10 % to 12 %, hours", partial(errors, 0.12, 0.0), LABELS, LABELS, 80.0),
            ("errors 10 % to 40 %, labels", partial(errors, 0.40, 0.0), 5, 1, 80.0),
        ):
            took = pool.map(partial(delay, good, bad, look), range(losses))
            found.append((f"until found, {name}", float(np.mean(took)) / unit, "<=", limit))
        for by, limit in ((20.0, 40.0), (3.0, 60.0), (1.2, 1000.0)):
            took = pool.map(partial(delay, partial(absolute, 0.0), partial(larger, by), 5), range(losses))
            found.append((f"until found, mae times {by:g}, labels", float(np.mean(took)), "<=", limit))
        at_limit = partial(segmented, [RATE] * 8, 1 / ALPHA, 365)
        alarms = np.isfinite(pool.map(at_limit, range(2 * years)))
        found.append(("years in which one of 8 segments alarms, %", 100 * float(alarms.mean()), "<=", most))
        one_bad = partial(segmented, [0.25, *[RATE] * 7], 1 / ALPHA, 365)
        took = pool.map(one_bad, range(losses // 4))
        found.append(("until found, 10 % to 25 % in one of 8 segments, hours", float(np.mean(took)), "<=", 72.0))
    return found + labels_estimates.figures(quick)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, figures))
