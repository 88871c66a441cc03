"""Trials of a search: fits on rows of the past that are scored on newer ones, by joblib on whatever engine it has."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.training.estimator import answers_of, fitted, team_code
from mlauto.training.evaluate import Answers, row_losses
from mlauto.training.search.candidates import Candidate, SearchTrial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Losses", "Past", "Rung", "tried"]

Losses = NDArray[np.float64]
PARTS = 3  # of the scored rows: each is predicted by a fit on what is older


@dataclass(frozen=True)
class Past:
    """The rows before the holdout, oldest first."""

    features: "pd.DataFrame"
    labels: Any
    weights: Any


@dataclass(frozen=True)
class Rung:
    """Rows to fit on, at most `rows`, rows to score on, the newest `scored`, and how."""

    number: int
    rows: int
    scored: int
    task: str
    metric: str


def tried(
    left: Sequence[Candidate], estimator: Any, past: Past, rung: Rung, *, deadline: float
) -> tuple[list[SearchTrial], dict[int, Losses]]:
    """One rung's trials, as far as the time allows; by joblib, so on whatever engine it has been given."""
    from joblib import Parallel, delayed

    begun: list[Candidate] = []

    def in_time() -> Iterator[Any]:
        for one in left:
            if time.monotonic() >= deadline:
                return
            begun.append(one)
            # rows by themselves: an engine is sent them once, and the rest with each trial
            how = (estimator, one.parameters, rung)
            yield delayed(_trial)(past.features, past.labels, past.weights, how)

    outcomes = Parallel()(in_time())
    trials = [
        SearchTrial(
            candidate=one.number,
            origin=one.origin,
            parameters=one.parameters,
            rung=rung.number,
            rows=rung.rows,
            loss=None if problem else float(losses.mean()),
            seconds=seconds,
            problem=problem,
        )
        for one, (losses, seconds, problem) in zip(begun, outcomes, strict=True)
    ]
    return trials, {one.number: losses for one, (losses, _, _) in zip(begun, outcomes, strict=True)}


def _trial(
    features: "pd.DataFrame", labels: Any, weights: Any, how: tuple[Any, dict[str, Any], Rung]
) -> tuple[Losses, float, str]:
    """Each scored row's loss, seconds, and what went wrong."""
    estimator, parameters, rung = how
    began = time.perf_counter()
    losses, problem = np.empty(0), ""
    try:
        losses = _losses(estimator, parameters, Past(features, labels, weights), rung)
    except TrainingError as error:
        problem = str(error)
    if not np.isfinite(losses).all():
        problem = "its answers are not finite"
    return losses, round(time.perf_counter() - began, 4), problem


def _losses(estimator: Any, parameters: dict[str, Any], past: Past, rung: Rung) -> Losses:
    """Of the scored rows, each part of which is predicted by a fit on what is older."""
    from sklearn.base import clone

    total = len(past.features)
    edges = np.linspace(total - rung.scored, total, PARTS + 1).round().astype(int).tolist()
    said: list[Answers] = []
    with team_code("setting parameters"):
        trying = clone(estimator).set_params(**parameters)
    for begin, end in itertools.pairwise(edges):
        used = slice(max(0, begin - rung.rows), begin)
        rows = past.features.iloc[used].reset_index(drop=True)
        model, _ = fitted(trying, rows, past.labels[used], past.weights[used])
        said.append(answers_of(model, past.features.iloc[begin:end].reset_index(drop=True), rung.task))
    parts = [past.labels[begin:end].tolist() for begin, end in itertools.pairwise(edges)]
    if rung.metric == "auc" and any(len(set(part)) < 2 for part in parts):  # which has none by itself
        said, parts = [_joined(said)], [list(itertools.chain.from_iterable(parts))]
    try:
        return np.concatenate([row_losses(rung.metric, *one) for one in zip(parts, said, strict=True)])
    except ValueError as error:
        raise TrainingError(f"monitoring.metric {rung.metric}: {error}") from error


def _joined(said: Sequence[Answers]) -> Answers:
    """Answers of models that know the same classes, one after the other."""
    if any(one.probabilities is None or tuple(one.classes) != tuple(said[0].classes) for one in said):
        raise TrainingError("monitoring.metric auc: a fit has no predict_proba, or lacks rows of a class: use log_loss")
    return Answers(
        predictions=[label for one in said for label in one.predictions],
        probabilities=[odds for one in said for odds in one.probabilities or ()],
        classes=said[0].classes,
    )
