"""The two estimators that need no model repository."""

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import TrainingError
from mlauto.training.backtest.baselines import BASELINES, baseline


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_gaps_and_unseen_categories_get_an_answer(name: str, task: str) -> None:
    """What a stream brings that the first batches did not have."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=80), "city": random.choice(["Bern", "Oslo"], 80)})
    frame.loc[::9, "x"] = np.nan
    target = frame["x"].fillna(0) > 0 if task == "classification" else frame["x"].fillna(0)
    model = baseline(name, task, ["x"], ["city"]).fit(frame, target.to_numpy())

    answers = model.predict(pd.DataFrame({"x": [np.nan, 2.0, -2.0], "city": ["Rome", "Bern", None]}))

    assert len(answers) == 3
    assert answers[1] > answers[2]


def test_numbers_alone_need_no_preparation() -> None:
    """Boosted trees then are themselves."""
    assert type(baseline("hgb", "regression", ["x"], [])).__name__ == "HistGradientBoostingRegressor"


def test_another_name_is_refused() -> None:
    """With what there is."""
    with pytest.raises(TrainingError, match=r"'forest' is neither hgb nor linear.*package\.module:function"):
        baseline("forest", "regression", ["x"], [])
