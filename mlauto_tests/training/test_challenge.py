from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlauto.errors import DeliveryError, TrainingError
from mlauto.product import ModelProduct
from mlauto.records import BatchWeight, CheckOutcome, Commit, Score, Signature, TrainedModel, TrainingSet
from mlauto.runtime.base import Answer
from mlauto.training.challenge import ChampionPredict, Split, challenge, split
from mlauto.training.evaluate import Answers
from mlauto.training.exchange import Evaluation, Holdout
from mlauto_tests.training.conftest import said

Make = Callable[..., ModelProduct]
SIGNATURE = Signature(columns={"a": "number", "b": "number"}, task="regression")
TRUTH = np.arange(50.0)


def batches(*rows: int) -> TrainingSet:
    made = tuple(BatchWeight(key=str(n), digest=f"digest-{n}", rows=count, weight=1.0) for n, count in enumerate(rows))
    return TrainingSet(batches=made, digest=str(rows))


def champion(signature: Signature = SIGNATURE) -> TrainedModel:
    return TrainedModel(
        version="1",
        key="k",
        artifact="a",
        commit=Commit(sha="s", tree="t", subject="s", author="a", time=0.0),
        training_set=batches(100),
        run_id="r",
        signature=signature,
        reference=Score(metric="mae", value=1.0, low=1.0, high=1.0, rows=1),
        scores=(),
        checks=(),
        seed=0,
        reason="first model",
        trained=0.0,
    )


def holdout(error: float = 1.0) -> Holdout:
    """50 rows; the candidate is off by about `error`, the constant by 12.5."""
    noise = np.random.default_rng(0).normal(0, 0.1, 50)
    return Holdout(
        rows=tuple({"a": float(n), "b": None} for n in range(50)),
        labels=tuple(TRUTH.tolist()),
        answers=Answers(predictions=(TRUTH + error + noise).tolist()),
        baseline=Answers(predictions=[24.5] * 50),
    )


def evaluation(**changes: Any) -> Evaluation:
    found = Evaluation(
        estimator="Ridge",
        parameters={},
        seeded=(),
        weights="",
        rows=100,
        holdout=50,
        scores=(),
        baseline=(),
        importances=(),
        finite=True,
        reloads=True,
        refused={},
        types=(),
        requirements=(),
        seconds={},
    )
    return replace(found, **changes)


def judged(
    product: ModelProduct, predict: ChampionPredict | None, found: Holdout | None = None, **changes: Any
) -> tuple[CheckOutcome, CheckOutcome]:
    given: dict[str, Any] = {
        "rows": Split(holdout=50),
        "champion": champion(),
        "signature": SIGNATURE,
        "new_code": True,
    }
    given |= changes
    signature = given.pop("signature")
    first, second = challenge(product, evaluation(), found or holdout(), signature, champion_predict=predict, **given)
    return first, second


def off_by(error: float) -> ChampionPredict:
    """A champion that is off by about that much, with noise of its own."""
    noise = np.random.default_rng(1).normal(0, 0.1, 50)
    return lambda rows: said(row["a"] + error + extra for row, extra in zip(rows, noise, strict=True))


def saying(odds: list[list[float]], classes: tuple[str, ...]) -> ChampionPredict:
    """A champion that gives these probabilities, and the label of the largest."""
    return lambda rows: said((classes[int(np.argmax(row))] for row in odds[: len(rows)]), odds[: len(rows)])


def test_a_first_model_is_scored_on_the_newest_fifth() -> None:
    """20 % of the rows, at most 2,000, and it is said that there is no champion."""
    assert split(batches(1000), None) == Split(holdout=200, absent="there is no champion yet")
    assert split(batches(100_000), None).holdout == 2000
    assert split(batches(10), None).holdout == 2


def test_with_a_champion_only_rows_it_never_saw_count() -> None:
    """30 % of the newest unseen rows, at least 30, at most 2,000 and half of all."""
    assert split(batches(1000, 300), batches(1000)) == Split(holdout=90)
    assert split(batches(1000, 200, 200), batches(1000)) == Split(holdout=120)
    assert split(batches(1000, 40), batches(1000)) == Split(holdout=30)
    assert split(batches(5000, 20_000), batches(5000)) == Split(holdout=2000)


def test_too_few_unseen_rows_cannot_be_compared() -> None:
    """Below 30 the first rule applies, and the reason counts the rows."""
    few = split(batches(1000, 29), batches(1000))
    none = split(batches(1000), batches(1000))

    assert (few.holdout, "only 29 rows" in few.absent) == (205, True)
    assert (none.holdout, "only 0 rows" in none.absent) == (200, True)


def test_unseen_rows_behind_seen_ones_do_not_count() -> None:
    """A late batch that is older than what the champion knows is not among the newest rows."""
    champions = TrainingSet(batches=batches(100, 100, 100).batches[2:], digest="late")

    assert "only 0 rows" in split(batches(100, 100, 100), champions).absent


def test_a_handful_of_rows_is_no_training_set() -> None:
    """Fewer than 10 rows wait for more."""
    with pytest.raises(TrainingError, match="9 rows are too few"):
        split(batches(9), None)


def test_a_better_candidate_passes_both(product: Make) -> None:
    """Checks are named, and the champion is asked for exactly its own columns."""
    asked: list[list[dict[str, Any]]] = []

    def predict(rows: list[dict[str, Any]]) -> Answer:
        asked.append(rows)
        return off_by(5.0)(rows)

    first, second = judged(product(), predict)

    assert (first.name, first.passed) == ("valid", True)
    assert (second.name, second.passed) == ("not_worse_than_champion", True)
    assert second.details["difference"] == pytest.approx(-4.0, abs=0.1)
    assert asked == [[{"a": float(n), "b": None} for n in range(50)]]


def test_a_worse_candidate_is_blocked_by_the_products_limit(product: Make) -> None:
    """More than the limit's standard errors worse fails; a very patient product lets it pass."""
    _, strict = judged(product(), off_by(0.0))
    _, patient = judged(product(training={"not_worse_sigmas": 1e6}), off_by(0.0))

    assert not strict.passed
    assert patient.passed


def test_a_retrained_model_is_compared_but_blocked_only_on_request(product: Make) -> None:
    """The newest rows are one season's, and may favour an old champion: only other code is held to them by default."""
    _, free = judged(product(), off_by(0.0), new_code=False)
    _, held = judged(product(training={"not_worse_for": "every_model"}), off_by(0.0), new_code=False)

    assert (free.passed, held.passed) == (True, False)
    assert "standard errors, no limit for the same code)" in free.summary
    assert free.details["sigmas"] == held.details["sigmas"] > 5
    assert free.details["limit"] is None


def test_without_a_comparison_the_reason_is_said(product: Make) -> None:
    """No champion, none that answers, too few answers, or a column that is gone: passed, and the summary says why."""

    def down(_rows: list[dict[str, Any]]) -> Answer:
        raise DeliveryError("version 1 is not running")

    wider = champion(Signature(columns={"a": "number", "z": "number"}, task="regression"))
    cases = {
        "there is no champion yet": judged(product(), None, rows=Split(holdout=50, absent="there is no champion yet")),
        "the champion is not running": judged(product(), None),
        "the champion did not answer: version 1 is not running": judged(product(), down),
        "the champion gave 1 answers to 50 rows": judged(product(), lambda _rows: said([1.0])),
        "the champion needs the column z": judged(product(), off_by(1.0), champion=wider),
    }

    for reason, (_, outcome) in cases.items():
        assert outcome.passed
        assert reason in outcome.summary


def test_a_champion_is_asked_what_it_takes(product: Make) -> None:
    """Rows beyond its limits are left out on both sides; where few are left, the reason is said."""
    asked: list[list[dict[str, Any]]] = []

    def predict(rows: list[dict[str, Any]]) -> Answer:
        asked.append(rows)
        return said(row["a"] + 5.0 + number % 3 / 10 for number, row in enumerate(rows))

    _, outcome = judged(product(), predict, champion=champion(replace(SIGNATURE, limits={"a": (10, None)})))
    _, few = judged(product(), predict, champion=champion(replace(SIGNATURE, limits={"a": (None, 5)})))

    assert outcome.details["difference"] == pytest.approx(-4.0, abs=0.1)
    assert [row["a"] for row in asked[0]] == [float(n) for n in range(10, 50)]
    assert len(asked) == 1
    assert "allow only 6 of the newest rows" in few.summary


def test_a_signature_that_takes_what_is_no_feature_is_invalid(product: Make) -> None:
    """Target, timestamp and excluded columns must not come back as inputs; nor may columns differ from the rows."""
    leaking = Signature(columns={"a": "number", "leak": "number"}, task="regression")
    other = Signature(columns={"a": "number"}, task="regression")
    wrong_task = replace(SIGNATURE, task="classification")

    assert "takes leak" in judged(product(), None, signature=leaking)[0].summary
    for signature in (other, wrong_task):
        first, _ = judged(product(), None, signature=signature)
        assert not first.passed
        assert "differs from the columns" in first.summary


def test_a_useless_candidate_is_invalid(product: Make) -> None:
    """Worse than a constant prediction is not valid, whatever the champion does."""
    first, _ = judged(product(), None, holdout(error=40.0))

    assert not first.passed
    assert "constant prediction" in first.summary


def test_a_retrained_model_may_lose_to_a_constant_where_the_champion_does_no_better(product: Make) -> None:
    """Rows that favour a constant say nothing for the champion; other code, or a better champion, is another matter."""
    useless = holdout(error=40.0)

    def first(error: float, *, new_code: bool) -> CheckOutcome:
        return judged(product(), off_by(error), useless, new_code=new_code)[0]

    assert first(45.0, new_code=False).passed
    assert "above that of a constant prediction, but not above the champion" in first(45.0, new_code=False).summary
    assert not first(35.0, new_code=False).passed
    assert not first(45.0, new_code=True).passed


def classified(probabilities: bool) -> Holdout:
    """50 rows whose label the candidate gets right with probability 0.8."""
    labels = ["low", "high"] * 25
    given = [[0.2, 0.8] if label == "low" else [0.8, 0.2] for label in labels]
    return Holdout(
        rows=tuple({"a": float(n), "b": None} for n in range(50)),
        labels=tuple(labels),
        answers=Answers(predictions=labels, probabilities=given if probabilities else None, classes=("high", "low")),
        baseline=Answers(predictions=["low"] * 50, probabilities=[[0.5, 0.5]] * 50, classes=("high", "low")),
    )


def test_champions_may_answer_with_probabilities(product: Make) -> None:
    """Rows of probabilities are read by the champion's own classes, for log_loss and for labels alike."""
    signature = replace(SIGNATURE, task="classification")
    better = champion(replace(signature, classes=("low", "high")))
    sure = [[0.99, 0.01] if n % 2 == 0 else [0.01, 0.99] for n in range(50)]

    def outcome(metric: str) -> CheckOutcome:
        data, monitoring = {"task": "classification"}, {"metric": metric}
        made = product(data=data, monitoring=monitoring)
        answering = saying(sure, ("low", "high"))
        return judged(made, answering, classified(True), champion=better, signature=signature)[1]

    assert outcome("error_rate").details["difference"] == 0.0
    assert outcome("log_loss").details["difference"] == pytest.approx(np.log(0.99 / 0.8))
    assert not outcome("log_loss").passed


def test_a_champions_predictions_are_taken_as_they_are(product: Make) -> None:
    """One with a threshold of its own may say the less probable class: that label is what users got."""
    signature = replace(SIGNATURE, task="classification", classes=("high", "low"))
    made = product(data={"task": "classification"}, monitoring={"metric": "error_rate"})
    found = classified(True)

    def outcome(labels: Sequence[str]) -> CheckOutcome:
        answer = said(labels, [[0.4, 0.6]] * 50)
        return judged(made, lambda _rows: answer, found, champion=champion(signature), signature=signature)[1]

    assert outcome([str(label) for label in found.labels]).details["difference"] == 0.0
    assert outcome(["high"] * 50).details["difference"] == -0.5


def test_a_champion_that_gives_labels_only_is_compared_by_errors(product: Make) -> None:
    """For log_loss both are then compared by their mistakes."""
    signature = replace(SIGNATURE, task="classification")
    made = product(data={"task": "classification"}, monitoring={"metric": "log_loss"})

    _, outcome = judged(
        made, lambda _rows: said(["low"] * 50), classified(True), champion=champion(signature), signature=signature
    )

    assert outcome.details["difference"] == -0.5


def ordered(noise: float, seed: int = 2) -> list[list[float]]:
    """Probabilities of `high` and `low` for the rows of `classified`, in an order with that much noise."""
    evidence = np.array([-1.0, 1.0] * 25) + np.random.default_rng(seed).normal(0, noise, 50)
    high = 1 / (1 + np.exp(-evidence))
    return np.column_stack([high, 1 - high]).tolist()  # type: ignore[no-any-return] # numpy's lists


def by_auc(
    product: Make,
    candidate: list[list[float]],
    champions: list[list[float]],
    classes: tuple[str, ...] = ("high", "low"),
) -> tuple[CheckOutcome, CheckOutcome]:
    signature = replace(SIGNATURE, task="classification", classes=classes)
    found = classified(True)
    found = replace(found, answers=replace(found.answers, probabilities=candidate))
    made = product(data={"task": "classification"}, monitoring={"metric": "auc"}, training={"not_worse_sigmas": 3.0})
    return judged(made, saying(champions, classes), found, champion=champion(signature), signature=signature)


def test_a_candidate_with_a_worse_auc_is_blocked(product: Make) -> None:
    """Also where its labels are as good; one that orders as well or better passes, and both beat the constant."""
    first, worse = by_auc(product, ordered(2.5), ordered(0.1))
    _, better = by_auc(product, ordered(0.1), ordered(2.5))
    _, equal = by_auc(product, ordered(0.5), ordered(0.5))

    assert first.passed
    assert "below that of a constant prediction" in first.summary
    assert (worse.passed, better.passed, equal.passed) == (False, True, True)
    assert worse.details["difference"] == pytest.approx(-better.details["difference"])
    assert worse.details["difference"] > 0.1
    assert equal.details["difference"] == 0.0


def test_an_order_that_is_no_better_than_chance_is_invalid(product: Make) -> None:
    """The constant has an AUC of a half; one that orders backwards is below it."""
    backwards = [row[::-1] for row in ordered(0.5)]

    assert not by_auc(product, backwards, backwards)[0].passed


def test_what_an_auc_cannot_judge_is_not_compared(product: Make) -> None:
    """Newest rows of one class, or a champion of other classes: passed, and the reason is said."""
    signature = replace(SIGNATURE, task="classification", classes=("high", "low"), limits={"a": (10, None)})
    made, found = product(data={"task": "classification"}, monitoring={"metric": "auc"}), classified(True)
    rare = replace(found, labels=("high",) * 5 + ("low",) * 45)
    odds = [[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 45
    rare = replace(rare, answers=replace(rare.answers, probabilities=odds))
    undecided = saying([[0.5, 0.5]] * 50, ("high", "low"))
    valid, outcome = judged(made, undecided, rare, champion=champion(signature), signature=signature)
    _, other = by_auc(product, ordered(0.5), [[0.2, 0.3, 0.5]] * 50, classes=("high", "low", "middle"))

    assert valid.passed
    assert outcome.passed
    assert outcome.summary == "not compared: all 40 rows that both answer are of one class, which auc cannot judge by"
    assert other.passed
    assert other.summary.startswith("not compared: the champion's classes are high, low, middle")


def test_a_champion_without_probabilities_has_no_auc(product: Make) -> None:
    """Both are then compared by their mistakes, as for log_loss."""
    signature = replace(SIGNATURE, task="classification")
    made = product(data={"task": "classification"}, monitoring={"metric": "auc"})
    found = classified(True)
    found = replace(found, answers=replace(found.answers, probabilities=ordered(0.1)))
    _, outcome = judged(
        made, lambda _rows: said(["low"] * 50), found, champion=champion(signature), signature=signature
    )

    assert outcome.details["difference"] == -0.5
