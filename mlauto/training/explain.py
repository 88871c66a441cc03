"""What a fitted model relies on, and one picture of how well it does: bounded in time and size."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlauto.training.evaluate import Answers, row_losses
from mlauto.training.exchange import Importance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["draw", "importances"]

ROWS = 300  # holdout rows that importances are measured on
CELLS = 12_000  # rows of one stacked prediction
REPEATS = 5
SECONDS = 0.4
POINTS = 400
BLUE, GREY, RED = "#2563eb", "#9ca3af", "#dc2626"


def importances(
    answer: Callable[["pd.DataFrame"], Answers],
    frame: "pd.DataFrame",
    labels: Sequence[Any],
    *,
    metric: str,
    seed: int,
    seconds: float = SECONDS,
) -> tuple[Importance, ...]:
    """Permutation importances (Breiman 2001) on the newest rows of `frame`, largest first.

    All columns are shuffled in one stacked prediction, so the cost is one call of `answer` per repeat; a further repeat
    begins only if it fits into `seconds`. At most 300 rows, fewer for very wide frames.
    """
    import pandas as pd

    began = time.perf_counter()
    columns = [str(column) for column in frame.columns]
    rows = min(len(frame), ROWS, max(1, CELLS // len(columns)))
    frame, labels = frame.tail(rows).reset_index(drop=True), labels[-rows:]
    reference = float(row_losses(metric, labels, answer(frame)).mean())
    generator = np.random.default_rng(seed)
    growth: list[Any] = []
    while len(growth) < REPEATS:
        spent = time.perf_counter() - began
        if growth and spent + spent / len(growth) > seconds:
            break
        # one block of rows for each column, in which that column alone is shuffled
        stacked = {}
        for block, column in enumerate(columns):
            order = np.tile(np.arange(rows), len(columns))
            order[block * rows : (block + 1) * rows] = generator.permutation(rows)
            stacked[column] = frame[column].take(order).reset_index(drop=True)
        losses = row_losses(metric, list(labels) * len(columns), answer(pd.DataFrame(stacked)))
        growth.append(losses.reshape(len(columns), rows).mean(axis=1) - reference)
    means, deviations = np.mean(growth, axis=0), np.std(growth, axis=0)
    found = [
        Importance(column=column, mean=float(mean), deviation=float(deviation))
        for column, mean, deviation in zip(columns, means, deviations, strict=True)
    ]
    return tuple(sorted(found, key=lambda importance: -importance.mean))


def draw(path: Path, *, task: str, labels: Sequence[Any], answers: Answers) -> None:
    """Write the plot (PNG, 640 x 280, well under 60 KB): residuals for regression, calibration or errors per class."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    if task == "regression":
        _residuals(left, right, labels, answers)
    elif answers.probabilities is not None:
        _calibration(left, right, labels, answers)
    else:
        _errors(left, right, labels, answers)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    figure.savefig(path, format="png", metadata={"Software": None})


def _titled(axes: Any, title: str, horizontal: str, vertical: str) -> None:
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_xlabel(horizontal, fontsize=7)
    axes.set_ylabel(vertical, fontsize=7)


def _residuals(left: Any, right: Any, labels: Sequence[Any], answers: Answers) -> None:
    truth = np.asarray(labels, dtype=np.float64)
    predicted = np.asarray(answers.predictions, dtype=np.float64)
    some = np.unique(np.linspace(0, len(truth) - 1, POINTS).astype(int))
    left.scatter(predicted[some], truth[some], s=5, alpha=0.5, color=BLUE, linewidths=0)
    ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
    left.plot(ends, ends, color=GREY, linewidth=0.8)
    _titled(left, "Newest rows, not fitted on", "predicted", "true")
    right.scatter(some, (truth - predicted)[some], s=5, alpha=0.5, color=BLUE, linewidths=0)
    right.axhline(0, color=GREY, linewidth=0.8)
    _titled(right, "Residuals, oldest to newest", "row", "true − predicted")


def _calibration(left: Any, right: Any, labels: Sequence[Any], answers: Answers) -> None:
    """Two classes: probability of the second one; more: probability of the class that was predicted."""
    probabilities = np.asarray(answers.probabilities, dtype=np.float64)
    if probabilities.shape[1] == 2:
        given, hit = probabilities[:, 1], np.array([label == answers.classes[1] for label in labels], dtype=float)
    else:
        given = probabilities.max(axis=1)
        hit = 1.0 - row_losses("error_rate", labels, answers)
    order = np.argsort(given, kind="stable")
    groups = [group for group in np.array_split(order, min(10, len(order))) if len(group)]
    middle = [given[group].mean() for group in groups]
    rate = np.array([hit[group].mean() for group in groups])
    error = [1.96 * float(np.sqrt(r * (1 - r) / len(group))) for r, group in zip(rate, groups, strict=True)]
    left.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    left.errorbar(middle, rate, yerr=error, fmt="o-", markersize=3, linewidth=1, color=BLUE)
    _titled(left, "Calibration on rows not fitted on", "probability given", "rate observed")
    right.hist(given, bins=20, range=(0, 1), color=BLUE)
    _titled(right, "Probabilities given", "probability", "rows")


def _errors(left: Any, right: Any, labels: Sequence[Any], answers: Answers) -> None:
    wrong = row_losses("error_rate", labels, answers)
    names = sorted({str(label) for label in labels})[:12]
    texts = np.array([str(label) for label in labels])
    rates = [float(wrong[texts == name].mean()) for name in names]
    left.bar(names, rates, color=RED)
    _titled(left, "Errors by true class", "class", "error rate")
    right.bar(names, [int((texts == name).sum()) for name in names], color=BLUE)
    _titled(right, "Rows by true class", "class", "rows")
