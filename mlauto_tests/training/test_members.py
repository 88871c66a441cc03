"""How the training child fits one history or several, and how shares follow what the live model's members lost."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.svm import LinearSVC

from mlauto.training.averaging import averaged
from mlauto.training.exchange import FitRequest, Unseen
from mlauto.training.members import Recipe, recipe

ROWS = 60


def request(folder: Path, **changes: Any) -> FitRequest:
    """Three batches of twenty rows; the newest only, and all of them."""
    np.save(folder / "weights.npy", np.ones(ROWS))
    np.save(folder / "members.npy", np.stack([np.repeat([0.0, 0.0, 1.0], 20), np.ones(ROWS)]))
    given: dict[str, Any] = {
        "tree": "",
        "estimator": "",
        "frame": "",
        "weights": str(folder / "weights.npy"),
        "holdout": 10,
        "target": "y",
        "task": "regression",
        "metric": "mae",
        "output": "",
        "cache": "",
        "members": (("last 1 batches", 0.5), ("all history", 0.5)),
        "member_weights": str(folder / "members.npy"),
    }
    return FitRequest(**{**given, **changes})


def champion(folder: Path, *says: float) -> Path:
    """A live model whose two members say one number each."""
    folder.mkdir()
    models = {(n,): DummyRegressor(strategy="constant", constant=v).fit([[0]], [v]) for n, v in enumerate(says)}
    skops.io.dump(averaged(models, (0.5, 0.5), "regression"), folder / "model.skops")
    (folder / "trusted.json").write_bytes(msgspec.json.encode([]))
    return folder


@pytest.fixture
def features() -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(float(ROWS))})


EVERY = np.ones(ROWS, dtype=bool)
LABELS = np.repeat([0.0, 1.0, 5.0], 20)


def asking(asked: FitRequest, estimator: Any, features: pd.DataFrame, there: Any = EVERY) -> Recipe:
    """The recipe for the rows that have a label."""
    return recipe(asked, estimator, features[there], LABELS[there], np.ones(ROWS)[there], there=there)


def test_each_member_is_fitted_on_its_own_history(tmp_path: Path, features: pd.DataFrame) -> None:
    """The newest batch says 5, all of it 2: half and half is 3.5."""
    how = asking(request(tmp_path), DummyRegressor(), features)

    model, said = how.fit(features, LABELS)

    assert model.predict(features[:1]) == pytest.approx([3.5])
    assert said == "passed as sample_weight"
    assert how.averaged is not None
    assert how.averaged.shares == (0.5, 0.5)


def test_shares_follow_what_the_live_models_members_lost(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first member said 5 where it was 5: all is given to it, and the losses are handed on."""
    asked = request(
        tmp_path,
        unseen=(Unseen(batch="c", first=40, end=60, model=str(champion(tmp_path / "live", 5.0, 0.0))),),
        learned=(("a", (1.0, 1.0)),),
    )

    how = asking(asked, DummyRegressor(), features)

    assert how.averaged is not None
    assert how.averaged.losses == ((1.0, 1.0), (0.0, 5.0))
    assert how.averaged.batches == ("a", "c")
    assert how.averaged.shares[0] > 0.999
    assert how.fit(features, LABELS)[0].predict(features[:1]) == pytest.approx([5.0], abs=0.01)
    assert "averaging 2 histories: last 1 batches 100%, all history 0%" in capsys.readouterr().out


def test_rows_without_a_label_are_in_nobodys_history(tmp_path: Path, features: pd.DataFrame) -> None:
    """Weights and the batches' places move together; a batch without any label says nothing."""
    there = EVERY.copy()
    there[[0, *range(20, 40)]] = False
    live = str(champion(tmp_path / "live", 5.0, 4.0))
    unseen = [Unseen(batch=name, first=a, end=a + 20, model=live) for name, a in (("b", 20), ("c", 40))]
    asked = request(tmp_path, unseen=tuple(unseen))

    how = asking(asked, DummyRegressor(), features, there)

    assert how.weights.shape == (2, 39)
    assert how.averaged is not None
    assert how.averaged.losses == ((0.0, 1.0),)


def test_a_live_model_that_cannot_be_asked_changes_nothing(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was fitted on is no longer there: said, and the shares stay."""
    live = tmp_path / "live"
    live.mkdir()
    models = {(n,): DummyRegressor().fit(pd.DataFrame({"gone": [1.0, 2.0]}), [1.0, 2.0]) for n in range(2)}
    for model in models.values():
        model.n_outputs_ = "many"  # type: ignore[attr-defined]
    skops.io.dump(averaged(models, (0.5, 0.5), "regression"), live / "model.skops")
    (live / "trusted.json").write_bytes(b"[]")

    unseen = (Unseen(batch="c", first=40, end=60, model=str(live)),)
    how = asking(request(tmp_path, unseen=unseen), DummyRegressor(), features)

    assert how.averaged is not None
    assert how.averaged.losses == ()
    assert "could not be compared on a new batch" in capsys.readouterr().out


def test_what_cannot_be_averaged_is_fitted_once(tmp_path: Path, features: pd.DataFrame) -> None:
    """On the mixture of the histories; so is a single history."""
    single = asking(request(tmp_path, members=()), DummyRegressor(), features)
    margins = asking(request(tmp_path, task="classification"), LinearSVC(), features)

    assert single.averaged is None
    assert margins.averaged is None
    assert single.fit(features, LABELS)[0].predict(features[:1]) == pytest.approx([2.0])
    assert single.part(slice(0, 40)).fit(features[:40], LABELS[:40])[0].predict(features[:1]) == pytest.approx([0.5])


def test_a_trial_leaves_out_members_that_hardly_count(tmp_path: Path, features: pd.DataFrame) -> None:
    """The model that is served has them all."""
    asked = request(tmp_path, learned=(("a", (5.0, 1.0)), ("b", (5.0, 1.0))))

    how = asking(asked, DummyRegressor(), features)

    assert list(how.part(slice(0, 50)).fit(features[:50], LABELS[:50])[0].named_estimators_) == ["history_1"]
    assert list(how.fit(features, LABELS)[0].named_estimators_) == ["history_0", "history_1"]


def test_members_of_an_auc_product_are_compared_by_log_loss(tmp_path: Path, features: pd.DataFrame) -> None:
    """A batch of one class has no AUC; who gave its label the higher probability gets the larger share."""
    live, labels = tmp_path / "live", np.repeat(["a", "b", "b"], 20).astype(object)
    live.mkdir()
    fits = ((["a", "b", "b", "b"], 0), (["a", "a", "a", "b"], 1))
    models = {(at,): DummyClassifier().fit(pd.DataFrame({"x": range(4)}), given) for given, at in fits}
    skops.io.dump(averaged(models, (0.5, 0.5), "classification"), live / "model.skops")
    (live / "trusted.json").write_bytes(b"[]")
    unseen = (Unseen(batch="c", first=40, end=60, model=str(live)),)
    asked = request(tmp_path, task="classification", metric="auc", unseen=unseen)

    how = recipe(asked, DummyClassifier(), features, labels, np.ones(ROWS), there=EVERY)

    assert how.averaged is not None
    assert how.averaged.losses == (pytest.approx((-np.log(0.75), -np.log(0.25))),)
    assert how.averaged.shares[0] > 0.5
