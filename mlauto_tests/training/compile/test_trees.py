"""Trees' arrays against scikit-learn's own trees, where rows are most likely to differ: at the thresholds."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor

from mlauto.serving.plan.layout import LEAF
from mlauto.serving.plan.trees import sums
from mlauto.training.compile import trees
from mlauto.training.compile.builder import UnsupportedError

CHANCE = np.random.default_rng(7)
X = CHANCE.normal(size=(600, 4))
X[CHANCE.random(X.shape) < 0.05] = np.nan
Y = np.nan_to_num(X) @ [1.0, -2.0, 0.5, 0.0] + CHANCE.normal(size=600) / 4


def at_thresholds(arrays: dict[str, Any]) -> Any:
    """Rows whose every cell is a threshold of its column, or a neighbour of one."""
    nodes = arrays["nodes"]
    inner = nodes[(nodes["flags"] & LEAF) == 0]
    rows = CHANCE.normal(size=(3000, X.shape[1]))
    for cell in range(X.shape[1]):
        found = inner["threshold"][(inner["feature"] == cell) & (np.abs(inner["threshold"]) < 1e30)]
        if len(found):
            around = np.concatenate([found, np.nextafter(found, np.inf), np.nextafter(found, -np.inf)])
            rows[:, cell] = CHANCE.choice(around, len(rows))
    rows[CHANCE.random(rows.shape) < 0.05] = np.nan
    return rows


@pytest.mark.parametrize(
    ("model", "compiled"),
    [
        (HistGradientBoostingRegressor(max_iter=30), trees.histogram_boosted),
        (RandomForestRegressor(10, random_state=1), trees.forest),
        (DecisionTreeRegressor(random_state=1), trees.single_tree),
    ],
)
def test_thresholds_belong_where_scikit_learn_has_them(model: Any, compiled: Any) -> None:
    """Exactly equal sums on values at and beside every threshold, with missing ones among them."""
    plan, arrays = compiled(model.fit(X, Y), X.shape[1])
    rows = at_thresholds(arrays)

    assert (sums(plan, arrays, None)(rows)[:, 0] == model.predict(rows)).all()


def test_gradient_boosting_refuses_missing_values_by_itself() -> None:
    """Its thresholds belong where scikit-learn has them, too."""
    model = GradientBoostingRegressor(n_estimators=20).fit(np.nan_to_num(X), Y)
    plan, arrays = trees.gradient_boosted(model, X.shape[1])
    rows = np.nan_to_num(at_thresholds(arrays))

    np.testing.assert_allclose(sums(plan, arrays, None)(rows)[:, 0], model.predict(rows), rtol=1e-12)


def test_unknown_losses_are_refused() -> None:
    """What their sums mean is not known here."""
    model = GradientBoostingClassifier(loss="exponential", n_estimators=3).fit(np.nan_to_num(X), Y > 0)

    with pytest.raises(UnsupportedError, match="loss ExponentialLoss is not compiled"):
        trees.gradient_boosted(model, X.shape[1])


def test_several_outputs_are_refused() -> None:
    """A prediction is one number."""
    model = DecisionTreeRegressor(max_depth=2).fit(np.nan_to_num(X), np.column_stack([Y, Y]))

    with pytest.raises(UnsupportedError, match="several outputs"):
        trees.single_tree(model, X.shape[1])
