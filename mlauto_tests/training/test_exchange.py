from typing import Any

import msgspec
import pytest

from mlauto.records import Score
from mlauto.training.evaluate import Answers
from mlauto.training.exchange import Evaluation, FitRequest, Holdout, Importance

REQUEST = FitRequest(
    tree="/tree",
    estimator="a.b:c",
    frame="/f",
    weights="/w",
    holdout=5,
    target="y",
    task="regression",
    metric="mae",
    output="/o",
    cache="cache",
    exclude=("x",),
)
SCORE = Score(metric="mae", value=1.0, low=0.5, high=1.5, rows=5)
EVALUATION = Evaluation(
    estimator="Ridge",
    parameters={"alpha": "1.0"},
    seeded=(),
    weights="passed as sample_weight",
    rows=10,
    holdout=5,
    scores=(SCORE,),
    baseline=(SCORE,),
    importances=(Importance(column="a", mean=1.0, deviation=0.1),),
    finite=True,
    reloads=True,
    refused={},
    types=(),
    requirements=("numpy==2",),
    seconds={"fit": 0.1},
)
HOLDOUT = Holdout(
    rows=({"a": 1, "b": None},),
    labels=("low",),
    answers=Answers(predictions=["low"], probabilities=[[0.9, 0.1]], classes=["low", "high"]),
    baseline=Answers(predictions=["high"]),
)


@pytest.mark.parametrize("message", [REQUEST, EVALUATION, HOLDOUT], ids=lambda message: type(message).__name__)
def test_messages_survive_json(message: Any) -> None:
    """What one process writes is what the other one reads."""
    decoded = msgspec.json.decode(msgspec.json.encode(message), type=type(message))

    assert type(decoded) is type(message)
    assert msgspec.json.encode(decoded) == msgspec.json.encode(message)


def test_a_part_of_a_holdout() -> None:
    """Rows, labels and both answers of the same rows; probabilities where there are any."""
    two = Holdout(
        rows=({"a": 1}, {"a": 2}),
        labels=("low", "high"),
        answers=Answers(predictions=["low", "low"], probabilities=[[0.9, 0.1], [0.6, 0.4]], classes=["low", "high"]),
        baseline=Answers(predictions=["high", "low"]),
    )
    part = two.part([False, True])

    assert (part.rows, part.labels) == (({"a": 2},), ("high",))
    assert (part.answers.predictions, part.answers.probabilities) == (("low",), ([0.6, 0.4],))
    assert (part.baseline.predictions, part.baseline.probabilities) == (("low",), None)
    assert two.part([True, True]).rows == two.rows


def test_messages_are_frozen() -> None:
    """Nobody changes a message on its way."""
    with pytest.raises(AttributeError):
        REQUEST.holdout = 6  # type: ignore[misc] # that it is refused is the point
    with pytest.raises(AttributeError):
        EVALUATION.finite = False  # type: ignore[misc] # likewise
