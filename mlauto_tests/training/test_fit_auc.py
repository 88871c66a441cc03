"""A fit that is judged by AUC: two classes, both of which the newest rows have; otherwise a sentence says so."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mlauto_tests.training.test_fit import Ask, Fit, Rows, ask, classified, evaluation_of, fit, holdout_of

__all__ = ["ask", "fit"]


def test_the_auc_comes_first_beside_that_of_a_constant(ask: Ask, fit: Fit, rows: Rows) -> None:
    """It equals scikit-learn's on the holdout; a constant has 0.5; the other metrics are there too."""
    request = ask("logistic", classified(rows), task="classification", metric="auc")

    ended = fit(request)

    assert ended.exit_code == 0, ended.output
    found, holdout = evaluation_of(request), holdout_of(request)
    said = [row[1] for row in holdout.answers.probabilities or ()]
    assert [score.metric for score in found.scores] == ["auc", "error_rate", "log_loss"]
    assert [score.metric for score in found.baseline] == ["auc", "error_rate", "log_loss"]
    assert found.scores[0].value == pytest.approx(roc_auc_score([one == "low" for one in holdout.labels], said))
    assert 0.8 < found.scores[0].low < found.scores[0].value <= found.scores[0].high <= 1
    assert found.baseline[0].value == 0.5
    assert "of a constant prediction 0.5" in ended.output
    assert {one.column for one in found.importances[:2]} == {"temp", "hour"}  # by log loss


def test_three_classes_have_no_auc(ask: Ask, fit: Fit, rows: Rows) -> None:
    """As the deciding metric it is refused; among the others it is left out."""
    frame = rows(300)
    frame["target"] = pd.cut(frame["target"], [-99, 38, 46, 199], labels=["low", "middle", "high"]).astype("str")
    request = ask("logistic", frame, task="classification", metric="auc")

    refused = fit(request)

    assert refused.exit_code == 1
    assert "monitoring.metric auc: auc is for two classes, and these are 3: use log_loss" in refused.output
    assert fit(replace(request, metric="error_rate")).exit_code == 0
    assert [score.metric for score in evaluation_of(request).scores] == ["error_rate", "log_loss"]


def test_newest_rows_of_one_class_have_no_auc(ask: Ask, fit: Fit, rows: Rows) -> None:
    """The sentence names the class; judged by log loss the same rows do."""
    frame = classified(rows)
    frame["target"] = pd.Series(np.where(frame.index >= 240, "low", frame["target"]), dtype="str")
    request = ask("logistic", frame, task="classification", metric="auc")

    refused = fit(request)

    assert refused.exit_code == 1
    assert "auc needs rows of both classes, and all 60 are 'low': use log_loss" in refused.output
    assert fit(replace(request, metric="log_loss")).exit_code == 0
    assert [score.metric for score in evaluation_of(request).scores] == ["log_loss", "error_rate"]


def test_an_auc_needs_probabilities(ask: Ask, fit: Fit, rows: Rows) -> None:
    """As log loss does."""
    refused = fit(ask("margins", classified(rows), task="classification", metric="auc"))

    assert refused.exit_code == 1
    assert "monitoring.metric is auc, and the estimator has no predict_proba: choose error_rate" in refused.output
