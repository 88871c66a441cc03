"""The stream that ships: the same rows for all, a drift that matters, and damage that is caught."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlauto.commands.stream import DemandStream, corrupt
from mlauto.product import ModelProduct
from mlauto.training.batches.frames import kinds_of, typed
from mlauto.training.batches.quality import propose_suite, validate

DRIFT = 2500
SHIPPED = Path(__file__).resolve().parents[2] / "mlauto" / "defs" / "demand"


@pytest.fixture(scope="module")
def stream() -> DemandStream:
    return DemandStream(seed=0, drift_at=DRIFT)


@pytest.mark.parametrize(("start", "rows"), [(0, 24), (1, 1), (23, 2), (100, 333), (2490, 20), (7, 0)])
def test_any_slice_equals_the_same_slice_of_the_whole(stream: DemandStream, start: int, rows: int) -> None:
    """Rows depend on the seed and their own number only."""
    whole = stream.frame(0, 2600)

    pd.testing.assert_frame_equal(
        stream.frame(start, rows), whole[start : start + rows].reset_index(drop=True), check_index_type=False
    )


def test_seeds_differ_and_the_past_does_not_know_the_drift() -> None:
    """Another seed is another world; before the drift it makes no difference whether there will be one."""
    assert not DemandStream(1).frame(0, 50).equals(DemandStream(2).frame(0, 50))
    assert DemandStream(1).frame(0, 50).equals(DemandStream(1, drift_at=50).frame(0, 50))


def test_rows_look_like_demand(stream: DemandStream) -> None:
    """Plain kinds, hourly, some values missing but never the target, plausible numbers."""
    frame = stream.frame(0, 5000)

    assert kinds_of(frame) == {
        "timestamp": "time",
        "hour": "integer",
        "weekday": "integer",
        "temperature": "number",
        "humidity": "number",
        "weather": "string",
        "holiday": "boolean",
        "price": "number",
        "demand": "number",
    }
    assert frame["timestamp"].diff().dropna().eq(pd.Timedelta(hours=1)).all()
    missing = frame.isna().mean()
    assert missing[["temperature", "humidity", "weather"]].between(0.002, 0.05).all()
    assert missing.drop(["temperature", "humidity", "weather"]).eq(0).all()
    assert frame["humidity"].dropna().between(0, 100).all()
    assert frame["demand"].gt(0).all()


def test_the_new_price_was_never_seen_before(stream: DemandStream) -> None:
    """Old and new world are separable by the price."""
    frame = stream.frame(0, 2 * DRIFT)

    assert frame["price"][:DRIFT].max() < frame["price"][DRIFT:].min()


def test_rows_before_the_first_are_refused(stream: DemandStream) -> None:
    """The stream begins at row 0."""
    with pytest.raises(ValueError, match="begins at row 0"):
        stream.frame(-1, 5)


def fitted(frame: pd.DataFrame, weights: Any = None) -> Any:
    """The kind of pipeline that a team would write."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["weather"]), remainder="passthrough"
    )
    model = make_pipeline(encode, HistGradientBoostingRegressor(max_iter=60, random_state=0))
    features = frame.drop(columns=["timestamp", "demand"])
    return model.fit(features, frame["demand"], histgradientboostingregressor__sample_weight=weights)


def error(model: Any, frame: pd.DataFrame) -> float:
    return float(np.abs(model.predict(frame.drop(columns=["timestamp", "demand"])) - frame["demand"]).mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_drift_hurts_and_one_new_batch_heals(seed: int) -> None:
    """A model from before is several times worse after the drift; one weighted batch of 500 new rows makes it good."""
    frame = DemandStream(seed, drift_at=DRIFT).frame(0, DRIFT + 1000)
    before, after = frame[:DRIFT], frame[DRIFT + 500 :]

    calm = error(fitted(before[:2000]), before[2000:])
    hurt = error(fitted(before), after)
    weights = 0.5 ** ((5 - np.arange(DRIFT + 500) // 500) / 5)
    healed = error(fitted(frame[: DRIFT + 500], weights), after)

    assert calm < 15
    assert hurt > 5 * calm
    assert healed < 2 * calm


def test_the_shipped_suite_is_the_proposed_one() -> None:
    """What is committed is what `propose_suite` makes of the stream's first 2,500 rows."""
    made = propose_suite(DemandStream().frame(0, 2500), target="demand", timestamp="timestamp", name="demand")

    assert json.loads((SHIPPED / "expectations.json").read_text()) == made


@pytest.mark.parametrize(("start", "rows"), [(0, 500), (DRIFT - 100, 200), (DRIFT, 500), (6000, 100)])
def test_the_shipped_suite_lets_seasons_and_drift_pass(stream: DemandStream, start: int, rows: int) -> None:
    """Drift is for the monitoring to find: data that is only different is not corrupt."""
    assert validate(stream.frame(start, rows), SHIPPED / "expectations.json").failures == ()


def test_corrupt_rows_fail_several_named_expectations(stream: DemandStream) -> None:
    """Each kind of damage is caught by name, and the rows themselves are left alone."""
    frame = stream.frame(0, 200)
    spoiled = typed(corrupt(frame), timestamp="timestamp")

    validation = validate(spoiled, SHIPPED / "expectations.json")

    assert {(failure.expectation, failure.column) for failure in validation.failures} == {
        ("expect_column_values_to_not_be_null", "demand"),
        ("expect_column_values_to_be_between", "humidity"),
        ("expect_column_values_to_be_in_type_list", "temperature"),
        ("expect_column_values_to_be_in_set", "weather"),
    }
    assert frame.equals(stream.frame(0, 200))
    assert corrupt(frame).equals(corrupt(frame))


def test_the_shipped_product_is_valid_and_short() -> None:
    """The YAML that newcomers read first: at most 25 lines, and nothing unknown in it."""
    text = (SHIPPED / "defs.yaml").read_text()
    document = yaml.safe_load(text)

    product = ModelProduct(**document["attributes"])

    assert document["type"] == "mlauto.ModelProduct"
    assert (product.name, product.metric, product.monitoring.every) == ("demand", "mae", 2.0)
    assert len(text.splitlines()) <= 25
