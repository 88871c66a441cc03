"""Averages of fits that are corrected: what they lose, and what each later batch tells of the correction."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from mlauto.errors import TrainingError
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Fit, Model
from mlauto.training.correcting import Tried, corrected_by
from mlauto.training.weighting import History
from mlauto_tests.training.backtest.test_fits import blend, fitted, made, mean, steps

__all__ = ["mean"]  # a fixture

HALF = (Tried(1 + math.log(9) / 3, 1.0, 2.0),)  # after which half of the 2 that the batch asks for is believed in


def shown(fit: Fit, batches: int) -> list[Tried]:
    """What the first later batches show of the correction."""
    assert fit.tried is not None
    return [fit.tried(place) for place in range(batches)]


class Undecided(DummyClassifier):  # type: ignore[misc]
    """A classifier whose probabilities are no numbers."""

    def predict_proba(self, features: pd.DataFrame) -> Any:
        return np.full((len(features), 2), np.nan)


@pytest.mark.parametrize(("metric", "power"), [("mae", 1), ("rmse", 2)])
def test_a_corrected_mean_loses_what_the_moved_mean_loses(tmp_path: Path, metric: str, power: int) -> None:
    """It says 1.25 + 1 where 3 and 4 come; its members lose what they lost, and no fit is made again."""
    fits = made(tmp_path, steps(), DummyRegressor(), metric=metric, inputs="moved")
    plain = fits.fit(blend(3, 0.25, 0.75))
    files = list(tmp_path.rglob("*.npz"))

    fit = fits.fit(blend(3, 0.25, 0.75, tried=HALF))

    assert [part.tolist() for part in plain.later] == [[1.75**power] * 100, [2.75**power] * 100]
    assert corrected_by(HALF).amount == pytest.approx(1.0)
    assert [part.tolist() for part in fit.later] == [pytest.approx([by**power] * 100) for by in (0.75, 1.75)]
    assert fit.parts == plain.parts
    assert list(tmp_path.rglob("*.npz")) == files


def test_each_later_batch_tells_how_the_correction_did(mean: Fits) -> None:
    """Of the mean without it and with all of the offset, and what the batch asks for, less its hundred rows' doubt."""
    fit, plain = mean.fit(blend(3, 0.25, 0.75, tried=HALF)), mean.fit(blend(3, 0.25, 0.75))

    assert shown(fit, 2) == [
        pytest.approx(Tried(1.75, 0.25, 1.75 / 2)),
        pytest.approx(Tried(2.75, 0.75, 2.75 / 2)),
    ]
    assert [one.moved for one in shown(plain, 2)] == pytest.approx([1.75, 2.75])
    assert mean.fit(blend(5, 0.25, 0.75, tried=HALF)).tried is None
    assert mean.fit(fitted(3, History())).tried is None


def test_a_single_fit_is_not_corrected(mean: Fits) -> None:
    """Only averages are."""
    model = fitted(3, History())

    corrected = mean.fit(Model(batches=3, members=model.members, tried=HALF))

    assert [part.tolist() for part in corrected.later] == [part.tolist() for part in mean.fit(model).later]


def test_a_trial_is_corrected_by_what_older_batches_asked_for(mean: Fits) -> None:
    """The newest batch has held-out rows: what it shows is known to the model that is served, not to its trial."""
    newest = Tried(1.0, 1.0, 50.0)
    trials = [mean.trial(blend(3, 0.04, 0.96, tried=one), blend(2, 0.5, 0.5)) for one in ((), (*HALF, newest))]
    served = mean.fit(blend(3, 0.04, 0.96, tried=(*HALF, newest)))

    known = (0 * 100 + 1 * 100 + 2 * 70) / 270  # all history, with the newest batch at 4 %
    assert [trial.reference.value for trial in trials] == pytest.approx([2 - known, 2 - (known + 1)])
    assert served.later[0].mean() == pytest.approx(0.04 * 2 + 0.96 * 1 + 25 - 3)


def test_a_trial_of_many_rows_leaves_out_every_batch_that_it_touches(mean: Fits) -> None:
    """Thirty percent of what the champion never saw may reach into the last but one."""
    many = tuple(Tried(1.0, 0.5, offset) for offset in (1.0, 2.0, 3.0))
    short = blend(4, 0.5, 0.5, tried=many[:1])

    assert mean.said(short, 101).losses.tolist() == mean.said(blend(4, 0.5, 0.5), 101).losses.tolist()
    assert [mean._touched(blend(4, 0.5, 0.5), rows) for rows in (0, 1, 100, 101, 200)] == [0, 1, 1, 2, 2]
    assert mean.said(blend(4, 0.5, 0.5, tried=many), 101).losses == pytest.approx(
        np.abs(mean.said(blend(4, 0.5, 0.5), 101).answers + corrected_by(many[:1]).amount - steps()[299:400])
    )


@pytest.mark.parametrize(("count", "lost"), [(0, 0.75), (9, 0.25)])
def test_corrected_classes_lose_what_another_threshold_loses(tmp_path: Path, count: int, lost: float) -> None:
    """A quarter were "b", now three quarters are: from 18 % on all are said to be, once that is believed."""
    labels = ["a", "a", "a", "b"] * 50 + ["a", "b", "b", "b"] * 75
    fits = made(tmp_path, labels, DummyClassifier(strategy="prior"), metric="error_rate", inputs="threshold")

    before = (*(Tried(1.0, 0.5, 0.0),) * count, Tried(1.0, 1.0, 1.5))

    fit = fits.fit(blend(2, 0.5, 0.5, tried=before))

    assert [part.mean() for part in fit.later] == [lost] * 3
    assert fit.parts == ((0.75, 0.75, 0.75),) * 2
    assert [(one.without, one.moved) for one in shown(fit, 3)] == [(0.75, 0.25)] * 3
    assert all(0.3 < one.best < 2 * np.log(3) for one in shown(fit, 3))


@pytest.mark.parametrize(
    ("labels", "metric"), [(["a", "b", "c", "b"] * 125, "error_rate"), (["a", "b"] * 250, "log_loss")]
)
def test_what_cannot_be_corrected_is_not(tmp_path: Path, labels: list[str], metric: str) -> None:
    """Three classes, or probabilities that count: nothing is tried, and nothing moved."""
    fits = made(tmp_path, labels, DummyClassifier(strategy="prior"), metric=metric, inputs="not moved")

    corrected, plain = (fits.fit(blend(2, 0.5, 0.5, tried=one)) for one in (HALF, ()))

    assert corrected.tried is plain.tried is None
    assert [part.tolist() for part in corrected.later] == [part.tolist() for part in plain.later]


def test_probabilities_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """As numbers are that are not finite: the champion then stays."""
    fits = made(tmp_path, ["a", "b"] * 250, Undecided(), metric="error_rate", inputs="undecided")

    with pytest.raises(TrainingError, match="not finite"):
        fits.fit(blend(2, 0.5, 0.5))


def renewed(model: Model, learned: int, *shares: float, tried: tuple[Tried, ...] = ()) -> Model:
    """Its fits, averaged anew when so many batches had labels."""
    members = tuple(replace(one, share=share) for one, share in zip(model.members, shares, strict=True))
    return replace(model, members=members, tried=tried, learned=learned)


def test_a_renewed_average_needs_no_fit(mean: Fits, tmp_path: Path) -> None:
    """Of batches 0 to 2 one fit says 2 and one says 1: with other shares, and moved by one, 1.5 + 1."""
    base = blend(3, 0.25, 0.75)
    mean.fit(base)
    files = list(tmp_path.rglob("*.npz"))

    fit = mean.fit(renewed(base, 4, 0.5, 0.5, tried=HALF))
    trial = mean.trial(renewed(base, 4, 0.5, 0.5), base)

    assert [part.mean() for part in fit.later] == pytest.approx([3 - 2.5, 4 - 2.5])
    assert list(tmp_path.rglob("*.npz")) == files
    assert (trial.reference.rows, trial.reference.value, trial.seconds) == (30, pytest.approx(3 - 1.5), 0.0)
    assert trial.passed


def test_a_renewed_average_is_tried_without_what_the_newest_batch_asks_for(mean: Fits) -> None:
    """Its correction is served; on the rows that it came from it would prove nothing."""
    base = blend(3, 0.5, 0.5)
    newest = Tried(1.0, 1.0, 50.0)

    trial = mean.trial(renewed(base, 5, 0.5, 0.5, tried=(*HALF, newest)), base)

    assert trial.reference.rows == 60
    assert trial.reference.value == pytest.approx(4 - (1.5 + 1))


def test_a_renewed_average_that_is_worse_may_not_follow(mean: Fits) -> None:
    """Where there is a limit it is held against the live one on the newest rows, as a trained one is."""
    base, mean.sigmas = blend(3, 1.0, 0.0), 5.0

    assert not mean.trial(renewed(base, 4, 0.0, 1.0), base).passed
    assert mean.trial(renewed(base, 4, 1.0, 0.0), renewed(base, 4, 0.5, 0.5)).passed


def test_a_correction_is_applied_as_far_as_it_is_believed(mean: Fits) -> None:
    """A model that begins with more belief has moved further after the same batches."""
    models = [replace(blend(3, 0.25, 0.75, tried=HALF), belief=belief) for belief in (0.1, 0.3)]
    moved = [corrected_by(HALF, model.belief).amount for model in models]

    assert moved[1] > moved[0] == pytest.approx(1.0)
    assert [mean.fit(model).later[0].mean() for model in models] == pytest.approx([1.75 - by for by in moved])


def test_a_renewed_average_shows_what_other_shares_had_lost(mean: Fits, tmp_path: Path) -> None:
    """Of 2 and 1: a quarter and three quarters by its training, all of the first as losses ask for; not corrected."""
    base = blend(3, 0.25, 0.75)
    plain = mean.fit(base)
    files = list(tmp_path.rglob("*.npz"))

    model = replace(renewed(base, 4, 0.5, 0.5, tried=HALF), kept=(0.25, 0.75), asked=(1.0, 0.0))
    fit = mean.fit(model)

    assert plain.shown is None
    assert fit.shown is not None
    assert [fit.shown(place) for place in range(2)] == [pytest.approx((1.75, 1.0)), pytest.approx((2.75, 2.0))]
    assert fit.later[0].mean() == pytest.approx(3 - 2.5)
    assert list(tmp_path.rglob("*.npz")) == files
    assert mean.fit(replace(model, batches=5, learned=5)).shown is None
