"""Many fits on parts of one history, a child process of a backtest.

`python -m mlauto.training.backtest.fit_many REQUEST.json`. Other people's code runs here, as it does in
`mlauto.training.fit`. Below the request's `output`: `losses/`, as `mlauto.training.backtest.fits` keeps them;
`failed.json`, the fits that could not be made, and why; `late.txt` when one took longer than the limit, and where it
was then; `error.json` when there is no estimator at all. Exit code 0, or 1.
"""

import faulthandler
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlauto.errors import TrainingError
from mlauto.store import atomic_write
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Model
from mlauto.training.estimator import build, import_root, seed
from mlauto.training.roles import features_of, labels_of

__all__ = ["WRITTEN", "FitsRequest", "Unit", "main"]

WRITTEN = ("losses", "failed.json", "late.txt", "error.json")  # what is left in the output folder


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One fit: the model, without the newest `holdout` rows of its history."""

    model: Model
    holdout: int = 0

    def __str__(self) -> str:
        less = f" without their newest {self.holdout} rows" if self.holdout else ""
        return f"the fit on the first {self.model.batches} batches{less}"


@dataclass(frozen=True, kw_only=True)
class FitsRequest:
    """What to fit, in that order. `frame` (Parquet) holds the rows of all batches, cut at `edges`.

    `inputs` is what determines a fit beside its part of the history; `limit` is in seconds, for the estimator's making
    and for each fit.
    """

    tree: str
    estimator: str
    frame: str
    edges: tuple[int, ...]
    units: tuple[Unit, ...]
    inputs: str
    target: str
    task: str
    metric: str
    output: str
    limit: float
    seed: int = 0
    exclude: tuple[str, ...] = ()
    timestamp: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Do what the request file says; the exit code."""
    if len(arguments) != 1:
        print("usage: python -m mlauto.training.backtest.fit_many REQUEST.json")
        return 2
    request = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=FitsRequest)
    output = Path(request.output).resolve()
    with (output / "late.txt").open("w") as late:
        try:
            # its watchdog is a thread that asks nothing of Python: it ends code that never returns, too
            faulthandler.dump_traceback_later(request.limit, exit=True, file=late)
            _make(request, _opened(request, output), output, late)
        except TrainingError as error:
            (output / "error.json").write_bytes(msgspec.json.encode({"error": str(error)}))
            print(f"error: {error}", flush=True)
            return 1
        finally:
            faulthandler.cancel_dump_traceback_later()
    return 0


def _opened(request: FitsRequest, output: Path) -> Fits:
    """The rows and the seeded estimator."""
    import pandas as pd
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

    frame = pd.read_parquet(request.frame)
    threadpool_limits(1)  # a forked child's OpenMP had read another value when it was loaded
    tree = Path(request.tree).resolve()
    os.chdir(tree)
    _seed_globals(request.seed)
    estimator = build(request.estimator, import_root(tree))
    seed(estimator, request.seed)
    return Fits(
        features_of(frame, request.target, request.timestamp, *request.exclude),
        labels_of(frame, request.target, request.task),
        edges=request.edges,
        metric=request.metric,
        estimator=estimator,
        cache=output / "losses",
        inputs=request.inputs,
    )


def _make(request: FitsRequest, fits: Fits, output: Path, late: Any) -> None:
    failed: dict[str, str] = {}
    for number, unit in enumerate(request.units, start=1):
        faulthandler.dump_traceback_later(request.limit, exit=True, file=late)  # in the place of the one before
        _seed_globals(request.seed)  # so that no fit depends on which ones came before
        try:
            fits.one(unit.model, unit.holdout)
        except TrainingError as error:
            failed[fits.path_of(unit.model, unit.holdout).stem] = str(error)
            atomic_write(output / "failed.json", msgspec.json.encode(failed))
        print(f"{number} of {len(request.units)} fits", flush=True)


def _seed_globals(value: int) -> None:
    """For team code that draws from the global generators."""
    random.seed(value)
    np.random.seed(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
