"""A reference of independent rows, its profile, and windows of the same world or of another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlauto.measured import DriftReport
from mlauto.monitoring.drift.bounds import Budget
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.profile import Profile
from mlauto.monitoring.drift.report import budget_of, drift_report

Columns = dict[str, NDArray[Any]]
HOURLY = 365.25 * 24


def columns(rows: int, seed: int, *, correlation: float = 0.5) -> Columns:
    """Four columns of numbers (the first two correlated; skewed; whole), one of levels."""
    dice = np.random.default_rng(seed)
    x = dice.normal(size=rows)
    return {
        "x": x,
        "y": correlation * x + np.sqrt(1 - correlation**2) * dice.normal(size=rows),
        "skewed": np.exp(dice.normal(size=rows)),
        "whole": dice.poisson(3, size=rows).astype(float),
        "level": dice.choice(np.array(["a", "b", "c", "d"]), rows, p=[0.5, 0.3, 0.15, 0.05]),
    }


def as_values(given: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Texts as lists, as they come from a frame."""
    return {name: values if values.dtype.kind in "fiub" else values.tolist() for name, values in given.items()}


def as_rows(given: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """The same as JSON values, a row at a time."""
    lists = {name: values.tolist() for name, values in given.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


@dataclass
class World:
    """A reference of 50,000 rows, looked at hourly."""

    profile: Profile = field(default_factory=lambda: fit_profile(as_values(columns(50_000, 1))))

    @property
    def budget(self) -> Budget:
        return budget_of(self.profile, HOURLY)

    def report(self, given: Mapping[str, NDArray[Any]], budget: Budget | None = None) -> DriftReport:
        """The report on a window."""
        counts = Tally(self.profile).rows(as_rows(given))
        found = drift_report(self.profile, counts, budget or self.budget)
        assert found is not None
        return found

    def alarms(self, given: Mapping[str, NDArray[Any]]) -> set[tuple[str, str]]:
        """Subject and test of each alarm."""
        return {(finding.subject, finding.test) for finding in self.report(given).alarmed}


@pytest.fixture(scope="session")
def drift_world() -> World:
    """The reference that most tests share."""
    return World()
