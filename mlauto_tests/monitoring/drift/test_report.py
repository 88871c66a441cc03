"""The report: order, size, budget, and the rates that its alarms keep."""

import numpy as np
import pytest

from mlauto.monitoring.drift.bounds import Budget
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.report import CALM, FEWEST_ROWS, budget_of, drift_report
from mlauto_tests.monitoring.drift.conftest import HOURLY, World, as_rows, columns


def test_few_rows_or_no_reference_give_no_report(drift_world: World) -> None:
    """Neither health nor drift is made up."""
    tally = Tally(drift_world.profile)
    few, empty = tally.rows(as_rows(columns(FEWEST_ROWS - 1, 3))), fit_profile({})

    assert drift_report(drift_world.profile, few, drift_world.budget) is None
    assert drift_report(empty, Tally(empty).rows([{"x": 1.0}] * 500), Budget(1, 1)) is None


def test_the_strongest_finding_comes_first(drift_world: World) -> None:
    """Alarms by what is proven of them, in units of what matters."""
    window = columns(20_000, 30)
    window["x"], window["y"] = window["x"] + 0.2, window["y"] + 0.6
    report = drift_world.report(window)

    located = [found.subject for found in report.findings if found.test == "location"]
    assert located[:2] == ["y", "x"]
    assert [found.alarmed for found in report.findings] == sorted((f.alarmed for f in report.findings), reverse=True)
    assert report.rows == 20_000
    assert set(report.shown) == {"x", "y", "skewed", "whole", "level"}


def test_every_finding_lies_within_its_bounds(drift_world: World) -> None:
    """And alarms exactly when all of them matter."""
    window = columns(3000, 31)
    window["x"] = window["x"] * 2 + 0.5
    for found in drift_world.report(window).findings:
        assert found.low <= found.effect <= found.high, found
        assert found.alarmed == (found.low > found.margin or found.high < -found.margin)


def test_the_budget_counts_every_test() -> None:
    """Six for each column of numbers, three for levels, one for each pair, and the predictions' own."""
    dice = np.random.default_rng(0)
    profile = fit_profile(
        {"x": dice.normal(size=500), "y": dice.normal(size=500), "c": ["a", "b"] * 250}, answers=[1.5, 2] * 50
    )

    assert budget_of(profile, 8766).tests == 6 + 6 + 3 + 1 + 6
    assert budget_of(profile, 8766).looks == 8766


def test_windows_that_are_denser_than_the_reference() -> None:
    """Rows of the reference per row of the window in the same time, at most one."""
    profile = fit_profile({"x": np.random.default_rng(0).normal(size=500)}, span=5000.0)

    assert budget_of(profile, 1, rows=1000, seconds=100).pace == pytest.approx(0.01)
    assert budget_of(profile, 1, rows=10, seconds=1e6).pace == 1.0
    assert budget_of(profile, 1).pace == 1.0


def test_most_calm_findings_are_left_out() -> None:
    """A product with hundreds of pairs keeps its record small."""
    dice = np.random.default_rng(0)
    given = {f"x{n}": dice.normal(size=2000) for n in range(25)}
    profile = fit_profile(given)
    report = drift_report(profile, Tally(profile).rows(as_rows(given)), budget_of(profile, HOURLY))

    assert report is not None
    assert len(report.findings) == CALM


def test_the_false_alarm_rate_at_a_level_that_can_be_counted(drift_world: World) -> None:
    """At 5 % a look over all tests, at most 5 % of 200 windows alarm; without margins, hardly more than that."""
    budget = Budget(drift_world.budget.tests, 1, 0.05)
    alarmed = beyond = 0
    for seed in range(200):
        report = drift_world.report(columns(500, 1000 + seed), budget)
        alarmed += bool(report.alarmed)
        beyond += any(found.low > 0 or found.high < 0 for found in report.findings if found.test == "location")

    assert alarmed / 200 <= 0.05
    assert beyond / 200 <= 0.05


def test_dependent_windows_keep_the_rate() -> None:
    """Hours of an autoregression against days of it: not one of 60 windows alarms, though rows repeat each other."""
    dice = np.random.default_rng(3)
    values = dice.normal(size=60_000)
    for row in range(1, 60_000):
        values[row] += 0.97 * values[row - 1]
    profile = fit_profile({"x": values[:30_000]})
    tally, budget = Tally(profile), budget_of(profile, HOURLY)
    starts = dice.integers(30_000, 59_000, 60)

    reports = [
        drift_report(profile, tally.rows([{"x": v} for v in values[s : s + 1000].tolist()]), budget) for s in starts
    ]
    shuffled = fit_profile({"x": dice.permutation(values[:30_000])})
    naive = [
        drift_report(shuffled, tally.rows([{"x": v} for v in values[s : s + 1000].tolist()]), budget) for s in starts
    ]

    assert sum(bool(report and report.alarmed) for report in reports) == 0
    assert sum(bool(report and report.alarmed) for report in naive) > 5
