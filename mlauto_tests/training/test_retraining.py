"""When to retrain: alarms, heartbeats, the budget, and what is refused."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mlauto.errors import TrainingError
from mlauto.product_training import POLICIES, Policy
from mlauto.training.retraining import Evidence, due

ECONOMY = POLICIES["economy"]
QUIET = Policy(false_alarms=0.01)  # alarms only
EAGER = Policy(false_alarms=0.01, excess=0.0)  # every proven loss, however small


@dataclass(frozen=True)
class Advice:
    """What a policy said."""

    train: bool
    reason: str


@dataclass(frozen=True)
class Scored:
    """A predicted batch, as a live loop or a backtest would hand it over."""

    number: int
    rows: int = 500
    loss: float = 0.2
    error: float = 0.018
    model: int = 0


def advise(policy: Policy, scores: Sequence[Scored], **changes: Any) -> Advice:
    """Advice when nothing was trained since the first model, made from five batches."""
    given = {"live": 0, "fresh": len(scores), "grown": 1 + len(scores) / 5, "trainings": 0, **changes}
    return Advice(*due(policy, Evidence(scores=scores, **given)))


def sequence(errors: Sequence[float], rows: int = 500, seed: int = 0) -> list[Scored]:
    """Batches of classified rows of which each is wrong with that batch's probability."""
    made = []
    for number, (probability, wrong) in enumerate(
        zip(errors, np.random.default_rng(seed).binomial(rows, errors), strict=True)
    ):
        assert 0 < probability < 1
        rate = wrong / rows
        made.append(Scored(number, rows, rate, math.sqrt(rate * (1 - rate) / rows) if rows > 1 else math.nan))
    return made


def first_alarm(policy: Policy, scores: Sequence[Scored]) -> int | None:
    """The batch after whose labels the first training is advised."""
    for end in range(1, len(scores) + 1):
        if advise(policy, scores[:end]).train:
            return scores[end - 1].number
    return None


def test_abrupt_drift_is_found_at_once() -> None:
    """Errors that rise from 20 % to 35 % cause a training within two batches, in 48 of 50 sequences and more."""
    found = [first_alarm(QUIET, sequence([0.2] * 15 + [0.35] * 5, seed=seed)) for seed in range(50)]

    assert sum(alarm in (15, 16) for alarm in found) >= 48


def test_slow_drift_is_found() -> None:
    """A rise of half a point in each batch is found before it has come to 14 points, in each of 50 sequences."""
    found = [first_alarm(QUIET, sequence([0.2 + 0.005 * n for n in range(30)], seed=seed)) for seed in range(50)]

    assert all(alarm is not None and alarm < 28 for alarm in found)


def test_without_drift_false_alarms_are_rarer_than_stated() -> None:
    """Of 200 sequences of 50 batches without drift at most 1 % raise an alarm, even when every proven loss counts."""
    found = [first_alarm(EAGER, sequence([0.2] * 50, rows=300, seed=seed)) for seed in range(200)]

    assert sum(alarm is not None for alarm in found) <= 2


def test_a_small_rise_is_left_alone() -> None:
    """What is proven but costs less than `excess` of a batch's loss is not worth a training."""
    scores = [Scored(n, 100_000, 0.2, 0.0001) for n in range(5)] + [Scored(5, 100_000, 0.21, 0.0001)]

    assert not advise(QUIET, scores).train
    assert advise(EAGER, scores).train


def test_the_reason_has_the_figures() -> None:
    """A person reads how bad it is, over how much, and compared with what."""
    scores = [Scored(n) for n in range(6)] + [Scored(6, loss=0.4)]

    assert advise(QUIET, scores).reason == "the live model lost 0.4 a row in its newest batch, 0.2 at its start"


def test_improvement_is_no_alarm() -> None:
    """A model that gets better is kept."""
    advice = advise(QUIET, [Scored(n) for n in range(6)] + [Scored(n, loss=0.05) for n in range(6, 12)])

    assert not advice.train
    assert advice.reason == "12 new batches: the live model is not proven worse than at its start or before it"


def test_only_the_live_model_counts() -> None:
    """What another model lost says nothing against the one that answers now."""
    scores = [Scored(n) for n in range(6)] + [Scored(n, loss=0.5, model=1) for n in range(6, 9)]

    assert not advise(QUIET, scores).train
    assert not advise(QUIET, [*scores, Scored(9, model=2)], live=2).train


def test_a_model_that_is_bad_from_its_start_is_no_excuse() -> None:
    """Its first batch is held to those before it, that is to the newest ten; a policy may do without."""
    before = [Scored(0, loss=0.05)] + [Scored(n) for n in range(1, 11)]
    scores = [*before, Scored(11, loss=0.4, model=1)]

    advice = advise(QUIET, scores, live=1, fresh=1)

    assert advice.reason == "the live model lost 0.4 a row in its newest batch, 0.2 in the 10 batches before it"
    assert not advise(QUIET.model_copy(update={"lookback": 0}), scores, live=1, fresh=1).train
    assert "in the batch before it" in advise(QUIET, scores[-2:], live=1, fresh=1).reason


def test_what_became_harder_for_all_is_got_used_to() -> None:
    """Where ten batches of models before were as bad, a model is as good as can be had."""
    scores = [Scored(n, loss=0.4, model=n // 6) for n in range(12)] + [Scored(12, loss=0.4, model=2)]

    assert not advise(QUIET, scores, live=2, fresh=1).train


def test_two_references_do_not_double_the_false_alarms() -> None:
    """Of 200 second models without drift at most 1 % raise an alarm, even when every proven loss counts."""
    found = []
    for seed in range(200):
        scores = [replace(one, model=one.number // 20) for one in sequence([0.2] * 40, rows=300, seed=seed)]
        found.append(any(advise(EAGER, scores[:end], live=1).train for end in range(21, 41)))

    assert sum(found) <= 2


def test_a_training_that_did_not_go_live_is_not_repeated_for_the_same_batches() -> None:
    """After an attempt the champion must have lost again, in a batch that came later."""
    scores = [Scored(n) for n in range(6)] + [Scored(6, loss=0.4)]

    assert advise(QUIET, scores, fresh=1).train
    assert not advise(QUIET, [*scores, Scored(7)], fresh=1).train
    assert advise(QUIET, [*scores, Scored(7, loss=0.4)], fresh=1).train


def test_growth_is_a_reason_that_comes_ever_more_rarely() -> None:
    """Without any alarm a training comes when history has grown by the factor."""
    policy, trained = Policy(growth=1.3, credit=100), [5]
    for history in range(6, 1001):
        fresh = history - trained[-1]
        advice = advise(policy, [], fresh=fresh, grown=history / trained[-1], trainings=len(trained) - 1)
        trained += [history] if advice.train else []

    assert trained[:6] == [5, 7, 10, 13, 17, 23]
    assert len(trained) == 20
    assert advise(policy, [Scored(0), Scored(1)]).reason == "history has grown by 40%"


def test_what_learned_from_a_strange_batch_is_replaced() -> None:
    """Once there are new labels, within the budget, and only by policies that mind what the live model does."""
    scores = sequence([0.2] * 3)
    spoiled = advise(QUIET, scores, spoiled=True)

    assert (spoiled.train, spoiled.reason) == (
        True,
        "the live model has learned from a batch that is strange by itself",
    )
    assert not advise(QUIET, scores).train
    assert not advise(QUIET, scores, spoiled=True, fresh=0).train
    assert (
        "the 4 trainings that the policy allows so far are spent"
        in advise(ECONOMY, scores, spoiled=True, grown=1.1, trainings=4).reason
    )
    assert not advise(POLICIES["never"], scores, spoiled=True).train


def test_the_budget_holds() -> None:
    """However bad it gets, at most 20 % of 45 or 40 batches cause a training, and the reason says what was wanted."""
    for count, most in ((45, 9), (40, 8)):
        scores, trainings = [Scored(n, loss=0.2 if n < 6 else 0.9) for n in range(count)], 0
        for end in range(1, count + 1):
            trainings += advise(ECONOMY, scores[:end], trainings=trainings).train
        assert trainings == most
        refused = advise(ECONOMY, scores, trainings=trainings).reason
        assert refused.endswith(f"; but the {most} trainings that the policy allows so far are spent")


def test_one_row_in_a_batch() -> None:
    """A batch of one row, however wrong, proves nothing against a model; many such batches do."""
    usual = sequence([0.1] * 10)
    alone = Scored(10, 1, 1.0, math.nan)
    single = [Scored(n, 1, float(n % 10 == 0), math.nan) for n in range(100)]
    wrong = [Scored(n, 1, 1.0, math.nan) for n in range(100, 130)]

    assert not advise(QUIET, [*usual, alone]).train
    assert not advise(QUIET, [replace(alone, number=n) for n in range(5)]).train
    assert first_alarm(QUIET.model_copy(update={"reference": 50}), single) is None
    assert first_alarm(QUIET.model_copy(update={"reference": 50}), single + wrong) is not None


def test_partly_labelled_batches_count_by_their_rows() -> None:
    """The few rows that have labels cannot prove what a whole batch would."""
    usual = [Scored(n) for n in range(10)]

    assert not advise(QUIET, [*usual, Scored(10, 8, 0.375, 0.17)]).train
    assert advise(QUIET, [*usual, Scored(10, 500, 0.375, 0.02)]).train


def test_batches_without_labels_are_skipped() -> None:
    """A batch whose labels have not come has no loss, and changes no decision."""
    scores = [Scored(n) for n in range(6)] + [Scored(6, loss=0.4)]
    empty = [Scored(n, 0, math.nan, math.nan) for n in range(7, 9)]

    assert advise(QUIET, [*empty]).train is False
    assert advise(QUIET, [*scores, *empty], fresh=7) == advise(QUIET, scores, fresh=7)


@pytest.mark.parametrize("wrong", [{"loss": math.nan}, {"loss": math.inf}, {"loss": -0.1}, {"rows": -1}])
def test_unusable_losses_are_refused(wrong: dict[str, Any]) -> None:
    """A loss that is no number is an error that names the batch, never a decision."""
    with pytest.raises(TrainingError, match="batch 1: a mean loss of"):
        advise(QUIET, [Scored(0), replace(Scored(1), **wrong)])


def test_an_unusable_error_is_refused() -> None:
    """Only a batch of one row may have no standard error."""
    with pytest.raises(TrainingError, match="batch 0: the standard error of its loss is nan"):
        advise(QUIET, [Scored(0, error=math.nan)])


@pytest.mark.parametrize("number", [0, 1])
def test_time_never_goes_back(number: int) -> None:
    """A batch given twice, or before an earlier one, is refused."""
    with pytest.raises(TrainingError, match=f"batch {number} follows batch 1"):
        advise(QUIET, [Scored(0), Scored(1), Scored(number)])


def test_the_other_policies() -> None:
    """`quality` and `every_batch` train on whatever is new, without a budget; `never` on nothing."""
    scores = [Scored(0)]

    assert advise(POLICIES["quality"], scores).reason == "1 new batch"
    assert advise(POLICIES["every_batch"], scores, trainings=99).train
    assert not advise(POLICIES["quality"], scores, fresh=0).train
    assert advise(POLICIES["never"], scores).reason == "1 new batch: the policy never retrains"
    assert advise(Policy(), scores).reason == "1 new batch: the policy waits for live quality to suffer"
    assert advise(Policy(every_batches=2), scores).reason == "1 new batch: the policy retrains after 2"


def test_a_long_history_costs_little() -> None:
    """A decision after 1,000 batches of one champion takes less than 5 ms."""
    scores = [Scored(n) for n in range(1000)]
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        advise(QUIET, scores)
        seconds.append(time.perf_counter() - began)

    assert min(seconds) < 0.005
