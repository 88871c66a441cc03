"""The subjects of a profile."""

import numpy as np

from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.profile import PREDICTION, Profile


def test_a_column_named_like_the_predictions() -> None:
    """Both are tested, under different names."""
    values = np.arange(5.0)
    both = fit_profile({PREDICTION: values, "x": values}, answers=[1.0, 2.0])

    assert list(both.subjects()) == ["column prediction", "x", "prediction"]
    assert list(fit_profile({"x": values}).subjects()) == ["x"]


def test_an_empty_profile() -> None:
    """It has no subject and no pair."""
    assert Profile().subjects() == {}
    assert (fit_profile({}).rows, fit_profile({}).pairs.values) == (0, [])
