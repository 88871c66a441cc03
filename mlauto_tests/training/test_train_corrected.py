"""The whole way of a corrected average of classes: learnt by one training, applied, stored, and compiled."""

from collections.abc import Callable

import msgspec
import pandas as pd
import pytest

from mlauto.product import ModelProduct
from mlauto.records import TrainingSet
from mlauto.serving.plan import format as formats
from mlauto.serving.trust import load_model
from mlauto.store import Store
from mlauto.training.averaging import average_in
from mlauto.training.correcting import threshold_of
from mlauto.training.exchange import Evaluation
from mlauto_tests.training.test_train import Train, child, registry, trained

__all__ = ["child", "registry", "trained"]  # fixtures


@pytest.mark.needs("compiler")
def test_a_threshold_that_was_learnt_is_served(
    trained: Train,
    product: Callable[..., ModelProduct],
    training_set: Callable[..., TrainingSet],
    rows: Callable[..., pd.DataFrame],
    store: Store,
) -> None:
    """Where the second class has become more frequent; the model file and its plan answer alike."""
    made = product(
        "logistic",
        data={"task": "classification"},
        monitoring={"metric": "error_rate"},
        training={"retrain": "quality"},
    )
    frames = [rows(300, seed, shift=0.0 if seed < 2 else 15.0) for seed in range(4)]
    frames = [frame.assign(target=frame["target"] > 50) for frame in frames]
    first = trained(made, training_set(*frames[:2]))
    second = trained(made, training_set(*frames[:3]), champion=first)
    third = trained(made, training_set(*frames), champion=second)

    assert first.averaged is not None
    assert third.averaged is not None
    assert first.averaged.amount == 0.0
    assert len(third.averaged.tried) == 2
    assert third.averaged.tried[0][2] > 0.2
    assert third.averaged.amount != 0.0
    folder = store.tree_path(third.artifact)
    evaluation = msgspec.json.decode((folder / "evaluation.json").read_bytes(), type=Evaluation)
    assert (evaluation.reloads, evaluation.finite, evaluation.compiling) == (True, True, "")
    plan, _ = formats.read(folder / "plan")
    assert isinstance(plan.estimator, formats.Average)
    assert (plan.format, plan.estimator.threshold) == (2, threshold_of(third.averaged.amount))
    model, features = load_model(folder / "model.skops", []), frames[3].drop(columns=["target", "timestamp", "leak"])
    odds = average_in(model).predict_proba(features)[:, 1]
    assert model.predict(features).tolist() == (odds >= plan.estimator.threshold).tolist()
    assert formats.read(store.tree_path(first.artifact) / "plan")[0].format == 1
