"""A product that is judged by AUC, from its first file to its live metrics and to a proven loss."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mlauto.orchestration.known import read_known
from mlauto.orchestration.live import observe
from mlauto.records import Status
from mlauto_tests.orchestration.conftest import World, made_product

MODEL = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def build():
    return make_pipeline(make_column_transformer((SimpleImputer(), ["x", "hour"])), LogisticRegression())
"""


def late(count: int, seed: int = 0) -> pd.DataFrame:
    """Rows of two classes, three in ten late, which x tells apart with an AUC of about 0.92."""
    random = np.random.default_rng(seed)
    is_late = random.random(count) < 0.3
    x, hour = random.normal(2.0 * is_late, 1.0), random.integers(0, 24, count)
    return pd.DataFrame({"x": x, "hour": hour, "y": np.where(is_late, "late", "on time")})


@pytest.fixture
def harbour(tmp_path: Path, instance: dg.DagsterInstance) -> World:
    """An installation whose version 1, judged by AUC, is in production; `hour` makes segments."""
    monitoring = {"metric": "auc", "segments": ["hour"], "window": 400, "min_labels": 50}
    product = made_product(data={"task": "classification"}, monitoring=monitoring)
    world = World.made(tmp_path / "world", instance, product)
    world.repository().write("src/tide/model.py", MODEL)
    world.commit("A classifier")
    world.land(late(800), "first.csv")
    world.loop("commits")
    world.loop("data")
    assert world.runtime.live("tides") == "1"
    return world


def served(world: World, frame: pd.DataFrame, odds: Sequence[float], first: int = 1) -> None:
    """Requests of one row that the live version answered with these probabilities of `on time`, and their labels."""
    folder = world.settings.product_home("tides") / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    with (
        (folder / "predictions-00000000.jsonl").open("a") as log,
        (folder / "labels-00000000.jsonl").open("a") as labels,
    ):
        for number, (row, p) in enumerate(zip(frame.to_dict("records"), odds, strict=True), first):
            name, label = f"00000000-{number:08x}-abcd", row.pop("y")
            said = {"rows": [row], "y": ["on time" if p > 0.5 else "late"], "p": [[1 - p, p]]}
            log.write(json.dumps({"id": name, "t": now, "v": "1", "ms": 5.0, **said}) + "\n")
            labels.write(json.dumps({"id": name, "t": now, "y": [label]}) + "\n")


def said(frame: pd.DataFrame, *, sign: float = 1.0) -> list[float]:
    """Probabilities of `on time` that follow x as a model has learnt it, or the other way round."""
    odds: list[float] = (1 / (1 + np.exp(sign * (2 * frame["x"] - 3)))).tolist()
    return odds


def test_the_whole_way_by_auc(harbour: World) -> None:
    """Trained, checked and watched by it; the live figure is scikit-learn's of the logged rows; a loss is proven."""
    model, known = harbour.model(), read_known(harbour.platform, harbour.product, "1")
    assert model.reference.metric == "auc"
    assert 0.85 < model.reference.low < model.reference.value < 0.97
    assert model.passed
    assert known is not None
    assert {score.metric for score in known.segments.values()} == {"auc"}
    frame = late(300, 1)
    served(harbour, frame, said(frame))

    result = harbour.tick("live")
    seen = observe(harbour.platform, harbour.product)

    [event] = [one for one in result.asset_events if isinstance(one, dg.AssetMaterialization)]
    metrics = seen.metrics
    assert metrics.quality is not None
    assert (metrics.quality.metric, metrics.quality.rows) == ("auc", 300)
    assert metrics.quality.value == pytest.approx(roc_auc_score(frame["y"] == "on time", said(frame)))
    assert event.metadata["auc"].value == metrics.quality.value
    assert seen.verdict.status is Status.HEALTHY
    assert metrics.detection is not None
    assert metrics.detection.rows == min((frame["y"] == name).sum() for name in ("late", "on time"))  # pairs
    assert metrics.estimate is not None
    assert metrics.estimate.quality.metric == "auc"

    bad = late(400, 2)
    served(harbour, bad, said(bad, sign=-1.0), first=301)
    seen = observe(harbour.platform, harbour.product)

    assert seen.metrics.quality is not None
    assert seen.metrics.quality.value == pytest.approx(roc_auc_score(bad["y"] == "on time", said(bad, sign=-1.0)))
    assert seen.verdict.status is Status.DEGRADED
    assert "auc 0.0" in seen.verdict.cause
    assert {one.quality.metric for one in seen.metrics.segments} == {"auc"}
    lost = [one.reference.value - one.quality.value for one in seen.metrics.segments]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] > 0.2
