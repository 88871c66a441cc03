"""The live loop's decisions in a backtest, on streams whose table can be worked out by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mlauto.commands.backtest_policy import NAMED, LiveCheck, LivePolicy, read_policy
from mlauto.commands.history import Plan, attributes_of
from mlauto.errors import ProductError
from mlauto.monitoring.labels.joining import Joined
from mlauto.monitoring.quality.watching import Standard, look
from mlauto.monitoring.scores import mean_score
from mlauto.product import ModelProduct
from mlauto.product_training import POLICIES, Policy
from mlauto.records import Score, Status
from mlauto.training.backtest.models import Fit, Model, Trial
from mlauto.training.backtest.walk import Outcome, simulate
from mlauto.training.deciding import Situation
from mlauto.training.weighting import BLEND, History, Member

ROWS = 240
DEGRADED = "{on_degraded: true}"  # nothing but the live check
GOOD, BAD, WORSE = 24, 144, 216  # wrong rows of a batch
TRAINED = Score(metric="error_rate", value=0.1, low=0.05, high=0.2, rows=100)


class Given:
    """Models by the wrong rows that they have in each batch: `losses(fitted batches, batch)`."""

    def __init__(self, wrong: Sequence[Sequence[int]]) -> None:
        self.wrong = wrong

    @property
    def rows(self) -> Sequence[int]:
        """As many in each batch."""
        return [ROWS] * (len(self.wrong) - 1)

    def fit(self, model: Model) -> Fit:
        """As given for models of so many batches; wrong rows are spread evenly."""
        counts = self.wrong[model.batches][model.batches :]
        return Fit(later=[np.diff(np.arange(ROWS + 1) * n // ROWS).astype(float) for n in counts], seconds=1.0)

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """All of them look good on their holdouts."""
        return Trial(reference=TRAINED, passed=True, summary="fine", seconds=0.0)


def drifting(concepts: str) -> Given:
    """Models that are good at the concept (a letter for each batch) of the batch they saw last, and bad at others."""
    sizes = range(len(concepts) + 1)
    return Given([[GOOD if concepts[n - 1] == concept else BAD for concept in concepts] for n in sizes])


def product(policy: str) -> ModelProduct:
    """A classifier judged on windows of one batch."""
    attributes = attributes_of("one", Plan(target="y", task="classification"), (), ROWS)
    return ModelProduct.model_validate(attributes | {"training": {"retrain": read_policy(policy)}})


def play(models: Given, policy: str, *, delay: int = 0) -> Outcome:
    """All batches, of which two are there at first."""
    decide = LivePolicy(product(policy), delay)
    return simulate(
        models,
        decide,
        metric="error_rate",
        batches=len(models.wrong) - 1,
        initial=2,
        delay=delay,
        members=decide.members,
        check=LiveCheck(decide.product),
    )


@pytest.mark.parametrize(
    ("policy", "wrong", "trainings", "degraded", "promotions"),
    [
        ("never", 2 * GOOD + 4 * BAD, 0, 4, 0),
        ("{on_degraded: true}", 5 * GOOD + BAD, 1, 1, 1),  # after the first bad batch
        ("economy", 5 * GOOD + BAD, 2, 1, 2),  # two batches become four, then after the first bad one
        ("{on_degraded: false, every_batches: 3}", 5 * GOOD + BAD, 2, 1, 2),
        ("quality", 5 * GOOD + BAD, 6, 1, 6),
        ("every_batch", 5 * GOOD + BAD, 6, 1, 6),
        ("{on_degraded: false, every_batches: 4}", 3 * GOOD + 2 * BAD + GOOD, 1, 2, 1),  # a batch later
    ],
)
def test_the_table_is_right_by_hand(policy: str, wrong: int, trainings: int, degraded: int, promotions: int) -> None:
    """Eight batches, the last four of another concept; labels at once."""
    found = play(drifting("AAAABBBB"), policy)

    assert found.loss == pytest.approx(wrong / (6 * ROWS))
    assert (found.trainings, found.degraded, found.promotions) == (trainings, degraded, promotions)
    assert (found.regretted, found.rollbacks, found.seconds) == (0, 0, float(trainings))


def test_late_labels_cost_batches_but_no_second_training() -> None:
    """Two batches later: three bad ones, and the new model is not judged by the old one's labels."""
    found = play(drifting("AAAABBBBBB"), DEGRADED, delay=2)

    assert found.loss == pytest.approx((5 * GOOD + 3 * BAD) / (8 * ROWS))
    assert found.trainings == 1
    assert [step.status for step in found.steps] == 2 * [""] + 2 * ["healthy"] + ["degraded"] + 2 * ["unknown"] + [
        "healthy"
    ]


def test_decisions_are_told_in_sentences() -> None:
    """Why nothing was done, and what was seen when something was."""
    reasons = [step.reason for step in play(drifting("AAAABBBB"), DEGRADED).steps]

    assert reasons[0] == "1 new batch: the policy waits for live quality to suffer"
    assert reasons[2].startswith("attempt 1 of 3, on new data: error_rate 0.6 [")
    forbidden = play(drifting("AAAABBBB"), "never").steps[-1].reason
    assert forbidden.startswith("alert: the product's policy is not to retrain on this")


def test_an_incident_that_no_training_ends_is_left_to_people() -> None:
    """After three attempts in vain nothing more is trained."""
    found = play(Given([[GOOD] * 4 + [BAD] * 6] * 11), DEGRADED)

    assert found.trainings == 3
    assert found.steps[-1].reason.startswith("escalate: 3 retrainings did not help, people are needed")


def test_the_model_that_was_better_comes_back() -> None:
    """Each retrained model is worse than the one that the incident began with."""
    old, new = [GOOD] * 4 + [BAD] * 6, [WORSE] * 10
    found = play(Given([old, old, old, *[new] * 8]), DEGRADED)

    assert (found.trainings, found.rollbacks) == (3, 1)
    assert [step.model for step in found.steps] == [0, 0, 0, 1, 2, 3, 0, 0]
    assert found.regretted == 1  # only the first replaced something better than itself


def test_a_model_is_held_to_its_own_start() -> None:
    """Better in its first window than on its holdout, it is found wanting by what it has shown."""
    check = LiveCheck(product("economy"))
    poor = Score(metric="error_rate", value=0.7, low=0.6, high=0.8, rows=100)
    start, later = np.zeros(ROWS), np.tile([0.0, 1.0], ROWS // 2)

    assert check(0, start, poor).status is Status.HEALTHY
    assert check(0, np.concatenate([start, later]), poor).status is Status.DEGRADED
    assert check(1, later, poor).status is Status.HEALTHY


def test_a_batch_of_one_row_is_no_evidence() -> None:
    """Nor is none; what is known of them is said."""
    check = LiveCheck(product("economy"))

    assert check(0, np.empty(0), TRAINED).status is Status.UNKNOWN
    verdict = check(0, np.ones(1), TRAINED)
    assert (verdict.status, verdict.cause) == (Status.UNKNOWN, "no verdict: 1 of 120 labels")


def test_decisions_need_a_check() -> None:
    """A walk without verdicts has no live loop in it."""
    situation = Situation(newest=2, scores=(), live=0, version=0, fresh=1, grown=1.5, trainings=0, verdict=None)

    with pytest.raises(ValueError, match="simulate with a check"):
        LivePolicy(product("economy"))(situation)


def test_policies_have_names_or_knobs() -> None:
    """Both ways of the product's YAML; the half-life is the product's."""
    assert {name: read_policy(name) for name in NAMED} == POLICIES
    assert read_policy("{on_degraded: true, every_batches: 4}") == Policy(on_degraded=True, every_batches=4)
    assert LivePolicy(product("never")).members == (Member(history=History(half_life=5.0)),)
    assert LivePolicy(product("economy")).members == BLEND


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weekly", "'weekly' is unknown: use never, economy, quality, every_batch, or knobs"),
        ("{every: 4}", "every: Extra inputs are not permitted"),
        ("{every_batches: 0}", "every_batches: Input should be greater than or equal to 1"),
        ("{every_batches: 4", "is no YAML"),
    ],
)
def test_what_is_no_policy_is_said(text: str, said: str) -> None:
    """With the option's own words."""
    with pytest.raises(ProductError, match=said):
        read_policy(text)


@pytest.mark.parametrize("seed", range(6))
def test_the_live_loop_proves_the_same_of_the_same_labels(tmp_path: Path, seed: int) -> None:
    """Batch by batch, though it looks several times while a batch's labels come, and goes on from its record."""
    random = np.random.default_rng(seed)
    losses = (random.random(12 * ROWS) < np.repeat(np.linspace(0.1, 0.6, 12), ROWS)).astype(float)
    check, standard = LiveCheck(product("economy")), Standard(reference=TRAINED, tolerance=0.02)
    entries = [
        Joined(f"00000000-{at:08x}-0000", [1], [int(loss)], None, float(at)) for at, loss in enumerate(1 - losses)
    ]
    told = []
    for end in range(ROWS, len(losses) + 1, ROWS):
        check.starts[0] = TRAINED  # the same reference on both sides
        verdict = check(0, losses[:end], TRAINED)
        for seen in (end - ROWS // 2, end - 7, end):
            window = entries[max(0, seen - ROWS) : seen]
            quality = mean_score("error_rate", losses[max(0, seen - ROWS) : seen]) if seen == end else None
            live = look(
                tmp_path / "quality.json", window, version="1", standard=standard, quality=quality, now=float(seen)
            )
        assert live is not None
        evidence = verdict.checks[0].details
        both = (min(1e9, live.beyond.e_value), min(1e9, evidence["e_value"]))  # far beyond proof it has a bound
        assert both[0] == pytest.approx(both[1], rel=1e-6)
        told.append(live.beyond.alarmed)
        assert (verdict.status is Status.DEGRADED) <= live.beyond.alarmed

    assert told[0] is False
    assert told[-1] is True


@pytest.mark.parametrize(
    ("policy", "delay", "train", "renewed", "belief"),
    [
        ("economy", 0, False, True, 0.3),
        ("economy", 1, False, True, 0.1),
        ("{false_alarms: 0.01, average: true}", 0, False, False, 0.0),
        ("quality", 0, True, False, 0.3),
        ("quality", 5, True, False, 0.1),
    ],
)
def test_economy_averages_anew_between_trainings(
    policy: str, delay: int, train: bool, renewed: bool, belief: float
) -> None:
    """With a correction. Where labels are late it relies less on the shares, and either believes less in that."""
    decide = LivePolicy(product(policy), delay)
    check = LiveCheck(decide.product)
    verdict = check(0, np.zeros(ROWS), TRAINED)
    given = {"newest": 20, "scores": (), "live": 0, "version": 0, "grown": 1.1, "trainings": 0, "verdict": verdict}

    choice = decide(Situation(fresh=1, **given))
    nothing_new = decide(Situation(fresh=0, **given))

    assert (choice.train, choice.renew, choice.belief) == (train, renewed, belief)
    assert not renewed or choice.reliance == (0.3 if delay else 1.0)
    assert choice.members == decide.members
    assert choice.leaps == train
    assert not nothing_new.renew
