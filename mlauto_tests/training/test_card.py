from collections.abc import Callable
from dataclasses import replace

import pytest

from mlauto.averaged import Averaged
from mlauto.product import ModelProduct
from mlauto.records import BatchWeight, CheckOutcome, Commit, Score, TrainingSet
from mlauto.training.card import model_card
from mlauto.training.exchange import Evaluation, Importance

TRAINING_SET = TrainingSet(batches=(BatchWeight(key="1", digest="b", rows=300, weight=1.0),), digest="d" * 64)
CHECKS = (
    CheckOutcome(name="valid", passed=True, summary="finite"),
    CheckOutcome(name="not_worse_than_champion", passed=False, summary="4.2 standard errors"),
)
Card = Callable[..., str]


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        estimator="Pipeline with Ridge",
        parameters={},
        seeded=("final__random_state",),
        weights="passed as final__sample_weight",
        rows=300,
        holdout=60,
        scores=(
            Score(metric="mae", value=1.25, low=1.0, high=1.5, rows=60),
            Score(metric="r2", value=0.9, low=0.8, high=0.95, rows=60),
        ),
        baseline=(
            Score(metric="mae", value=9.0, low=8.0, high=10.0, rows=60),
            Score(metric="r2", value=0.0, low=-0.1, high=0.0, rows=60),
        ),
        importances=tuple(Importance(column=f"c{n}", mean=20.0 - n, deviation=0.1) for n in range(15)),
        finite=True,
        reloads=True,
        refused={},
        types=(),
        requirements=("numpy==2.0.0", "scikit-learn==1.9.1"),
        seconds={},
    )


@pytest.fixture
def card(product: Callable[..., ModelProduct], commit: Commit) -> Card:
    """`card(evaluation, **sections of the product)`."""

    def write(evaluation: Evaluation, searched: str = "", line: str = "", **sections: object) -> str:
        return model_card(
            product(**sections),
            commit=commit,
            training_set=TRAINING_SET,
            evaluation=evaluation,
            checks=CHECKS,
            key="k" * 64,
            reason="live quality, 2 new batches",
            trained=1_700_000_000.0,
            searched=searched,
            line=line,
        )

    return write


def test_the_card_answers_what_a_stranger_asks(card: Card, evaluation: Evaluation) -> None:
    """What it is, what for, how good, on which data, from which code, who owns it."""
    text = card(evaluation)

    for part in (
        "# tides",
        "Pipeline with Ridge for regression of `target`, trained 2023-11-14 22:13 UTC",
        "Why: live quality, 2 new batches.",
        "Height of the next tide",
        "Owners: team:sea.",
        "1 batches, 300 rows",
        "Never features: `leak`.",
        "c" * 40,
        "`team_of_tides.model:ridge`",
        "`numpy==2.0.0`, `scikit-learn==1.9.1`",
        "Seed 0, given to: `final__random_state`",
    ):
        assert part in text


def test_scores_stand_beside_the_constant_prediction(card: Card, evaluation: Evaluation) -> None:
    """Value, interval and what a constant would score, per metric; checks with their outcome."""
    text = card(evaluation)

    assert "| mae | 1.25 | 1 to 1.5 | 9 |" in text
    assert "| r2 | 0.9 | 0.8 to 0.95 | 0 |" in text
    assert "- passed `valid`: finite" in text
    assert "- FAILED `not_worse_than_champion`: 4.2 standard errors" in text


def test_long_lists_are_cut(card: Card, evaluation: Evaluation) -> None:
    """Twelve columns are shown, and the rest counted; none at all is said."""
    text = card(evaluation)

    assert "`c11`" in text
    assert "`c12`" not in text
    assert "3 more columns matter less" in text
    assert "Not measured." in card(replace(evaluation, importances=()))


def test_an_average_names_its_histories_and_what_moves_it(card: Card, evaluation: Evaluation) -> None:
    """Numbers by so much, classes by log-odds; one that is not moved says nothing of it."""
    averaged = Averaged(histories=("last 1 batches", "all history"), shares=(0.25, 0.75))
    moved = replace(evaluation, averaged=replace(averaged, offset=-2.0, amount=-0.5))

    plain, numbers = card(replace(evaluation, averaged=averaged)), card(moved)
    classes = card(moved, data={"task": "classification"}, monitoring={"metric": "error_rate"})

    assert "Average of fits on last 1 batches (25%), all history (75%); sample weights: passed as" in plain
    assert "all history (75%); predictions -0.5, as the newest labelled batches ask for; sample weights" in numbers
    assert "; log-odds of the second class -0.5, as the newest" in classes


def test_a_search_says_what_it_found(card: Card, evaluation: Evaluation) -> None:
    """Where there was one."""
    assert "Search of parameters: 9 trials; chosen: alpha=3." in card(evaluation, searched="9 trials; chosen: alpha=3")
    assert "Search of parameters" not in card(evaluation)


def test_limits_name_what_the_model_refuses(card: Card, evaluation: Evaluation) -> None:
    """A model without imputation says that it cannot answer gaps."""
    refusing = replace(evaluation, refused={"missing": "Input contains NaN"})

    assert "cannot answer rows with missing values: Input contains NaN" in card(refusing)
    assert "were tried and are answered" in card(evaluation)


def test_markup_in_a_commit_subject_stays_text(card: Card, evaluation: Evaluation) -> None:
    """A subject cannot format, link or break the card."""
    assert r"(Use \*all\* columns)" in card(evaluation)


def test_a_product_without_description_has_a_card_too(card: Card, evaluation: Evaluation) -> None:
    """The intended use then says what the model does, and that nothing else was considered."""
    text = card(replace(evaluation, seeded=()), description="", owners=[])

    assert "Predictions of `target`" in text
    assert "Owners" not in text
    assert "nothing took one" in text


def test_a_card_says_whose_fits_are_averaged_anew(card: Card, evaluation: Evaluation) -> None:
    """Nothing was fitted again then."""
    text = card(evaluation, line="3")

    assert "which it was not fitted on; its fits are those of version 3, on 300 older rows, averaged anew." in text
    assert "fitted again" not in text
