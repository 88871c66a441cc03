"""What a search of parameters tries (the champion's values, the code's own, draws from the YAML's spaces) and found."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mlauto.errors import TrainingError
from mlauto.training.estimator import team_code

__all__ = ["Candidate", "Found", "SearchPlan", "SearchTrial", "Span", "Value", "candidates"]

Value = bool | int | float | str | None
REDRAWN = 50  # times as many draws as candidates: a small space may not have so many


@dataclass(frozen=True, kw_only=True)
class Span:
    """Numbers from `low` to `high`, both possible; whole ones when both are. `log`: the logarithm is drawn evenly."""

    low: int | float
    high: int | float
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """The YAML's `training.search` for the child; `budget` in seconds, `champion` what the live model has."""

    parameters: dict[str, tuple[Value, ...] | Span]
    candidates: int
    budget: float
    champion: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is set, beside what the code says; the champion's and the code's own are incumbents."""

    number: int
    origin: Literal["champion", "code", "drawn"]
    parameters: dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """One candidate in one rung: fitted on at most `rows` rows, its mean loss (None: it failed, `problem` says how)."""

    candidate: int
    origin: str
    parameters: dict[str, Value]
    rung: int
    rows: int
    loss: float | None
    seconds: float
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search chose and did, `search.json`. `complete` is false when the time budget ended it."""

    parameters: dict[str, Value]
    origin: str
    trials: tuple[SearchTrial, ...]
    scored: int
    complete: bool
    summary: str


def candidates(plan: SearchPlan, estimator: Any, seed: int) -> list[Candidate]:
    """The champion's values, the code's, and different ones drawn at random; the same for the same seed.

    Raises `TrainingError` when the estimator has no parameter of such a name.
    """
    with team_code("reading the estimator's parameters"):
        known = estimator.get_params(deep=True)
    for name in (*plan.parameters, *plan.champion):
        if name not in known and name in plan.parameters:
            raise TrainingError(f"training.search: the estimator has no parameter {name!r}{_nearest(name, known)}")
    code = {name: known[name] for name in sorted(plan.parameters)}
    champion = {name: value for name, value in sorted(plan.champion.items()) if name in plan.parameters}
    tried = {repr(code)}
    found = [Candidate(number=0, origin="code", parameters={})]
    if champion and repr({**code, **champion}) not in tried:
        tried.add(repr({**code, **champion}))
        found.insert(0, Candidate(number=0, origin="champion", parameters=champion))
    random = np.random.default_rng(seed)
    drawn: list[Candidate] = []
    for _ in range(REDRAWN * plan.candidates):
        if len(drawn) == plan.candidates:
            break
        values = {name: _drawn(plan.parameters[name], random) for name in sorted(plan.parameters)}
        if repr(values) not in tried:
            tried.add(repr(values))
            drawn.append(Candidate(number=0, origin="drawn", parameters=values))
    return [
        Candidate(number=number, origin=one.origin, parameters=one.parameters)
        for number, one in enumerate([*found, *drawn], 1)
    ]


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    """Steps' names are what people forget: so a parameter of that name in a step comes first."""
    inside = [one for one in known if one.rpartition("__")[2] == name.rpartition("__")[2]]
    near = inside or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {sorted(near)[0]!r}?" if near else f"; it has {', '.join(sorted(known))[:300]}"


def _drawn(space: tuple[Value, ...] | Span, random: np.random.Generator) -> Value:
    if not isinstance(space, Span):
        return space[int(random.integers(len(space)))]
    whole = isinstance(space.low, int) and isinstance(space.high, int)
    if not space.log:
        return int(random.integers(int(space.low), int(space.high), endpoint=True)) if whole else _even(space, random)
    low, high = (math.log(space.low - 0.5), math.log(space.high + 0.5)) if whole else _logs(space)
    value = math.exp(float(random.uniform(low, high)))
    return min(max(round(value), int(space.low)), int(space.high)) if whole else _rounded(value)


def _even(space: Span, random: np.random.Generator) -> float:
    return _rounded(float(random.uniform(space.low, space.high)))


def _logs(space: Span) -> tuple[float, float]:
    return math.log(space.low), math.log(space.high)


def _rounded(value: float) -> float:
    """Six digits: people read these numbers, and copy them into their code."""
    return float(f"{value:.6g}")
