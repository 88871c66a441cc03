"""Which columns tell the window from the reference: a classifier two-sample test (Lopez-Paz and Oquab 2017).

It explains alarms and raises none. It sees what no test of one column or pair does, and it costs a second.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.fitting import numbers_in, text_of

__all__ = ["SAMPLE", "Explanation", "explain"]

SAMPLE = 2000  # rows of each side at most
FEWEST_ROWS = 40
SEED = 0


class Explanation(msgspec.Struct, frozen=True):
    """How well rows of the window are told from those of the reference that the classifier had not seen.

    `auc` is 0.5 for not at all and 1 for always; `importances` say how much of it is lost when a column's values are
    shuffled, the most important first.
    """

    auc: float
    rows: int
    importances: dict[str, float]


def explain(
    reference: Sequence[Mapping[str, Any]], window: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> Explanation | None:
    """The explanation from at most 2000 rows of each, drawn at random; None for fewer than 40 of either.

    Half the rows train the classifier, the other half are told apart.
    """
    if min(len(reference), len(window)) < FEWEST_ROWS or not columns:
        return None
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    dice = np.random.default_rng(SEED)
    then, now = (_drawn(rows, dice) for rows in (reference, window))
    table = np.column_stack([_encoded([row.get(name) for row in (*then, *now)]) for name in columns])
    side = np.repeat([0, 1], [len(then), len(now)])
    order = dice.permutation(len(side))
    table, side, half = table[order], side[order], len(side) // 2
    # threads would wait for one another longer than they count on so few rows
    model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=SEED)
    model.fit(table[:half], side[:half])
    unseen, truth = table[half:], side[half:]

    def auc(rows: NDArray[np.float64]) -> float:
        return float(roc_auc_score(truth, model.predict_proba(rows)[:, 1]))

    whole = auc(unseen)
    lost = {}
    for place, name in enumerate(columns):
        shuffled = unseen.copy()
        shuffled[:, place] = dice.permutation(shuffled[:, place])
        lost[name] = whole - auc(shuffled)
    ranked = dict(sorted(lost.items(), key=lambda pair: -pair[1]))
    return Explanation(auc=whole, rows=len(truth), importances=ranked)


def _drawn(rows: Sequence[Mapping[str, Any]], dice: np.random.Generator) -> list[Mapping[str, Any]]:
    if len(rows) <= SAMPLE:
        return list(rows)
    return [rows[place] for place in dice.choice(len(rows), SAMPLE, replace=False).tolist()]


def _encoded(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers as they are; levels as numbers in the order of their names; NaN for missing."""
    numbers = numbers_in(values)
    if numbers is not None:
        return numbers
    names = list(map(text_of, values))
    codes = {name: float(code) for code, name in enumerate(sorted({name for name in names if name is not None}))}
    return np.array([np.nan if name is None else codes[name] for name in names])
