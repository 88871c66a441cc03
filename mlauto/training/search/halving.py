"""A search of the estimator's parameters by successive halving (Jamieson and Talwalkar 2016), on rows ordered in time.

A rung is a number of the newest rows to fit on, three times as many in each; the best third of a rung goes on. Every
trial predicts the same rows, the newest before the holdout, part by part, by fits on what is older than the part. The
holdout, which decides on the model, is never looked at. The champion's parameters and the code's own go through all
rungs, and stay unless something else is better by two standard errors on the same rows: the least of many noisy losses
is mostly luck.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlauto.errors import TrainingError
from mlauto.training.estimator import team_code
from mlauto.training.evaluate import COMPARABLE_ROWS, compare
from mlauto.training.exchange import FitRequest
from mlauto.training.search.candidates import Candidate, Found, SearchPlan, SearchTrial, candidates
from mlauto.training.search.trials import Losses, Past, Rung, tried

__all__ = ["search", "searched"]

THIRD = 3  # one in three goes on, with three times the rows
LEAST_ROWS = 3 * COMPARABLE_ROWS
SIGMAS = 2.0


def searched(request: FitRequest, estimator: Any, past: Past, folder: Path) -> Any:
    """The estimator with the parameters that were found; `search.json` in the folder says how. Raises as `search`."""
    if request.search is None:
        return estimator
    found = search(request.search, estimator, past, task=request.task, metric=request.metric, seed=request.seed)
    print(f"search: {found.summary}", flush=True)
    (folder / "search.json").write_bytes(msgspec.json.encode(found))
    with team_code("setting the parameters that were found"):
        estimator.set_params(**found.parameters)
    return estimator


def search(plan: SearchPlan, estimator: Any, past: Past, *, task: str, metric: str, seed: int) -> Found:
    """The candidate with the least loss; the same for the same seed, unless the budget ends it.

    A trial that fails has lost. Raises `TrainingError` when all failed, for fewer than 90 rows, or for a parameter that
    the estimator does not have.
    """
    total = len(past.features)
    if total < LEAST_ROWS:
        raise TrainingError(
            f"training.search needs {LEAST_ROWS} rows beside the holdout, and there are {total}: "
            "leave it out until there is more data"
        )
    deadline = time.monotonic() + plan.budget
    scored = max(COMPARABLE_ROWS, total // 5)
    left = candidates(plan, estimator, seed)
    trials: list[SearchTrial] = []
    losses: dict[int, Losses] = {}  # of each candidate, in its newest rung
    rungs = _rungs(total - scored, plan.candidates)
    complete = True
    for rung, rows in enumerate(rungs, 1):
        print(f"search: rung {rung} of {len(rungs)}, {len(left)} candidates on {rows:,} rows", flush=True)
        outcomes, found = tried(left, estimator, past, Rung(rung, rows, scored, task, metric), deadline=deadline)
        losses |= found
        trials += outcomes
        if len(outcomes) < len(left):
            complete = False
            break
        left = _going_on(left, outcomes)
    return _found(trials, losses, scored, "" if complete else f"; the budget of {plan.budget:g} s ended it")


def _rungs(rows: int, count: int) -> list[int]:
    """Rows of each rung, all of them in the last; a rung of too few rows would tell nothing."""
    steps = max(1, int(math.log(count, THIRD) + 1e-9))
    sizes = [rows // THIRD**step for step in range(steps, -1, -1)]
    return [size for size in sizes if size >= max(LEAST_ROWS, rows // 30)] or [rows]


def _ranked(trials: Sequence[SearchTrial]) -> list[SearchTrial]:
    """Best first; equals in the order of the candidates, so that an incumbent stays; without those that failed."""
    return sorted((one for one in trials if one.loss is not None), key=lambda one: (one.loss, one.candidate))


def _going_on(left: Sequence[Candidate], tried: Sequence[SearchTrial]) -> list[Candidate]:
    """The incumbents and the best third, incumbents first: when time runs out, they are what there is to beat."""
    by_number = {one.number: one for one in left}
    best = [by_number[one.candidate] for one in _ranked(tried)[: math.ceil(len(left) / THIRD)]]
    lost = {one.candidate for one in tried if one.loss is None}
    kept = [one for one in left if one.origin != "drawn" and one.number not in lost]
    return [*kept, *(one for one in best if one.origin == "drawn")]


def _found(trials: Sequence[SearchTrial], losses: dict[int, Losses], scored: int, ended: str) -> Found:
    """The best in the last rung (in the last two, when the last was cut off), if it is proven to be better."""
    if not trials:
        raise TrainingError(f"training.search found no time for a trial{ended}: raise training.search.budget")
    first = trials[-1].rung - bool(ended)
    newest = {one.candidate: one for one in trials if one.rung >= first}
    ranked = _ranked([*newest.values()])
    if not ranked:
        why = next(iter(newest.values())).problem
        raise TrainingError(f"training.search: every trial of the last rung failed, the first because {why}")
    best = ranked[0]
    holders = sorted((one for one in ranked if one.origin != "drawn"), key=lambda one: one.candidate)
    if holders and not compare(losses[holders[0].candidate], losses[best.candidate], SIGMAS).worse:
        best = holders[0]
    failed = sum(one.loss is None for one in trials)
    count = f"{len(trials)} trials" + (f", of which {failed} failed" if failed else "")
    chosen = ", ".join(f"{name}={value!r}" for name, value in best.parameters.items()) or "the code's own"
    others = [f"{one.origin}: {one.loss:.4g}" for one in holders if one is not best]
    others += [f"best drawn: {one.loss:.4g}" for one in ranked[:1] if one.origin == "drawn" and one is not best]
    return Found(
        parameters=best.parameters,
        origin=best.origin,
        trials=tuple(trials),
        scored=scored,
        complete=not ended,
        summary=f"{count}{ended}; chosen: {chosen} ({best.origin}), mean loss {best.loss:.4g}"
        + (f" ({', '.join(others)})" if others else ""),
    )
