"""The fits of a product's history, as numbers: what is not there yet is noted as missing, for others to make.

The code that makes them is the team's, and runs in a workshop only (`mlauto.training.backtest.fits_maker`).
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from mlauto.errors import MlautoError, TrainingError
from mlauto.training.backtest.fit_many import Unit
from mlauto.training.backtest.fits import Fits, Said
from mlauto.training.backtest.models import Fit, Model, Trial
from mlauto.training.evaluate import score_of

__all__ = ["AskedFits", "MissingFitError"]


class MissingFitError(MlautoError):
    """A fit that was asked for is not there yet: it is noted, and to be made before the question is asked again."""


class AskedFits(Fits):
    """Fits that are made elsewhere. `missing` are those that were asked for in vain, `failed` those that cannot be."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, estimator=None, **given)
        self.missing: dict[str, Unit] = {}
        self.failed: dict[str, str] = {}
        self.blind = False  # whether a missing fit is taken for one that loses nothing, so that more is asked for

    def fit(self, model: Model) -> Fit:
        """As `Fits` does. Raises `MissingFitError` unless blind."""
        try:
            return super().fit(model)
        except MissingFitError:
            if not self.blind:
                raise
            ends = self.edges[model.batches :]
            return Fit(later=tuple(np.zeros(b - a) for a, b in pairwise(ends)), seconds=0.0)

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """As `Fits` does; a missing one is guessed, so that what most likely follows is asked for in the same walk."""
        try:
            return super().trial(model, champion)
        except MissingFitError:
            later = self.fit(model).later
            if not later:
                raise
            return Trial(reference=score_of(self.metric, later[0]), passed=True, summary="a guess", seconds=0.0)

    def rows_of(self, unit: Unit) -> int:
        """How many losses that fit has."""
        return unit.holdout or self.edges[-1] - self.edges[unit.model.batches]

    def _made(self, model: Model, holdout: int) -> Said:
        key = self.path_of(model, holdout).stem
        if key in self.failed:
            raise TrainingError(self.failed[key])
        self.missing[key] = Unit(model=model, holdout=holdout)
        raise MissingFitError(f"{self.missing[key]} is not made yet")

    def _each(self, models: Sequence[Model], holdout: int) -> list[Said]:
        """As `Fits` does; all that are missing are noted in one go."""
        for model in models:
            with suppress(MissingFitError, TrainingError):
                self.one(model, holdout)
        return super()._each(models, holdout)
