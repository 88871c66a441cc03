"""What is found and what is left alone, at levels that a year of hourly looks needs."""

import numpy as np
import pytest

from mlauto.monitoring.drift.fitting import fit_column
from mlauto.monitoring.drift.tests import number_of_tests
from mlauto_tests.monitoring.drift.conftest import World, columns


def test_the_same_world_is_left_alone(drift_world: World) -> None:
    """Many windows of several sizes, and not one alarm."""
    for seed in range(40):
        assert drift_world.alarms(columns((150, 1000, 5000)[seed % 3], 100 + seed)) == set()


def test_a_tenth_of_a_deviation_is_found_with_20000_rows(drift_world: World) -> None:
    """Every time, in units of the reference's deviation, and nothing else is blamed."""
    for seed in range(5):
        window = columns(20_000, 200 + seed)
        window["x"] = window["x"] + 0.1
        report = drift_world.report(window)

        assert [(found.subject, found.test) for found in report.alarmed] == [("x", "location")]
        assert report.alarmed[0].effect == pytest.approx(0.1, abs=0.03)
        assert report.alarmed[0].unit == "sd of the reference"


def test_what_does_not_matter_is_left_alone_at_any_size(drift_world: World) -> None:
    """A fiftieth of a deviation at 300,000 rows is certain, and still no alarm."""
    window = columns(300_000, 7)
    window["x"] = window["x"] + 0.02

    assert drift_world.alarms(window) == set()


def test_another_spread(drift_world: World) -> None:
    """A third more is found as that; the place did not move."""
    window = columns(20_000, 8)
    window["y"] = window["y"] * 1.3
    report = drift_world.report(window)
    spread = next(found for found in report.alarmed if found.subject == "y" and found.test == "spread")

    assert spread.effect == pytest.approx(0.28, abs=0.05)  # the outermost bins have no end
    assert ("y", "location") not in {(found.subject, found.test) for found in report.alarmed}


def test_another_shape(drift_world: World) -> None:
    """Skewness at the same mean and variance, in sd of the components."""
    window = columns(20_000, 9)
    skewed = np.random.default_rng(9).gamma(2.0, size=20_000)
    window["x"] = (skewed - 2.0) / np.sqrt(2.0)

    assert ("x", "shape") in drift_world.alarms(window)


def test_nulls(drift_world: World) -> None:
    """A fifth without a value where the reference has none; the reference's share is named."""
    window = columns(2000, 10)
    window["x"] = np.where(np.random.default_rng(1).random(2000) < 0.2, np.nan, window["x"])
    report = drift_world.report(window)

    assert [(found.subject, found.test) for found in report.alarmed] == [("x", "nulls")]
    assert report.alarmed[0].effect == pytest.approx(0.2, abs=0.03)
    assert report.alarmed[0].unit == "of rows more without a value"
    assert report.alarmed[0].detail == "0.0% in the reference"


def test_an_unseen_level(drift_world: World) -> None:
    """Half a percent of the rows, named."""
    window = columns(20_000, 11)
    level = window["level"].astype("U8")
    level[:100] = "brandnew"
    report = drift_world.report({**window, "level": level})

    assert [(found.subject, found.test) for found in report.alarmed] == [("level", "unseen")]
    assert report.alarmed[0].detail == '"brandnew"'
    assert report.alarmed[0].effect == pytest.approx(0.005)


def test_another_mix_of_levels(drift_world: World) -> None:
    """The level that changed most is named with its shares."""
    window = columns(10_000, 12)
    level = window["level"].copy()
    level[level == "b"] = np.where(np.arange((level == "b").sum()) % 2, "b", "a")
    report = drift_world.report({**window, "level": level})

    assert [(found.subject, found.test) for found in report.alarmed] == [("level", "categories")]
    assert report.alarmed[0].detail.startswith(('"b" from 30', '"a" from 50', '"b" from 29'))
    assert report.alarmed[0].unit == "sd of the mix of levels"


def test_a_correlation(drift_world: World) -> None:
    """A change by 0.2, with neither column moved."""
    report = drift_world.report(columns(20_000, 13, correlation=0.3))

    assert [(found.subject, found.test) for found in report.alarmed] == [("x ~ y", "correlation")]
    assert report.alarmed[0].effect == pytest.approx(-0.2, abs=0.04)


def test_a_unit_that_changed(drift_world: World) -> None:
    """Values a hundred times as large lie outside of all that the reference knows."""
    window = columns(500, 14)
    window["skewed"] = window["skewed"] * 100

    assert {("skewed", "location"), ("skewed", "range")} <= drift_world.alarms(window)


def test_numbers_that_became_text(drift_world: World) -> None:
    """A change of type is a finding, not an error."""
    window = {**columns(500, 15), "whole": np.array(["three"] * 500)}

    assert ("whole", "type") in drift_world.alarms(window)


def test_a_column_that_ceased_to_come(drift_world: World) -> None:
    """Every row lacks it."""
    window = columns(500, 16)
    del window["skewed"]

    assert ("skewed", "nulls") in drift_world.alarms(window)


def test_a_constant_that_changed() -> None:
    """It has no deviation to measure by: all rows lie outside."""
    from mlauto.monitoring.drift.fitting import fit_profile

    world = World(fit_profile({"x": np.full(5000, 7.0)}))

    assert world.alarms({"x": np.full(500, 7.0)}) == set()
    assert world.alarms({"x": np.full(500, 9.0)}) == {("x", "range")}


def test_how_many_tests_a_column_gets() -> None:
    """Fewer for one that runs with time, or that never had a value."""
    dice = np.random.default_rng(0)

    assert number_of_tests(fit_column(dice.normal(size=500))) == 6
    assert number_of_tests(fit_column(np.arange(500))) == 2
    assert number_of_tests(fit_column(["a", "b"] * 50)) == 3
    assert number_of_tests(fit_column([None] * 50)) == 1
