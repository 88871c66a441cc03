"""The compiled flavour: a plan that answers, with numpy alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlauto.serving.errors import ModelError
from mlauto.serving.plan import format as formats
from mlauto.serving.plan.estimators import executor
from mlauto.serving.plan.prepare import preparation
from mlauto.serving.plan.single import single
from mlauto.serving.plan.walker_file import LIBRARY
from mlauto.serving.protocol import Answer

__all__ = ["PlanModel"]


class PlanModel:
    """A plan read from a folder, with the C library if it lies beside it. Safe to use from several threads."""

    def __init__(self, folder: Path, library: Path | None = None) -> None:
        """Raises `PlanError` when the plan is not sound, or its library was made for another machine."""
        plan, arrays = formats.read(folder)
        beside = folder / LIBRARY
        if library is None and beside.is_file():
            library = beside
        self.columns = plan.columns
        self._prepare = preparation(plan)
        self._prepare_one = single(plan)
        self._execute = executor(plan, arrays, library)
        self._numbers = not plan.classes

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> Answer:
        """Predictions, and a classifier's probabilities, for rows as `rows_from` makes them, columns in order.

        Raises `RequestError` (422) for values that the pipeline would refuse, and `ModelError` when a number comes out
        that is not finite.
        """
        return self.answer_values([tuple(row.values()) for row in rows])

    def answer_values(self, rows: Sequence[Sequence[Any]], *, odds: bool = True) -> Answer:
        """The same for rows as tuples in the signature's order; no probabilities unless `odds`, which saves time."""
        if len(rows) == 1 and self._prepare_one is not None:
            cells = self._prepare_one(rows[0])
        else:
            cells = self._prepare(list(zip(*rows, strict=True)), len(rows))
        answer = self._execute(cells, odds)
        if self._numbers and not all(map(math.isfinite, answer.predictions)):
            for index, number in enumerate(answer.predictions):
                if not math.isfinite(number):
                    raise ModelError(f"the model answered {number} for row {index}, which is no prediction")
        return answer
