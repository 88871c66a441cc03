"""What every server of the serving benchmark serves: 12 numeric and 4 categorical columns, prepared, and a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlauto.records import Signature
from mlauto.serving.bundle import write_manifest
from mlauto.training import artifact
from mlauto.training.estimator import answers_of, classes_of
from mlauto.training.plan import NO_COMPILER, add_plan

KINDS = ("boosted", "forest", "linear")
NAME = "bench"
NUMBERS = tuple(f"n{place}" for place in range(12))
TEXTS = tuple(f"c{place}" for place in range(4))


def data(rows: int = 8000, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Features and two classes that depend on some of them."""
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame({name: chance.normal(size=rows).round(4) for name in NUMBERS})
    for name in TEXTS:
        frame[name] = pd.Series(chance.choice(list("abcdefgh"), rows), dtype="str")
    frame.loc[chance.random(rows) < 0.05, "n3"] = np.nan
    score = frame["n0"] + 2 * frame["n1"] + 2 * (frame["c0"] == "a") + chance.normal(size=rows) / 3
    return frame, (score > 0).to_numpy().astype(int)


def fitted(kind: str) -> Any:
    """The pipeline, fitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    estimators = {
        "boosted": HistGradientBoostingClassifier(random_state=0, early_stopping=False),
        "forest": RandomForestClassifier(100, max_depth=10, random_state=0),
        "linear": LogisticRegression(),
    }
    prepared = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(NUMBERS)),
            ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(TEXTS)),
        ]
    )
    frame, labels = data()
    return make_pipeline(prepared, estimators[kind]).fit(frame, labels)


def bundle(model: Any, folder: Path, cache: Path, *, version: str, compiled: bool = True) -> Path:
    """A bundle of the model as delivery makes it. Raises `SystemExit` when it cannot be compiled."""
    frame, _ = data(200, seed=1)
    kinds, classes = artifact.kinds_of_features(frame), classes_of(model)
    signature = Signature(columns=kinds, task="classification", classes=classes)
    golden = artifact.golden_rows(frame, signature, lambda some: answers_of(model, some, "classification"))
    folder.mkdir(parents=True)
    artifact.dump(model, folder, folder, signature=signature, golden=golden)
    if compiled:
        reason = add_plan(model, signature, artifact.rows_of(frame), folder / "plan", cache)
        if reason and not reason.startswith(NO_COMPILER):
            raise SystemExit(f"the model is not compiled: {reason}")
        for path in (folder / "plan").iterdir():
            path.rename(folder / path.name)
        (folder / "plan").rmdir()
        (folder / "model.skops").unlink()
    (folder / "trusted.json").unlink()
    flavour = "compiled" if compiled else "sklearn"
    write_manifest(folder, name=NAME, version=version, commit="0" * 40, key=version, flavour=flavour)
    return folder


def body(rows: int) -> bytes:
    """A request in MLflow's `dataframe_split` format, which every server here takes."""
    frame, _ = data(rows, seed=2)
    values = [list(row.values()) for row in artifact.rows_of(frame)]
    return json.dumps({"dataframe_split": {"columns": list(frame.columns), "data": values}}).encode()


def expected(model: Any, rows: int) -> list[int]:
    """What the pipeline itself predicts for that body."""
    predictions: list[int] = model.predict(data(rows, seed=2)[0]).tolist()
    return predictions
