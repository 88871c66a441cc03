"""A data file as the history that a replay and a backtest go through: its batches, and the product it makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mlauto.commands.proposal import Proposal, propose
from mlauto.errors import MlautoError, ProductError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan", "attributes_of", "cut", "edges_of", "roles_of"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the columns are, in how many batches the rows come, and how many batches later their labels do.

    The first `initial` batches are what the first model is trained on. `measure` is the metric, if not the task's own.
    """

    target: str
    task: str
    timestamp: str | None = None
    exclude: tuple[str, ...] = ()
    batches: int = 50
    initial: int = 5
    delay: int = 0
    measure: str | None = None

    def check(self) -> None:
        """Raises `MlautoError` when nothing would be left to predict."""
        if self.initial >= self.batches:
            raise MlautoError(
                f"--initial {self.initial} leaves nothing to predict of --batches {self.batches}: use fewer"
            )

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return self.measure or ("mae" if self.task == "regression" else "error_rate")


def edges_of(rows: int, batches: int) -> tuple[int, ...]:
    """Where each batch begins, and where the last one ends. Raises `MlautoError` for fewer rows than batches."""
    if rows < batches:
        raise MlautoError(f"{rows} rows cannot be cut into {batches} batches: use --batches {rows} or fewer")
    return tuple(round(i * rows / batches) for i in range(batches + 1))


def cut(frame: "pd.DataFrame", batches: int) -> "list[pd.DataFrame]":
    """The rows in that many parts of nearly the same size, in order. Raises as `edges_of` does."""
    return [frame.iloc[a:b] for a, b in pairwise(edges_of(len(frame), batches))]


def roles_of(frame: "pd.DataFrame", plan: Plan) -> Proposal:
    """The columns' roles. Raises `MlautoError`, which says why, when models cannot be tried on this history."""
    plan.check()
    proposal = propose(frame, target=plan.target, task=plan.task, timestamp=plan.timestamp, exclude=plan.exclude)
    end = edges_of(len(frame), plan.batches)[plan.initial]
    first = frame[plan.target].iloc[:end]
    if plan.task == "classification" and first.nunique() < 2:
        raise ProductError(
            f"--target {plan.target!r} is {first.tolist()[0]!r} in all {end} rows of the first {plan.initial} batches:"
            " there is nothing to tell apart yet, use a larger --initial"
        )
    if plan.timestamp is not None:
        times = frame[plan.timestamp]
        back = (times < times.shift()).to_numpy()
        if back.any():
            row = int(back.argmax())
            raise ProductError(
                f"--timestamp {plan.timestamp!r} goes backwards: {times.iloc[row]} in row {row + 1} follows"
                f" {times.iloc[row - 1]}; sort the file by it, or leave --timestamp away if the rows are in order"
            )
    return proposal


def attributes_of(name: str, plan: Plan, exclude: Sequence[str], rows: int) -> dict[str, Any]:
    """A product as its YAML would have it, judged on windows of one batch of `rows` rows."""
    return {
        "name": name,
        "code": {"repository": f"models/{name}", "estimator": f"{name}.model:build"},
        "data": {
            "landing": f"landing/{name}",
            "target": plan.target,
            "task": plan.task,
            "timestamp": plan.timestamp,
            "exclude": list(exclude),
        },
        "training": {"retrain": "economy"},
        "delivery": {"shadow": "0s", "canary": [], "bake": "5s", "latency_ms": 1000},  # a batch waits for nobody
        "monitoring": {
            "every": "1s",
            "window": max(20, rows),
            "min_labels": max(10, rows // 2),
            "cooldown": "1s",
            "slo": {"p99_ms": 5000},
        },
    }
