"""Pipelines of many kinds, and the plan of each beside it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

from mlauto import records
from mlauto.serving.model import frame_of
from mlauto.serving.plan import format as formats
from mlauto.serving.plan.model import PlanModel
from mlauto.serving.wire.signature import Signature
from mlauto.training.artifact import kinds_of_features, rows_of
from mlauto.training.compile.pipeline import compile_pipeline
from mlauto.training.estimator import classes_of
from mlauto.training.plan import add_plan

TEXT = ["", "a", "b", "c", "rare"]


def table(seed: int, rows: int = 400) -> pd.DataFrame:
    """Numbers, whole numbers, truth values and text, with gaps where a dtype has room for them."""
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": chance.normal(size=rows),
            "y": chance.lognormal(size=rows) * 1000,
            "count": chance.integers(-3, 9, rows),
            "open": chance.random(rows) < 0.5,
            "kind": pd.Series(chance.choice(TEXT, rows, p=[0.1, 0.4, 0.3, 0.19, 0.01]), dtype="str"),
            "place": pd.Series(chance.choice(["north", "south"], rows), dtype="str"),
        }
    )
    frame.loc[chance.random(rows) < 0.1, ["x", "y"]] = np.nan
    frame.loc[chance.random(rows) < 0.1, "kind"] = None
    return frame


def target(frame: pd.DataFrame, classes: int = 0) -> Any:
    """Something to learn; with classes, as so many labels."""
    value = frame["x"].fillna(0) * 2 + (frame["kind"] == "a") * 3 + frame["count"] * 0.5 + frame["open"]
    if not classes:
        return value.to_numpy()
    ranks = pd.qcut(value.rank(method="first"), classes, labels=False).to_numpy()
    return np.array(["low", "middle", "high"])[ranks] if classes == 3 else ranks == 1


@dataclass
class Pair:
    """A fitted model, its plan, and the rows that both are asked."""

    model: Any
    plan: PlanModel
    signature: Signature

    def frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        return frame_of(rows, self.signature)


Compile = Callable[..., Pair]
Proven = Callable[[Any, pd.DataFrame], PlanModel]


@pytest.fixture
def compiled(tmp_path: Path, walker: Path) -> Compile:
    """Fit a model and compile it; `library=None` walks with numpy."""

    def made(model: Any, frame: pd.DataFrame, labels: Any, library: Path | None = walker) -> Pair:
        model.fit(frame, labels)
        classes = classes_of(model)
        signature = Signature(kinds_of_features(frame), "classification" if classes else "regression", classes)
        plan, arrays = compile_pipeline(model, signature.columns, classes)
        formats.write(tmp_path / "plan", plan, arrays)
        return Pair(model, PlanModel(tmp_path / "plan", library), signature)

    return made


@pytest.fixture
def same(compiled: Compile) -> Callable[[Any, pd.DataFrame, Any, pd.DataFrame], bool]:
    """Whether model and plan answer rows alike, labels exactly, numbers within 1e-12; asserted in detail."""

    def check(model: Any, frame: pd.DataFrame, labels: Any, asked: pd.DataFrame) -> bool:
        pair = compiled(model, frame, labels)
        rows = rows_of(asked)
        served = pair.frame(rows)
        found = pair.plan.answer(rows)
        wanted = pair.model.predict(served)
        if pair.signature.classes:
            assert found.predictions == wanted.tolist()
        else:
            np.testing.assert_allclose(found.predictions, wanted, rtol=1e-12, atol=1e-12)
        if found.probabilities is None:
            assert not pair.signature.classes or not hasattr(pair.model, "predict_proba")
        else:
            np.testing.assert_allclose(found.probabilities, pair.model.predict_proba(served), rtol=0, atol=1e-12)
        alone = pair.plan.answer(rows[:1]).predictions
        assert alone == (
            found.predictions[:1] if pair.signature.classes else pytest.approx(found.predictions[:1], rel=1e-12)
        )
        return True

    return check


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models, asked often: several threads would only wait for one another."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def proven(tmp_path: Path, one_thread: None) -> Proven:
    """The plan that training keeps of a fitted model, proven; labels and probabilities compared once more."""

    def check(model: Any, asked: pd.DataFrame) -> PlanModel:
        classes = classes_of(model)
        signature = records.Signature(
            columns=kinds_of_features(asked), task="classification" if classes else "regression", classes=classes
        )
        # a folder for each: a walker that is loaded must not be written over
        rows, folder = rows_of(asked), tmp_path / f"plan-{len(list(tmp_path.glob('plan-*')))}"
        assert add_plan(model, signature, rows, folder, tmp_path / "cache") == ""
        plan = PlanModel(folder)
        frame = frame_of(rows, Signature(signature.columns, signature.task))
        wanted = model.predict(frame).tolist()
        found = plan.answer(rows)
        if classes:
            assert found.predictions == wanted
            np.testing.assert_allclose(found.probabilities, model.predict_proba(frame), rtol=0, atol=1e-12)
            quiet = plan.answer_values([tuple(row.values()) for row in rows], odds=False)
            assert (quiet.predictions, quiet.probabilities) == (wanted, None)
        else:
            np.testing.assert_allclose(found.predictions, wanted, rtol=1e-12, atol=1e-12)
        assert [plan.answer([row]).predictions[0] for row in rows[:30]] == (
            wanted[:30] if classes else pytest.approx(wanted[:30], rel=1e-12)
        )
        return plan

    return check


def asked_rows(seed: int) -> pd.DataFrame:
    """Rows that no model saw, with gaps, and categories and numbers that never occurred."""
    asked = table(seed)
    asked.loc[::7, "kind"] = "unseen"
    asked.loc[::9, "place"] = None
    asked.loc[::11, "count"] = 77
    return asked


def assembled(members: list[Any], weights: Any = None, classes: Any = None) -> Any:
    """An ensemble of models that were fitted apart; with classes, of classifiers."""
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    named = [(f"m{number}", member) for number, member in enumerate(members)]
    if classes is None:
        model = VotingRegressor(named, weights=weights)
    else:
        model = VotingClassifier(named, voting="soft", weights=weights)
        model.le_ = LabelEncoder().fit(classes)
        model.classes_ = model.le_.classes_
    model.estimators_ = members
    model.named_estimators_ = Bunch(**dict(named))
    return model
