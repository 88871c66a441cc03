"""Corrected averages against their plans: means that grow by a number, and another threshold between two classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.preprocessing
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlauto.serving.plan.format import Average, Plan
from mlauto.training.artifact import kinds_of_features
from mlauto.training.averaging import averaged
from mlauto.training.compile import voting
from mlauto.training.compile.builder import UnsupportedError
from mlauto.training.compile.pipeline import compile_pipeline
from mlauto.training.correcting import threshold_of
from mlauto.training.estimator import classes_of
from mlauto_tests.training.compile.conftest import Proven, asked_rows, assembled, table, target

NUMBERS, TEXTS = ["x", "y", "count"], ["kind", "place"]
SHARES = (0.2, 0.3, 0.5)


def prepared(final: Any) -> Any:
    """A final estimator behind what makes numbers of all columns."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((SimpleImputer(), NUMBERS), (encoder, TEXTS)), StandardScaler(), final)


def corrected(classes: int, amount: float) -> Any:
    """An average as training makes it, of three models that were fitted on different rows."""
    finals: list[Any] = [Ridge(), HistGradientBoostingRegressor(max_iter=8), Ridge(alpha=100)]
    if classes:
        finals = [LogisticRegression(), HistGradientBoostingClassifier(max_iter=8), DecisionTreeClassifier(max_depth=4)]
    models = {}
    for place, final in enumerate(finals):
        frame = table(place, 200)
        models[place,] = prepared(final).fit(frame, target(frame, classes))
    return averaged(models, SHARES, "classification" if classes else "regression", amount=amount)


def plan_of(model: Any, frame: pd.DataFrame) -> Plan:
    """The plan alone."""
    return compile_pipeline(model, kinds_of_features(frame), classes_of(model))[0]


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("amount", [2.75, -1e-3, 1e7])
def test_a_corrected_mean_is_compiled(proven: Proven, amount: float) -> None:
    """What is added is in the plan, which servers that know nothing of it refuse."""
    model, asked = corrected(0, amount), asked_rows(1)

    plan = plan_of(model, asked)

    assert proven(model, asked) is not None
    assert isinstance(plan.estimator, Average)
    assert (plan.format, plan.estimator.shift, plan.estimator.threshold) == (2, amount, None)


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("amount", [1.25, -0.4, 12.0])
def test_a_corrected_threshold_is_compiled(proven: Proven, amount: float) -> None:
    """Probabilities are those of the average; labels are other ones."""
    model, asked = corrected(2, amount), asked_rows(2)

    plan = plan_of(model, asked)

    assert proven(model, asked) is not None
    assert isinstance(plan.estimator, Average)
    assert (plan.format, plan.estimator.shift, plan.estimator.threshold) == (2, 0.0, threshold_of(amount))


@pytest.mark.needs("compiler")
def test_what_is_exactly_on_the_threshold_is_the_second_class(proven: Proven) -> None:
    """Two trees give few different probabilities: each of them is the threshold once."""
    numbers = make_column_transformer((SimpleImputer(), NUMBERS))
    frames = [table(seed) for seed in range(2)]
    trees = [make_pipeline(numbers, DecisionTreeClassifier(max_depth=2, random_state=0)) for _ in frames]
    fits = [tree.fit(frame, target(frame, 2)) for tree, frame in zip(trees, frames, strict=True)]
    average, asked = assembled(fits, [0.3, 0.7], [False, True]), asked_rows(3)
    odds = average.predict_proba(asked)[:, 1]
    given = [float(one) for one in np.unique(odds) if 0 < one < 1]

    for threshold in given:
        model = FixedThresholdClassifier(
            average, threshold=threshold, pos_label=np.True_, response_method="predict_proba"
        )
        assert model.predict(asked)[odds == threshold].all()
        assert proven(model, asked) is not None
    assert len(given) > 4


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("behind", [False, True])
def test_a_centred_target_may_be_scikit_learns_own(proven: Proven, behind: bool) -> None:
    """Fitted as a whole, as itself or at the end of a pipeline: what is added is the target's mean."""
    frame = table(4)
    labels = target(frame) + 50
    parts = [("a", Ridge()), ("b", HistGradientBoostingRegressor(max_iter=6))]
    members = parts if behind else [(name, prepared(part)) for name, part in parts]
    centred = TransformedTargetRegressor(VotingRegressor(members), transformer=StandardScaler(with_std=False))
    model = Pipeline([("first", prepared("passthrough")), ("last", centred)]) if behind else centred
    model.fit(frame, labels)

    plan = plan_of(model, frame)

    assert proven(model, asked_rows(5)) is not None
    assert isinstance(plan.estimator, Average)
    assert plan.estimator.shift == pytest.approx(labels.mean())


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_an_average_without_correction_is_of_the_first_format(classes: int) -> None:
    """Which every server knows."""
    plan = plan_of(corrected(classes, 0.0), table(1))

    assert isinstance(plan.estimator, Average)
    assert (plan.format, plan.estimator.shift, plan.estimator.threshold) == (1, 0.0, None)


FRAME = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) % 7})
SLOPE, PARITY, THIRDS = FRAME["x"] * 2, FRAME["x"].to_numpy() % 2 > 0, FRAME["x"].to_numpy() // 20
LINES, KINDS = VotingRegressor([("a", Ridge())]), VotingClassifier([("a", LogisticRegression())], voting="soft")
CENTRED = StandardScaler(with_std=False)


class OwnTarget(TransformedTargetRegressor):  # type: ignore[misc] # scikit-learn ships no types
    """A team's own class may predict anything."""


class OwnThreshold(FixedThresholdClassifier):  # type: ignore[misc]
    """So may this."""


class Doubling(sklearn.preprocessing.StandardScaler):  # type: ignore[misc]
    """And a scaler may undo something else."""

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:  # noqa: N803 - its name there
        return 2 * super().inverse_transform(X, copy)


NAMESAKE = type("StandardScaler", (Doubling,), {})


def centred(regressor: Any, transformer: Any, kind: Any = TransformedTargetRegressor, **given: Any) -> Any:
    """A fitted regressor of a transformed target."""
    return kind(regressor, transformer=transformer, check_inverse=False, **given).fit(FRAME, SLOPE)


def bare(**changes: Any) -> Any:
    """A threshold over a fitted average, as training makes it, but for some changes."""
    kind, fit = changes.pop("kind", FixedThresholdClassifier), changes.pop("estimator", None)
    given = {"threshold": 0.3, "pos_label": np.True_, "response_method": "predict_proba", **changes}
    return kind(KINDS.fit(FRAME, PARITY) if fit is None else fit, **given)


OTHERS: dict[str, Callable[[], Any]] = {
    "no average": lambda: centred(Ridge(), CENTRED),
    "own target": lambda: centred(LINES, CENTRED, OwnTarget),
    "scaled": lambda: centred(LINES, StandardScaler()),
    "neither": lambda: centred(LINES, StandardScaler(with_mean=False, with_std=False)),
    "another scaler": lambda: centred(LINES, MinMaxScaler()),
    "own scaler": lambda: centred(LINES, Doubling(with_std=False)),
    "own scaler of that name": lambda: centred(LINES, NAMESAKE(with_std=False)),
    "a function": lambda: TransformedTargetRegressor(LINES, func=np.log1p, inverse_func=np.expm1).fit(FRAME, SLOPE),
    "a column": lambda: TransformedTargetRegressor(LINES, transformer=CENTRED).fit(FRAME, SLOPE.to_frame()),
    "no average of classes": lambda: bare(estimator=LogisticRegression().fit(FRAME, PARITY)),
    "fitted itself": lambda: bare().fit(FRAME, PARITY),
    "own threshold": lambda: bare(kind=OwnThreshold),
    "three classes": lambda: bare(estimator=KINDS.fit(FRAME, THIRDS), pos_label=1.0),
    "the first class": lambda: bare(pos_label=np.False_),
    "any class": lambda: bare(pos_label=None),
    "margins": lambda: bare(response_method="decision_function"),
    "what there is": lambda: bare(response_method="auto"),
    "no number": lambda: bare(threshold="auto"),
}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_correction_of_an_average_is_refused(what: str) -> None:
    """Rather than compiled to something that answers otherwise; the reason names the estimator."""
    model = OTHERS[what]()

    with pytest.raises(UnsupportedError, match=f"the estimator {type(model).__name__} is not among those"):
        plan_of(model, FRAME)


def test_a_correction_of_what_cannot_be_averaged_is_refused() -> None:
    """With the average's own reason."""
    hard = VotingClassifier([("a", LogisticRegression())]).fit(FRAME, PARITY)

    with pytest.raises(UnsupportedError, match="voting='hard' counts labels"):
        plan_of(bare(estimator=hard), FRAME)


def test_only_corrections_are_taken_off() -> None:
    """The average behind one, with what it does; any other model as it is."""
    lines, kinds = centred(LINES, CENTRED), bare()
    plain = KINDS.fit(FRAME, PARITY)

    assert voting.correction(lines) == (lines.regressor_, SLOPE.mean(), None)
    assert voting.correction(kinds) == (kinds.estimator, 0.0, 0.3)
    assert voting.correction(plain) == (plain, 0.0, None)
