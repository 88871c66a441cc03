"""The compiled flavour: a plan that answers, with numpy alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlauto.serving.errors import ModelError
from mlauto.serving.plan import format as formats
from mlauto.serving.plan.average import averaged
from mlauto.serving.plan.estimators import executor
from mlauto.serving.plan.prepare import Columns, preparation, preparations
from mlauto.serving.plan.single import Row, single, singles
from mlauto.serving.plan.walker_file import LIBRARY
from mlauto.serving.wire.protocol import Answer

__all__ = ["PlanModel"]

Prepared = TypeVar("Prepared")
Run = Callable[[Sequence[Row], bool], Answer]


class PlanModel:
    """A plan read from a folder, with the C library if it lies beside it. Safe to use from several threads."""

    def __init__(self, folder: Path, library: Path | None = None) -> None:
        """Raises `PlanError` when the plan is not sound, or its library was made for another machine."""
        plan, arrays = formats.read(folder)
        beside = folder / LIBRARY
        if library is None and beside.is_file():
            library = beside
        self.columns = plan.columns
        estimator = plan.estimator
        if isinstance(estimator, formats.Average):
            sources = [part.source for part in estimator.parts]
            execute = averaged(estimator, plan.classes, arrays, library)
            self._run = _run(preparations(plan, sources), singles(plan, sources), execute)
        else:
            alone = executor(estimator, plan.classes, arrays, library)
            self._run = _run(preparation(plan), single(plan), alone)
        self._numbers = not plan.classes

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> Answer:
        """Predictions, and a classifier's probabilities, for rows as `rows_from` makes them, columns in order.

        Raises `RequestError` (422) for values that the pipeline would refuse, and `ModelError` when a number comes out
        that is not finite.
        """
        return self.answer_values([tuple(row.values()) for row in rows])

    def answer_values(self, rows: Sequence[Sequence[Any]], *, odds: bool = True) -> Answer:
        """The same for rows as tuples in the signature's order; no probabilities unless `odds`, which saves time."""
        answer = self._run(rows, odds)
        if self._numbers and not all(map(math.isfinite, answer.predictions)):
            for index, number in enumerate(answer.predictions):
                if not math.isfinite(number):
                    raise ModelError(f"the model answered {number} for row {index}, which is no prediction")
        return answer


def _run(
    prepare: Callable[[Columns, int], Prepared],
    prepare_one: Callable[[Row], Prepared] | None,
    execute: Callable[[Prepared, bool], Answer],
) -> Run:
    def run(rows: Sequence[Row], odds: bool) -> Answer:
        if len(rows) == 1 and prepare_one is not None:
            return execute(prepare_one(rows[0]), odds)
        return execute(prepare(list(zip(*rows, strict=True)), len(rows)), odds)

    return run
