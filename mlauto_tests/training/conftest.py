"""Shared by the tests of training: a team's model repository, rows to fit on, a warm process to fit in."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlauto.product import ModelProduct
from mlauto.records import BatchWeight, Commit, Score, Signature, TrainedModel, TrainingSet
from mlauto.runtime.base import Answer
from mlauto.runtime.warm import WarmProcess
from mlauto.store import Store, digest_of

TEAM = '''
import os
import subprocess
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import LinearSVC


def prepared(final):
    numbers = make_column_selector(dtype_include=["number", "bool"])
    texts = make_column_selector(dtype_exclude=["number", "bool"])
    columns = [
        ("numbers", SimpleImputer(), numbers),
        ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
    ]
    return Pipeline([("prepare", ColumnTransformer(columns)), ("final", final)])


def ridge():
    return prepared(Ridge())


def boosted():
    return prepared(HistGradientBoostingRegressor(max_iter=20))


def forest():
    return prepared(RandomForestRegressor(n_estimators=5))


def neighbours():
    return prepared(KNeighborsRegressor())


def logistic():
    return prepared(LogisticRegression())


def margins():
    return prepared(LinearSVC())


def only_temp(frame):
    return frame[["temp"]].fillna(0.0)


def with_function():
    return make_pipeline(FunctionTransformer(only_temp), Ridge())


def fragile():
    """No imputer: cannot answer rows with gaps."""
    return make_pipeline(ColumnTransformer([("numbers", "passthrough", ["hour"])]), Ridge())


class Own(RegressorMixin, BaseEstimator):
    def fit(self, frame, target, sample_weight=None):
        self.rows_ = len(frame)
        self.mean_ = float(np.average(target, weights=sample_weight))
        return self

    def answer(self, frame):
        return np.full(len(frame), self.mean_)

    def predict(self, frame):
        return self.answer(frame)


class Counting(Own):
    def answer(self, frame):
        return np.full(len(frame), float(self.rows_))


class Blowing(Own):
    def answer(self, frame):
        return np.where(frame["hour"] % 2, np.inf, self.mean_)


class Endless(Own):
    def answer(self, frame):
        return np.full(len(frame), np.nan)


class Carrying(Own):
    def fit(self, frame, target):
        self.opener_ = subprocess.Popen
        return super().fit(frame, target)


class Failing(Own):
    def fit(self, frame, target):
        raise RuntimeError("the solver did not converge\\nsecond line")


def weighted():
    return make_pipeline(FunctionTransformer(only_temp), Own())


def counting():
    return Counting()


def blowing():
    return Blowing()


def endless():
    return Endless()


def carrying():
    return Carrying()


def failing():
    return Failing()


def threads():
    from threadpoolctl import threadpool_info

    counts = sorted({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"})
    print("OpenMP threads", counts, "in", os.path.exists("settings.txt"))
    return ridge()


def leaving():
    os._exit(0)


def sleeping():
    import time

    time.sleep(600)


def nothing():
    return 42


constant = 3
'''

PRODUCT: dict[str, Any] = {
    "name": "tides",
    "owners": ["team:sea"],
    "description": "Height of the next tide, for the harbour's timetable.",
    "code": {"repository": "tides.git", "estimator": "team_of_tides.model:ridge"},
    "data": {
        "landing": "landing",
        "target": "target",
        "timestamp": "timestamp",
        "task": "regression",
        "exclude": ["leak"],
    },
}


def said(predictions: Iterable[Any], odds: Iterable[Iterable[float]] | None = None) -> Answer:
    """What a live champion answers: a prediction for each row, and the classes' probabilities where it has them."""
    probabilities = None if odds is None else tuple(tuple(row) for row in odds)
    return Answer(version="7", predictions=tuple(predictions), probabilities=probabilities, seconds=0.0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The export of a commit: package `team_of_tides` below `src`, and a file beside it."""
    package = tmp_path / "tree" / "src" / "team_of_tides"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.py").write_text(TEAM)
    (tmp_path / "tree" / "settings.txt").write_text("here")
    return tmp_path / "tree"


@pytest.fixture
def rows() -> Callable[..., pd.DataFrame]:
    """`rows(n, seed=0, shift=0.0)`: every kind of column, gaps, a leak, and a target that temp and hour explain."""

    def made(count: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        temp, hour = random.normal(10, 3, count), random.integers(0, 24, count)
        target = 3 * temp + hour + shift + random.normal(0, 1, count)
        return pd.DataFrame(
            {
                "timestamp": pd.date_range("2024-01-01", periods=count, freq="h").astype("datetime64[us]"),
                "temp": np.where(random.random(count) < 0.05, np.nan, temp),
                "hour": hour,
                "open": random.random(count) < 0.5,
                "kind": pd.Series(random.choice(["spring", "neap"], count), dtype="str"),
                "leak": target,
                "target": target,
            }
        )

    return made


@pytest.fixture
def product() -> Callable[..., ModelProduct]:
    """`product(estimator="ridge", **sections)`: the product `tides`, with sections' keys replaced."""

    def made(estimator: str = "ridge", **sections: Any) -> ModelProduct:
        merged = {**PRODUCT, "code": {**PRODUCT["code"], "estimator": f"team_of_tides.model:{estimator}"}}
        for name, section in sections.items():
            merged[name] = {**merged[name], **section} if isinstance(merged.get(name), dict) else section
        return ModelProduct.model_validate(merged)

    return made


@pytest.fixture
def training_set(store: Store, tmp_path: Path) -> Callable[..., TrainingSet]:
    """`training_set(frame, frame, ...)`: batches in the store, weights halving with each."""

    def made(*frames: pd.DataFrame) -> TrainingSet:
        batches = []
        for index, frame in enumerate(frames):
            path = tmp_path / "batch.parquet"
            frame.to_parquet(path, index=False)
            weight = 0.5 ** (len(frames) - 1 - index)
            digest = store.put_file(path)
            batches.append(BatchWeight(key=f"{index:08}", digest=digest, rows=len(frame), weight=weight))
        digest = digest_of([(batch.digest, batch.weight) for batch in batches])
        return TrainingSet(batches=tuple(batches), digest=digest)

    return made


@pytest.fixture
def live_model() -> Callable[..., TrainedModel]:
    """`live_model(training_set, **what to change)`: version 7, which takes one number, as it is recorded."""

    def made(known: TrainingSet, **changes: Any) -> TrainedModel:
        given: dict[str, Any] = {
            "version": "7",
            "key": "key",
            "artifact": "artifact",
            "commit": Commit(sha="sha", tree="tree", subject="s", author="a", time=0.0),
            "training_set": known,
            "run_id": "run",
            "signature": Signature(columns={"temp": "number"}, task="regression"),
            "reference": Score(metric="mae", value=1.0, low=0.9, high=1.1, rows=100),
            "scores": (),
            "checks": (),
            "seed": 0,
            "reason": "first model",
            "trained": 0.0,
        }
        return TrainedModel(**{**given, **changes})

    return made


@pytest.fixture
def commit() -> Commit:
    """A commit of the team."""
    return Commit(sha="c" * 40, tree="t" * 40, subject="Use *all* columns", author="Ada", time=1.0)


@pytest.fixture(scope="session")
def warm_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """A real warm process, shared by all tests of training: a fit in it costs no imports."""
    warm = WarmProcess(tmp_path_factory.mktemp("warm") / "warm.sock")
    process: subprocess.Popen[bytes] = warm.start()
    yield warm
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=20)
