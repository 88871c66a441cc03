"""PSI, KS, Wasserstein and JS against their definitions."""

import numpy as np
import pytest

from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.distances import level_distances, number_distances
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.profile import Levels, Numbers


def distances(reference: dict[str, object], window: dict[str, list[object]]) -> dict[str, float]:
    profile = fit_profile(reference)  # type: ignore[arg-type]
    ((name, column),) = profile.columns.items()
    counts = Tally(profile).rows([{name: value} for value in window[name]])
    if isinstance(column, Levels):
        return level_distances(column, counts.levels[name])
    assert isinstance(column, Numbers)
    return number_distances(column, counts.numbers[name])


def test_a_shift_of_one_deviation() -> None:
    """Of a normal column: KS 0.38, Wasserstein 1 within the bins' ends, PSI about 1."""
    dice = np.random.default_rng(1)

    found = distances({"x": dice.normal(size=50_000)}, {"x": (dice.normal(size=20_000) + 1).tolist()})

    assert found["ks"] == pytest.approx(0.383, abs=0.02)
    assert found["wasserstein"] == pytest.approx(1, abs=0.03)
    assert found["psi"] == pytest.approx(0.9, abs=0.15)
    assert 0.05 < found["js"] < 0.2


def test_the_same_column_is_at_no_distance() -> None:
    """But for noise."""
    dice = np.random.default_rng(2)

    found = distances({"x": dice.normal(size=50_000)}, {"x": dice.normal(size=20_000).tolist()})

    assert set(found) == {"psi", "ks", "wasserstein", "js"}
    assert max(found.values()) < 0.02


def test_levels_by_hand() -> None:
    """Half and half against three quarters and one."""
    found = distances({"c": ["a", "b"] * 50}, {"c": ["a"] * 75 + ["b"] * 25})

    assert found["psi"] == pytest.approx(0.25 * np.log(1.5) - 0.25 * np.log(0.5))
    assert found["js"] == pytest.approx(0.0338, abs=0.0002)


def test_what_vanished_or_came_is_finite() -> None:
    """Disjoint levels have the largest divergence, log 2, and a PSI that can be written down."""
    found = distances({"c": ["a"] * 100}, {"c": ["b"] * 100})

    assert found["js"] == pytest.approx(np.log(2))
    assert 10 < found["psi"] < 25


def test_nothing_is_known_of_no_values() -> None:
    """A window of gaps has no distance; a constant column has no unit for Wasserstein's."""
    assert distances({"x": [1.0, 2.0]}, {"x": [None]}) == {}
    assert distances({"c": ["a", "b"]}, {"c": [None]}) == {}
    assert distances({"x": [1.0] * 9}, {"x": [1.0]}) == {"psi": 0.0, "ks": 0.0, "wasserstein": 0.0, "js": 0.0}
