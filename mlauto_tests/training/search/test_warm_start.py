"""Where a search starts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import Commit, Score, Signature, TrainedModel, TrainingSet
from mlauto.store import Store
from mlauto.training.exchange import Evaluation
from mlauto.training.search.candidates import Span
from mlauto.training.search.warm_start import literals, search_plan

Make = Callable[..., ModelProduct]
SEARCH: dict[str, Any] = {
    "parameters": {"final__alpha": {"low": 0.1, "high": 10, "log": True}, "final__solver": ["svd", "lsqr"]},
    "candidates": 9,
    "budget": "10s",
}
SCORE = Score(metric="mae", value=1.0, low=0.5, high=1.5, rows=40)


@pytest.fixture
def champion(store: Store, tmp_path: Path, commit: Commit) -> TrainedModel:
    """A live model whose record of parameters has a number, a text and an object."""
    evaluation = Evaluation(
        estimator="Pipeline with Ridge",
        parameters={"final__alpha": "2.5", "final__solver": "'svd'", "prepare__remainder": "<object at 0x7f>"},
        seeded=(),
        weights="passed",
        rows=100,
        holdout=20,
        scores=(SCORE,),
        baseline=(SCORE,),
        importances=(),
        finite=True,
        reloads=True,
        refused={},
        types=(),
        requirements=(),
        seconds={},
    )
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "evaluation.json").write_bytes(msgspec.json.encode(evaluation))
    return TrainedModel(
        version="1",
        key="k" * 64,
        artifact=store.put_tree(folder),
        commit=commit,
        training_set=TrainingSet(batches=(), digest="d" * 64),
        run_id="r",
        signature=Signature(columns={"temp": "number"}, task="regression"),
        reference=SCORE,
        scores=(SCORE,),
        checks=(),
        seed=0,
        reason="first model",
        trained=1.0,
    )


def test_without_a_search_there_is_no_plan(product: Make, champion: TrainedModel, store: Store) -> None:
    """The artifact is not even looked at."""
    assert search_plan(product(), champion, store) is None


def test_the_plan_is_the_yaml_with_what_the_champion_has(product: Make, champion: TrainedModel, store: Store) -> None:
    """Spaces in the child's own words; of the champion's parameters only those that are searched."""
    made = product(training={"search": SEARCH})

    plan = search_plan(made, champion, store)
    first = search_plan(made, None, store)

    assert plan is not None
    assert plan.parameters == {"final__alpha": Span(low=0.1, high=10, log=True), "final__solver": ("svd", "lsqr")}
    assert (plan.candidates, plan.budget) == (9, 10.0)
    assert plan.champion == {"final__alpha": 2.5, "final__solver": "svd"}
    assert first == replace(plan, champion={})


def test_a_champion_whose_artifact_is_gone_is_not_asked(product: Make, champion: TrainedModel, store: Store) -> None:
    """The search then starts from the code's own."""
    plan = search_plan(product(training={"search": SEARCH}), replace(champion, artifact="0" * 64), store)

    assert plan is not None
    assert plan.champion == {}


def test_a_record_that_is_not_whole_is_said(
    product: Make, champion: TrainedModel, store: Store, tmp_path: Path
) -> None:
    """It names the file."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "evaluation.json").write_text("{")

    with pytest.raises(TrainingError, match=r"no valid evaluation.json"):
        search_plan(product(training={"search": SEARCH}), replace(champion, artifact=store.put_tree(broken)), store)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("-0.5", -0.5), ("'a'", "a"), ("None", None), ("True", True), ("1e-05", 1e-05)]
)
def test_plain_values_are_read(text: str, value: object) -> None:
    """As `repr` wrote them."""
    assert literals({"a": text, "b": "1"}, ["a"]) == {"a": value}


@pytest.mark.parametrize("text", ["", "nan", "(1, 2)", "[1]", "__import__('os')", "Ridge()", "'cut o", "1 +", "b'x'"])
def test_anything_else_is_left_out(text: str) -> None:
    """Nothing is evaluated."""
    assert literals({"a": text}, ["a", "b"]) == {}
