"""Linear models' arrays."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier, TweedieRegressor

from mlauto.training.compile import linear
from mlauto.training.compile.builder import UnsupportedError

X = np.random.default_rng(1).normal(size=(90, 3))
Y = X @ [1.0, 2.0, 3.0]


def test_coefficients_have_a_row_for_each_output() -> None:
    """Also where scikit-learn keeps a vector, and an intercept of 0 that is no array."""
    plan, arrays = linear.regressor(LinearRegression(fit_intercept=False).fit(X, Y), 3)

    assert (plan.width, plan.finish) == (3, "identity")
    assert arrays["coefficients"].shape == (1, 3)
    assert arrays["intercept"].tolist() == [0.0]


def test_the_number_of_classes_decides() -> None:
    """Two classes have one sum, three have three."""
    three = np.digitize(Y, [-1, 1])

    assert linear.logistic(LogisticRegression().fit(X, Y > 0), 3)[0].finish == "logistic"
    assert linear.logistic(LogisticRegression().fit(X, three), 3)[0].finish == "softmax"
    assert linear.stochastic(SGDClassifier(loss="log_loss").fit(X, three), 3)[0].finish == "one_vs_rest"
    assert linear.stochastic(SGDClassifier().fit(X, Y > 0), 3)[0].finish == "sign"
    assert linear.classifier(SGDClassifier().fit(X, three), 3)[0].finish == "largest"


def test_what_is_not_known_is_refused() -> None:
    """Other probabilities, and several outputs."""
    with pytest.raises(UnsupportedError, match="loss modified_huber is not compiled"):
        linear.stochastic(SGDClassifier(loss="modified_huber").fit(X, Y > 0), 3)
    with pytest.raises(UnsupportedError, match="Ridge with several outputs"):
        linear.regressor(Ridge().fit(X, np.column_stack([Y, Y])), 3)


def test_links_are_undone() -> None:
    """By the identity or the exponential."""
    positive = np.exp(Y / 4)

    assert linear.generalized(TweedieRegressor(power=1).fit(X, positive), 3)[0].finish == "exp"
    assert linear.generalized(TweedieRegressor(power=0).fit(X, positive), 3)[0].finish == "identity"
