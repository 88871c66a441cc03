"""What sums mean: labels and probabilities of every kind, and estimators that do not fit together."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlauto.serving.errors import RequestError
from mlauto.serving.plan.estimators import REGRESSION, executor
from mlauto.serving.plan.format import Average, Linear, Numbers, Plan, PlanError, Trees
from mlauto.serving.wire.protocol import Answer
from mlauto_tests.serving.plan.conftest import Arrays

TWO, THREE = ("no", "yes"), (1, 2, 3)


def plan(finish: str, classes: tuple[Any, ...] = (), width: int = 1) -> Plan:
    return Plan(columns=("x",), steps=(Numbers((0,)),), estimator=Linear(width, finish), classes=classes)


def execute(found: Plan, given: Arrays) -> Callable[[NDArray[np.float64], bool], Answer]:
    """The function of a plan's estimator."""
    assert not isinstance(found.estimator, Average)
    return executor(found.estimator, found.classes, given)


def arrays(outputs: int = 1) -> Arrays:
    """The cell itself, times 1, 2, ... for each output."""
    return {"coefficients": np.arange(1.0, outputs + 1)[:, None], "intercept": np.zeros(outputs)}


def test_sums_of_a_regression() -> None:
    """The sum, or its exponential."""
    rows = np.array([[0.0], [2.0]])

    assert execute(plan("identity"), arrays())(rows, True).predictions == [0.0, 2.0]
    assert execute(plan("exp"), arrays())(rows, True).predictions == [1.0, math.exp(2.0)]
    assert execute(plan("exp"), arrays())(np.array([[1e4]]), True).predictions == [math.inf]
    assert execute(plan("identity"), arrays())(rows, True).probabilities is None
    assert REGRESSION == ("identity", "exp")


@pytest.mark.parametrize(("finish", "tie"), [("logistic", "no"), ("logistic_tie", "yes"), ("sign", "no")])
def test_two_classes_by_one_sum(finish: str, tie: str) -> None:
    """Above 0 is the second class; 0 itself is as the estimator has it. No sum overflows."""
    answer = execute(plan(finish, TWO), arrays())(np.array([[-800.0], [0.0], [800.0], [math.log(3)]]), True)

    assert answer.predictions == ["no", tie, "yes", "yes"]
    if finish == "sign":
        assert answer.probabilities is None
    else:
        assert answer.probabilities is not None
        assert answer.probabilities[:3] == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
        assert answer.probabilities[3] == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("finish", ["logistic", "logistic_tie"])
def test_one_row_is_answered_as_many_are(finish: str) -> None:
    """To the last bit, zeros of both signs and sums beyond the exponential among them."""
    run = execute(plan(finish, TWO), arrays())
    sums = np.concatenate([np.linspace(-40, 40, 401), [0.0, -0.0, 5e-324, 1e-17, 709.9, -745.2, 1e308, -1e308]])[
        :, None
    ]
    together = run(sums, True)
    apart = [run(sums[place : place + 1], True) for place in range(len(sums))]

    assert [answer.predictions[0] for answer in apart] == together.predictions
    assert [answer.probabilities[0] for answer in apart if answer.probabilities] == together.probabilities
    assert run(sums[:1], False).probabilities is None


def test_several_classes() -> None:
    """The largest sum wins, the first one of equals; probabilities add up to 1."""
    rows = np.array([[1.0], [0.0], [-1.0]])

    for finish in ("softmax", "one_vs_rest", "largest", "shares"):
        answer = execute(plan(finish, THREE), arrays(3))(rows, True)
        assert answer.predictions == [3, 1, 1]
        if finish in {"softmax", "one_vs_rest"}:
            assert answer.probabilities is not None
            assert [sum(odds) for odds in answer.probabilities] == pytest.approx([1.0, 1.0, 1.0])
            assert answer.probabilities[1] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    nothing = execute(plan("one_vs_rest", THREE), arrays(3))(np.array([[-1e4]]), True)
    assert nothing.probabilities == [[1 / 3, 1 / 3, 1 / 3]]


def test_probabilities_are_made_when_they_are_wanted() -> None:
    """Predictions are the same without them."""
    rows = np.array([[1.0], [-1.0]])
    run = execute(plan("logistic", TWO), arrays())

    assert run(rows, False).probabilities is None
    assert run(rows, False).predictions == run(rows, True).predictions


def test_trees_are_summed_and_finished(stumps: Arrays) -> None:
    """The same finishes as for linear models."""
    trees = Plan(columns=("x",), steps=(Numbers((0,)),), estimator=Trees(2, (-20.5,), "logistic"), classes=TWO)

    answer = execute(trees, stumps)(np.array([[0.0, 3.0], [9.0, 3.0]]), True)

    assert answer.predictions == ["no", "no"]
    assert answer.probabilities == [
        [pytest.approx(1 / (1 + math.exp(-10.0))), pytest.approx(4.5397868702e-05)],
        [0.5, 0.5],
    ]


def test_a_linear_model_refuses_what_is_not_finite() -> None:
    """As scikit-learn does."""
    for value in (math.nan, math.inf):
        with pytest.raises(RequestError, match="missing or not finite") as caught:
            execute(plan("identity"), arrays())(np.array([[value]]), True)
        assert caught.value.status == 422
    large = execute(plan("identity"), arrays())(np.array([[1e200]]), True)
    assert large.predictions == [1e200]


@pytest.mark.parametrize(
    ("found", "changed", "message"),
    [
        (plan("magic"), {}, "finish 'magic' is not known"),
        (plan("logistic", THREE), {}, "wants 2 classes, not 3"),
        (plan("softmax", TWO), {}, "wants 1 classes, not 2"),
        (plan("identity", TWO), {}, "wants 0 classes, not 2"),
        (plan("identity"), {"intercept": np.zeros(2)}, "coefficients are"),
        (plan("identity", width=2), {}, "coefficients are"),
        (plan("identity"), {"intercept": np.array([math.nan])}, "intercept is missing or of another type"),
        (plan("identity"), {"coefficients": np.zeros((1, 1), dtype=np.float32)}, "coefficients is missing"),
    ],
)
def test_what_does_not_fit_is_refused(found: Plan, changed: Arrays, message: str) -> None:
    """Before a request is answered."""
    with pytest.raises(PlanError, match=message):
        execute(found, {**arrays(), **changed})
