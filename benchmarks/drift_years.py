"""How often drift alarms when nothing happened, and when something did: the simulated part of monitoring_drift.py.

Years are simulated by the counts in the bins of each feature, drawn as multinomials; the production code judges
the looks of a year that are most extreme in each component. Levels that can be counted are checked with whole rows.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from figures import Figure
from numpy.typing import NDArray

from mlauto.monitoring.drift.basis import components, normal_scores
from mlauto.monitoring.drift.bounds import Budget
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.counts import NumberCounts
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.profile import Numbers, Profile
from mlauto.monitoring.drift.report import budget_of, drift_report
from mlauto.monitoring.drift.tests import number_findings

STREAMS = Path(__file__).resolve().parents[2] / "shared" / "streams"
FEATURES = 16
LOOKS = 8766  # hours of a year
WINDOW, REFERENCE, BINS = 20_000, 100_000, 64  # bins: a quarter of the real ones, for four times as many years
TESTS = FEATURES * 6 + FEATURES * (FEATURES - 1) // 2
COUNTED = 1e-3  # chance per look and year's tests that a bound leaves 0 out: rare, and still countable
Floats = NDArray[np.float64]


def reference(dice: np.random.Generator) -> Numbers:
    """The profile of one feature: its counts have the sampling error that a reference has."""
    counts = dice.multinomial(REFERENCE, np.full(BINS, 1 / BINS)).tolist()
    return Numbers(
        edges=[float(n) for n in range(1, BINS)],
        counts=counts,
        scores=normal_scores(counts),
        far=(-1e9, 1e9),
        mean=0.0,
        sd=1.0,
        nulls=0,
        still=True,
        curves=[[1.0]] * 5,
    )


def years(number: int) -> Iterator[Figure]:
    """Years of hourly looks at 16 features in which nothing happens."""
    dice = np.random.default_rng(1)
    year = Budget(TESTS, LOOKS)
    look = Budget(TESTS, 1, COUNTED)
    alarmed = beyond = 0
    for _ in range(number):
        alarm, strange = False, set()
        for _ in range(FEATURES):
            feature = reference(dice)
            counts = dice.multinomial(WINDOW, np.full(BINS, 1 / BINS), LOOKS)
            means = np.abs(counts / WINDOW @ components(feature.counts, feature.scores).T)
            for place in np.unique(np.argsort(means, axis=0)[-20:]).tolist():
                window = NumberCounts(counts[place])
                alarm |= any(found.alarmed for found in number_findings("x", feature, window, year))
                if any(found.low > 0 or found.high < 0 for found in number_findings("x", feature, window, look)):
                    strange.add(place)
        alarmed += alarm
        beyond += len(strange)
    yield f"share of {number} years of hourly looks at 16 features with an alarm", alarmed / number, "<=", 0.01
    name = f"share of {number * LOOKS:,} looks beyond a bound of {COUNTED:g} a look, without margins"
    yield name, beyond / number / LOOKS, "<=", COUNTED


def table(rows: int, dice: np.random.Generator) -> dict[str, Floats]:
    """16 correlated columns, three of them skewed and three whole."""
    common = dice.normal(size=(rows, 1))
    values = np.sqrt(0.7) * dice.normal(size=(rows, FEATURES)) + np.sqrt(0.3) * common
    values[:, 10:13] = np.exp(values[:, 10:13])
    values[:, 13:] = np.floor(3 * values[:, 13:])
    return {f"x{n}": values[:, n] for n in range(FEATURES)}


def alarms(profile: Profile, tally: Tally, given: dict[str, Floats], budget: Budget) -> set[str]:
    """Subject and test of each alarm."""
    rows = len(next(iter(given.values())))
    report = drift_report(profile, tally.chunk(rows, {name: (one, 0) for name, one in given.items()}, {}, {}), budget)
    if report is None:
        raise ValueError(f"no report on {rows} rows")
    return {f"{found.subject} {found.test}" for found in report.alarmed}


def level(windows: int) -> Iterator[Figure]:
    """Whole reports at a level per look that can be counted, all tests together, at several sizes."""
    dice = np.random.default_rng(2)
    profile = fit_profile(table(REFERENCE, dice))
    tally, budget = Tally(profile), Budget(budget_of(profile, 1).tests, 1, 0.01)
    for rows in (200, 2000):
        hit = sum(bool(alarms(profile, tally, table(rows, dice), budget)) for _ in range(windows))
        yield f"share of {windows} reports on {rows} rows that alarm at 1 % a look", hit / windows, "<=", 0.01


def power(windows: int) -> Iterator[Figure]:
    """A shift by 0.1 sd in one of 16 features, 20,000 rows, at the level of a year of hourly looks."""
    dice = np.random.default_rng(3)
    profile = fit_profile(table(REFERENCE, dice))
    tally, budget = Tally(profile), budget_of(profile, LOOKS)
    found = 0
    for _ in range(windows):
        given = table(WINDOW, dice)
        given["x5"] = given["x5"] + 0.1
        found += "x5 location" in alarms(profile, tally, given, budget)
    yield "power at 0.1 sd and 20,000 rows", found / windows, ">=", 0.99


def dependent(windows: int) -> Iterator[Figure]:
    """Windows of real streams, made stationary by drawing blocks of a week's rows from all over the stream.

    A profile of the same rows in another order says what it costs not to know that they depend on one another.
    """
    dice = np.random.default_rng(4)
    dropped = ("timestamp", "casual", "registered", "target", "date")
    for name, block in (("bike_hourly", 168), ("elec2", 336)):
        path = STREAMS / f"{name}.csv"
        if not path.exists():
            print(f"{path} is not there: its figures are left out", file=sys.stderr)
            continue
        frame = pd.read_csv(path)
        given = {column: frame[column].to_numpy(dtype=float) for column in frame if column not in dropped}
        order = dice.permutation(len(frame))
        known = fit_profile(given)
        naive = fit_profile({column: values[order] for column, values in given.items()})
        budgets = budget_of(known, LOOKS), Budget(budget_of(known, 1).tests, 1, 0.01)
        hits = np.zeros(3)
        for _ in range(windows):
            starts = dice.integers(0, len(frame) - block, 10)
            places = np.concatenate([np.arange(start, start + block) for start in starts])
            window = {column: values[places] for column, values in given.items()}
            hits[0] += bool(alarms(known, Tally(known), window, budgets[0]))
            hits[1] += bool(alarms(known, Tally(known), window, budgets[1]))
            hits[2] += bool(alarms(naive, Tally(naive), window, budgets[0]))
        yield f"{name}: share of windows of blocks that alarm at a year's level", hits[0] / windows, "<=", 0.0
        yield f"{name}: the same at 1 % a look", hits[1] / windows, "<=", 0.01
        yield f"{name}: the same with rows taken for independent", hits[2] / windows, ">=", 0.1
