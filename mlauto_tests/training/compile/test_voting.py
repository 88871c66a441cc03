"""Averages of fitted models against their plans: fitted together or apart, on different rows, of any kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlauto.serving.plan.format import MOST_PARTS, Average
from mlauto.training.artifact import kinds_of_features
from mlauto.training.compile import voting
from mlauto.training.compile.builder import UnsupportedError
from mlauto.training.compile.pipeline import compile_pipeline
from mlauto.training.estimator import classes_of
from mlauto_tests.training.compile.conftest import Proven, asked_rows, assembled, table, target

NUMBERS, TEXTS = ["x", "y", "count"], ["kind", "place"]
REGRESSORS = (
    lambda: HistGradientBoostingRegressor(max_iter=12),
    lambda: RandomForestRegressor(8, max_depth=7),
    lambda: GradientBoostingRegressor(n_estimators=8),
    Ridge,
)
CLASSIFIERS = (
    lambda: HistGradientBoostingClassifier(max_iter=8),
    lambda: RandomForestClassifier(8, max_depth=7),
    lambda: DecisionTreeClassifier(max_depth=4),
    LogisticRegression,
    lambda: SGDClassifier(loss="log_loss"),
)


def prepared(chance: np.random.Generator) -> ColumnTransformer:
    """One of several ways to prepare columns."""
    scalers = (StandardScaler(), MinMaxScaler(), RobustScaler(), "passthrough")
    encoders = (
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=9, sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    )
    imputer = SimpleImputer(strategy=chance.choice(["mean", "median"]))
    numbers = make_pipeline(imputer, scalers[chance.integers(len(scalers))])
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("texts", encoders[chance.integers(3)], TEXTS)])


def members(chance: np.random.Generator, count: int, classes: int) -> list[Any]:
    """Pipelines of several kinds, each fitted on rows and with a preparation of its own; labels as they are."""
    kinds = CLASSIFIERS if classes else REGRESSORS
    found = []
    for _ in range(count):
        frame = table(int(chance.integers(1000)), int(chance.integers(150, 400)))
        model = make_pipeline(prepared(chance), kinds[chance.integers(len(kinds))]())
        model.set_params(**{name: 1 for name in model.get_params() if name.endswith("random_state")})
        found.append(model.fit(frame, target(frame, classes)))
    return found


@pytest.mark.needs("compiler")
@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_members_that_were_fitted_apart_are_averaged(proven: Proven, classes: int, seed: int) -> None:
    """Up to nine of them, with weights of all kinds, or none; labels are those that the members were fitted on."""
    chance = np.random.default_rng(100 * classes + seed)
    count = (4, 2, 3, 4 if classes else 9)[seed]
    weights = (chance.random(count), None, [3, 2, 1], [0.0, *chance.random(count - 1).tolist()])
    labels = np.unique(target(table(1), classes)) if classes else None
    model = assembled(members(chance, count, classes), weights[seed], labels)

    assert proven(model, asked_rows(2000 + seed)) is not None


@pytest.mark.needs("compiler")
@pytest.mark.parametrize(("classes", "weights"), [(0, [2, 1, 0.5]), (2, None), (3, [2, 1, 0.5])])
def test_members_that_were_fitted_together_are_averaged(proven: Proven, classes: int, weights: Any) -> None:
    """By scikit-learn itself, which numbers the labels for its members; searches are what they found best."""
    chance = np.random.default_rng(classes)
    frame = table(5)
    if classes:
        kinds = [LogisticRegression(), RandomForestClassifier(6, random_state=1), HistGradientBoostingClassifier()]
        kinds[2].set_params(max_iter=6)
    else:
        kinds = [Ridge(), RandomForestRegressor(6, random_state=1), HistGradientBoostingRegressor(max_iter=6)]
    named: list[tuple[str, Any]] = [(f"m{n}", make_pipeline(prepared(chance), kind)) for n, kind in enumerate(kinds)]
    named[0] = ("search", GridSearchCV(named[0][1], {}, cv=2))
    model = (
        VotingClassifier(named, voting="soft", weights=weights) if classes else VotingRegressor(named, weights=weights)
    )

    assert proven(model.fit(frame, target(frame, classes)), asked_rows(6)) is not None


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_an_average_may_end_a_pipeline(proven: Proven, classes: int) -> None:
    """Behind a preparation for all members, which is made once; members may have more of their own."""
    frame = table(5)
    first = prepared(np.random.default_rng(classes))
    if classes:
        own = make_pipeline(StandardScaler(), LogisticRegression())
        parts = [("own", own), ("trees", HistGradientBoostingClassifier(max_iter=6))]
        last: Any = VotingClassifier(parts, voting="soft", weights=[1, 2])
    else:
        own = make_pipeline(StandardScaler(), Ridge())
        last = VotingRegressor([("own", own), ("trees", HistGradientBoostingRegressor(max_iter=6))], weights=[1, 2])
    model = Pipeline([("first", first), ("last", last)]).fit(frame, target(frame, classes))

    assert proven(model, asked_rows(6)) is not None


@pytest.mark.needs("compiler")
def test_native_categories_and_links_are_averaged(proven: Proven) -> None:
    """Members with preparations of which numpy makes every row, and such as undo a logarithm."""
    frame = table(5)
    labels = np.exp(target(frame) / 4)
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    trees = make_pipeline(
        make_column_transformer((encode, TEXTS), ("passthrough", NUMBERS)),
        HistGradientBoostingRegressor(categorical_features=[0, 1], max_iter=8, loss="poisson"),
    )
    sums = make_pipeline(prepared(np.random.default_rng(3)), PoissonRegressor())
    model = assembled([trees.fit(frame, labels), sums.fit(frame, labels)], [0.3, 0.7])

    assert proven(model, asked_rows(6)) is not None


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("weights", [None, [0.1] * 6, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]])
def test_ties_stay_ties(proven: Proven, weights: Any) -> None:
    """Members that contradict each other row by row: the label is that of the first class wherever they balance."""
    numbers = make_column_transformer((SimpleImputer(), NUMBERS))
    found = []
    for seed in range(3):
        frame = table(seed)
        tree = make_pipeline(numbers, DecisionTreeClassifier(max_depth=3, random_state=seed))
        found += [clone(tree).fit(frame, target(frame, 2) != flip) for flip in (False, True)]
    model = assembled(found, weights, [False, True])
    asked = asked_rows(50)

    odds = model.predict_proba(asked)
    assert (odds[:, 0] == odds[:, 1]).sum() > 50
    assert proven(model, asked) is not None


def test_what_members_share_is_prepared_once() -> None:
    """As many steps as one member has; of members fitted on other rows, those steps that are equal."""
    frame, other = table(1), table(2)
    kinds = kinds_of_features(frame)
    one = make_pipeline(prepared(np.random.default_rng(1)), Ridge())
    alone, _ = compile_pipeline(clone(one).fit(frame, target(frame)), kinds, ())

    same, arrays = compile_pipeline(assembled([clone(one).fit(frame, target(frame)) for _ in range(3)]), kinds, ())
    apart = [clone(one).fit(some, target(some)) for some in (frame, other)]
    different, _ = compile_pipeline(assembled(apart), kinds, ())

    assert same.steps == alone.steps
    assert isinstance(same.estimator, Average)
    assert [part.share for part in same.estimator.parts] == [1.0] * 3
    assert sorted(arrays) == [f"{part}.{name}" for part in range(3) for name in ("coefficients", "intercept")]
    assert len(alone.steps) < len(different.steps) < 2 * len(alone.steps)


FRAME = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) % 7})
SLOPE, PARITY, THIRDS = FRAME["x"] * 2, FRAME["x"].to_numpy() % 2 > 0, FRAME["x"].to_numpy() // 20
RIDGE = Ridge().fit(FRAME, SLOPE)
LOGISTIC = LogisticRegression().fit(FRAME, PARITY)
BOTH = [False, True]


class OwnVoting(VotingRegressor):
    """A team's own class may predict anything."""


def with_names(model: Any, estimators: list[tuple[str, Any]]) -> Any:
    """The ensemble with other estimators to fit than those that were."""
    model.estimators = estimators
    return model


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("own", lambda: OwnVoting([("a", Ridge())]).fit(FRAME, SLOPE), "the estimator OwnVoting is not among those"),
    (
        "hard",
        lambda: VotingClassifier([("a", LogisticRegression())]).fit(FRAME, PARITY),
        "voting='hard' counts labels: only probabilities are averaged",
    ),
    (
        "dropped",
        lambda: VotingRegressor([("a", Ridge()), ("b", "drop")]).fit(FRAME, SLOPE),
        "a member that is dropped is not compiled: leave it out",
    ),
    (
        "nested",
        lambda: assembled([RIDGE, assembled([RIDGE])]),
        "the member 'm1' of VotingRegressor: the estimator VotingRegressor is not among those",
    ),
    (
        "unknown member",
        lambda: assembled([RIDGE, KNeighborsRegressor().fit(FRAME, SLOPE)]),
        "the member 'm1' of VotingRegressor: the estimator KNeighborsRegressor",
    ),
    (
        "other classes",
        lambda: assembled([LOGISTIC, LogisticRegression().fit(FRAME, THIRDS)], None, BOTH),
        "the member 'm1' of VotingClassifier: LogisticRegression knows 3 of the 2 classes",
    ),
    (
        "fewer classes",
        lambda: assembled([ExtraTreesClassifier(2).fit(FRAME, PARITY)], None, [1, 2, 3]),
        "ExtraTreesClassifier knows 2 of the 3 classes",
    ),
    (
        "no probabilities",
        lambda: assembled([LOGISTIC, RidgeClassifier().fit(FRAME, PARITY)], None, BOTH),
        "the member 'm1' of VotingClassifier: RidgeClassifier gives no probabilities",
    ),
    ("regressor", lambda: assembled([RIDGE], None, BOTH), "Ridge is a regressor, unlike the rest"),
    ("classifier", lambda: assembled([LOGISTIC]), "LogisticRegression is a classifier, unlike the rest"),
    ("negative", lambda: assembled([RIDGE, RIDGE], [2, -1]), "none may be negative"),
    ("nothing", lambda: assembled([RIDGE, RIDGE], [0, 0]), "nor all of them 0"),
    ("no number", lambda: assembled([RIDGE, RIDGE], [1.0, np.nan]), "none may be negative"),
    ("weights", lambda: assembled([RIDGE, RIDGE], [1, 2, 3]), "3 weights for 2 members"),
    ("names", lambda: with_names(assembled([RIDGE, RIDGE]), [("a", RIDGE)]), "2 fitted members for 1 names"),
    ("no members", lambda: assembled([]), "of 0 members is not compiled"),
    ("many", lambda: assembled([RIDGE] * (MOST_PARTS + 1)), "of 65 members is not compiled, only of 1 to 64"),
]


@pytest.mark.parametrize(("make", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_averaged_is_refused(make: Callable[[], Any], reason: str) -> None:
    """The reason names the member, and what is wrong with it."""
    model = make()

    with pytest.raises(UnsupportedError, match=reason):
        compile_pipeline(model, kinds_of_features(FRAME), classes_of(model))


def test_the_signatures_classes_are_the_ensembles() -> None:
    """A plan never names labels that the ensemble does not know."""
    model = assembled([LOGISTIC], None, BOTH)

    with pytest.raises(UnsupportedError, match="VotingClassifier knows 2 classes, the signature 3"):
        compile_pipeline(model, kinds_of_features(FRAME), (1, 2, 3))


def test_only_scikit_learns_own_voting_is_known() -> None:
    """By its class and where that is defined."""
    assert voting.is_known(VotingRegressor([]))
    assert voting.is_known(VotingClassifier([]))
    assert not voting.is_known(OwnVoting([]))
    assert not voting.is_known(Ridge())
