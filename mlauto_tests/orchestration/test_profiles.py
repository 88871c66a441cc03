"""The profile of a trained model."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlauto.monitoring.drift.profile import Numbers, Profile
from mlauto.orchestration.profiles import keep_profile, values_of
from mlauto_tests.orchestration.conftest import World


def test_the_profile_is_recorded_and_attached_to_the_run(released: World) -> None:
    """The same content in both places: features, the model's answers to rows it had not seen, the expected metric."""
    model = released.model()
    profile = released.store.read_record("tides", "profiles/1", Profile)

    assert profile is not None
    attached = released.registry.attached[model.run_id, "profile.json"]
    assert msgspec.json.decode(attached, type=Profile) == profile
    assert set(profile.columns) == set(model.signature.columns)
    assert profile.expected == model.reference
    assert profile.rows > 0


def test_a_profile_is_fitted_once(released: World) -> None:
    """The second call returns what is there, and attaches nothing."""
    before = keep_profile(released.platform, released.product, released.model())
    released.registry.attached.clear()

    assert keep_profile(released.platform, released.product, released.model()) == before
    assert released.registry.attached == {}


def test_a_profile_of_an_earlier_kind_is_fitted_again(released: World) -> None:
    """Its record is replaced."""
    released.store.write_record("tides", "profiles/1", {"x": {"missing": 0.0, "quantiles": [1.0]}})

    made = keep_profile(released.platform, released.product, released.model())

    assert made.rows > 0
    assert released.store.read_record("tides", "profiles/1", Profile) == made


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_answers_to_unseen_rows_are_profiled(released: World, task: str) -> None:
    """Numbers as they are; of two classes the probability of the second."""
    model = released.model()
    folder = released.store.tree_path(model.artifact)
    said = {"predictions": [1.0, 2.0, 3.0]}
    if task == "classification":
        said = {"predictions": ["a", "b"], "probabilities": [[0.75, 0.25], [0.5, 0.5]]}  # type: ignore[dict-item]
    (folder / "answered.json").write_bytes(msgspec.json.encode(said))
    released.store.write_record("tides", "profiles/1", {})

    answers = keep_profile(released.platform, released.product, model).answers

    assert isinstance(answers, Numbers)
    assert answers.mean == pytest.approx(2.0 if task == "regression" else 0.375)


def test_values_of_every_kind_of_column() -> None:
    """Gaps are NaN or None, truth values stay such."""
    frame = pd.DataFrame({"n": [1, 2], "f": [1.5, None], "b": [True, False], "s": ["x", None]})
    frame["m"] = pd.Series([True, None], dtype="boolean")

    assert values_of(frame["n"]).tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    assert np.isnan(values_of(frame["f"])[1])
    assert values_of(frame["b"]).dtype == bool  # type: ignore[union-attr]
    assert values_of(frame["s"]) == ["x", None]
    assert values_of(frame["m"]) == [True, None]
