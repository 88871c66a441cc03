"""Successive halving on rows ordered in time."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlauto.errors import TrainingError
from mlauto.training.exchange import FitRequest
from mlauto.training.search.candidates import Found, SearchPlan, Span
from mlauto.training.search.halving import search, searched
from mlauto.training.search.trials import Past


class Timed(Ridge):
    """Takes its time."""

    def fit(self, rows: Any, y: Any, sample_weight: Any = None) -> "Timed":
        time.sleep(0.02)
        super().fit(rows, y, sample_weight)
        return self


class Touchy(Ridge):
    """Cannot be fitted with a large alpha."""

    def fit(self, rows: Any, y: Any, sample_weight: Any = None) -> "Touchy":
        if self.alpha > 10:
            raise RuntimeError("alpha is too large for me")
        super().fit(rows, y, sample_weight)
        return self


@pytest.fixture
def past() -> Past:
    """1,500 rows in which a straight line explains nearly all: any penalty on it costs."""
    random = np.random.default_rng(0)
    x = random.normal(size=1500)
    return Past(pd.DataFrame({"x": x}), 3 * x + random.normal(0, 0.1, 1500), np.ones(1500))


def plan(low: float = 0.001, high: float = 1e5, **fields: Any) -> SearchPlan:
    given = {"parameters": {"alpha": Span(low=low, high=high, log=True)}, "candidates": 9, "budget": 60.0}
    return SearchPlan(**{**given, **fields})


def run(asked: SearchPlan, estimator: Any, past: Past) -> Found:
    return search(asked, estimator, past, task="regression", metric="mae", seed=0)


def test_a_bad_parameter_is_replaced_by_a_good_one(past: Past) -> None:
    """The rungs grow threefold to all rows, a third goes on, and the incumbents are in each."""
    found = run(plan(champion={"alpha": 5e4}), Ridge(alpha=1e5), past)
    rungs = [[one for one in found.trials if one.rung == number] for number in (1, 2, 3)]

    assert float(str(found.parameters["alpha"])) < 10
    assert (found.origin, found.complete, found.scored) == ("drawn", True, 300)
    assert [len(rung) for rung in rungs] == [11, 6, 4]
    assert [{one.rows for one in rung} for rung in rungs] == [{133}, {400}, {1200}]
    assert all({"champion", "code"} <= {one.origin for one in rung} for rung in rungs)
    assert all(one.loss is not None and one.seconds > 0 and not one.problem for one in found.trials)
    assert "chosen: alpha=" in found.summary
    assert "champion: " in found.summary
    assert found.trials[-1].rung == 3


def test_the_same_seed_finds_the_same(past: Past) -> None:
    """All but the seconds."""

    def outcome() -> list[Any]:
        return [(one.candidate, one.rung, one.loss) for one in run(plan(), Ridge(), past).trials]

    assert outcome() == outcome()


def test_the_incumbent_stays_unless_something_is_proven_to_be_better(past: Past) -> None:
    """Among penalties that make no difference one is always the least; it is not worth a change."""
    found = run(plan(1e-6, 1e-3, champion={"alpha": 0.5e-3}), Ridge(alpha=1e-3), past)

    assert (found.origin, found.parameters) == ("champion", {"alpha": 0.5e-3})
    assert "(champion)" in found.summary


def test_only_older_rows_say_what_comes_next() -> None:
    """A deep tree that remembers noise is exposed by rows that its fit has not seen."""
    random = np.random.default_rng(1)
    x = random.uniform(size=900)
    past = Past(pd.DataFrame({"x": x}), (x > 0.5) + random.normal(0, 1, 900), np.ones(900))
    asked = SearchPlan(parameters={"max_depth": (1, 2, None)}, candidates=3, budget=60.0)

    found = run(asked, DecisionTreeRegressor(max_depth=None, random_state=0), past)

    assert found.parameters["max_depth"] in (1, 2)


def test_time_that_is_up_leaves_the_best_so_far(past: Past) -> None:
    """Said in a sentence; no trial starts after it, and the first ones are the incumbents'."""
    found = run(plan(candidates=200, budget=0.5, champion={"alpha": 5e4}), Timed(alpha=1e5), past)

    assert not found.complete
    assert 2 < len(found.trials) < 202
    assert [one.origin for one in found.trials[:2]] == ["champion", "code"]
    assert "the budget of 0.5 s ended it" in found.summary
    assert found.origin == "drawn"


def test_no_time_at_all_is_an_error(past: Past) -> None:
    """It names the key to change."""
    with pytest.raises(TrainingError, match=r"raise training\.search\.budget"):
        run(plan(budget=1e-9), Ridge(), past)


def test_trials_that_fail_have_lost(past: Past) -> None:
    """They are in the record with their reason, and the others decide."""
    found = run(plan(candidates=27), Touchy(), past)
    failed = [one for one in found.trials if one.loss is None]

    assert failed
    assert {one.rung for one in failed} == {1}
    assert all("RuntimeError: alpha is too large for me" in one.problem for one in failed)
    assert float(str(found.parameters.get("alpha", 1.0))) <= 10
    assert f"of which {len(failed)} failed" in found.summary


def test_a_search_in_which_all_fail_is_an_error(past: Past) -> None:
    """In the words of the first."""
    with pytest.raises(TrainingError, match=r"every trial of the last rung failed, .*alpha is too large for me"):
        run(plan(low=11.0), Touchy(alpha=12.0), past)


def test_too_few_rows_are_an_error(past: Past) -> None:
    """Nothing could be told from them."""
    few = Past(past.features[:80], past.labels[:80], past.weights[:80])

    with pytest.raises(TrainingError, match="needs 90 rows beside the holdout, and there are 80"):
        run(plan(), Ridge(), few)


def test_few_rows_make_few_rungs(past: Past) -> None:
    """A rung of a dozen rows is left out."""
    few = Past(past.features[:200], past.labels[:200], past.weights[:200])

    assert {one.rows for one in run(plan(), Ridge(), few).trials} == {160}


def test_a_search_may_be_judged_by_auc() -> None:
    """A tree of one leaf orders nothing, which is half an error for each pair; a grown one is found."""
    random = np.random.default_rng(3)
    late = random.random(900) < 0.2
    features = pd.DataFrame({"x": random.normal(2.0 * late, 1.0), "y": random.normal(0, 1, 900)})
    asked = plan(parameters={"min_samples_leaf": Span(low=5, high=100, log=True)})
    past = Past(features, np.where(late, "late", "in time").astype(object), np.ones(900))

    found = search(
        asked, DecisionTreeClassifier(min_samples_leaf=800), past, task="classification", metric="auc", seed=0
    )

    assert {trial.loss for trial in found.trials if trial.origin == "code"} == {0.5}
    assert found.origin == "drawn"
    assert all(trial.loss is not None and trial.loss < 0.3 for trial in found.trials if trial.origin == "drawn")


def test_the_child_sets_what_was_found_and_writes_it_down(past: Past, tmp_path: Path) -> None:
    """`search.json` is the record; without a search the estimator is as it was."""
    request = FitRequest(
        tree="",
        estimator="",
        frame="",
        weights="",
        holdout=10,
        target="y",
        task="regression",
        metric="rmse",
        output="",
        cache="",
        search=plan(),
    )

    better = searched(request, Ridge(alpha=1e5), past, tmp_path)
    kept = msgspec.json.decode((tmp_path / "search.json").read_bytes(), type=Found)
    plain = searched(replace(request, search=None), Ridge(), past, tmp_path)

    assert better.alpha == kept.parameters["alpha"] < 10
    assert plain.alpha == 1.0
