"""Fit, score, explain and save one model: `python -m mlauto.training.fit REQUEST.json`, a child process of training.

Other people's code runs here and nowhere else in training. The estimator is fitted on all rows but the newest
(the holdout), scored there, and then fitted again on all rows; the second one is what is saved. Features are all
columns except target, timestamp and the excluded ones; their kinds come from the frame's dtypes.

Below the request's `output`: `artifact/` (the model's files), `holdout.json` (rows and answers, for the comparison with
the champion) and, after a failure, `error.json`. Exit code 0, or 1 with a last line that says what to do.
"""

import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.records import Score, Signature
from mlauto.training import artifact, explain
from mlauto.training.allowed import check_allowed
from mlauto.training.backend import parallel
from mlauto.training.estimator import answers_of, build, classes_of, described, import_root, seed
from mlauto.training.evaluate import METRICS, NEEDS_ODDS, Answers, batch_metric, score
from mlauto.training.exchange import Evaluation, FitRequest, Holdout, Importance, written
from mlauto.training.members import Recipe, recipe
from mlauto.training.plan import add_plan
from mlauto.training.requirements import pinned
from mlauto.training.roles import features_of, labels_of
from mlauto.training.search.halving import searched
from mlauto.training.search.trials import Past

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["main"]

KEPT_ROWS = 2000  # of the holdout, with the model: what segments and estimates are held to


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 4)
        self._last = now


@dataclass(frozen=True)
class _Rows:
    """Features, labels and weights of the same rows."""

    features: "pd.DataFrame"
    labels: Any
    weights: Any

    def part(self, rows: slice) -> "_Rows":
        return _Rows(self.features.iloc[rows].reset_index(drop=True), self.labels[rows], self.weights[rows])


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """The fit without the holdout: what it says about the holdout, and what that is worth."""

    holdout: Holdout
    scores: tuple[Score, ...]
    baseline: tuple[Score, ...]
    importances: tuple[Importance, ...]
    weights: str
    finite: bool


def main(arguments: Sequence[str]) -> int:
    """Do what the request file says; the exit code."""
    if len(arguments) != 1:
        print("usage: python -m mlauto.training.fit REQUEST.json")
        return 2
    request = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=FitRequest)
    try:
        _fit(request)
    except TrainingError as error:
        (Path(request.output) / "error.json").write_bytes(msgspec.json.encode({"error": str(error)}))
        print(f"error: {error}", flush=True)
        return 1
    return 0


def _fit(request: FitRequest) -> None:
    clock = _Clock()
    tree, output = Path(request.tree).resolve(), Path(request.output).resolve()
    root, folder = import_root(tree), output / "artifact"
    folder.mkdir(parents=True, exist_ok=True)
    request, rows, there = _read(request)
    kinds = artifact.kinds_of_features(rows.features)
    check_allowed(request.limits, request.categories, kinds)
    _limit_threads()
    random.seed(request.seed)
    np.random.seed(request.seed)  # for team code that draws from the global generator
    os.chdir(tree)
    clock.lap("read")
    estimator = build(request.estimator, root)
    seeded = seed(estimator, request.seed)
    clock.lap("import")
    with parallel(request.backend, request.address, root):
        if request.search is not None:
            past = rows.part(slice(None, -request.holdout))
            estimator = searched(request, estimator, Past(past.features, past.labels, past.weights), folder)
            clock.lap("search")
        how = recipe(request, estimator, rows.features, rows.labels, rows.weights, there=there)
        trial = _tried(request, how, rows, folder, clock)
        model, _ = how.fit(rows.features, rows.labels)
    clock.lap("refit")
    newest = rows.part(slice(-request.holdout, None)).features
    classes = classes_of(model) if request.task == "classification" else ()
    signature = Signature(
        columns=kinds, task=request.task, classes=classes, limits=request.limits, categories=request.categories
    )
    golden = artifact.golden_rows(newest, signature, lambda frame: answers_of(model, frame, request.task))
    loaded, types = artifact.dump(model, folder, root, signature=signature, golden=golden)
    answers = answers_of(model, newest, request.task)
    clock.lap("save")
    compiling = add_plan(model, signature, artifact.rows_of(newest), folder / "plan", Path(request.cache))
    print(f"served as a compiled plan: {compiling or 'yes'}", flush=True)
    clock.lap("compile")
    evaluation = Evaluation(
        estimator=described(estimator),
        parameters=_parameters(estimator),
        seeded=seeded,
        weights=trial.weights,
        rows=len(rows.features),
        holdout=request.holdout,
        scores=trial.scores,
        baseline=trial.baseline,
        importances=trial.importances,
        finite=trial.finite and artifact.is_finite(answers),
        reloads=answers_of(loaded, newest, request.task) == answers,
        refused=golden.refused,
        types=types,
        requirements=pinned(root),
        seconds=clock.seconds,
        compiled=(folder / "plan").is_dir(),
        compiling=compiling,
        averaged=how.averaged,
    )
    (folder / "evaluation.json").write_bytes(msgspec.json.encode(_of_the_fits(evaluation, request.renewed)))
    _keep(trial.holdout, folder)
    (output / "holdout.json").write_bytes(msgspec.json.encode(trial.holdout))


def _of_the_fits(evaluation: Evaluation, older: str) -> Evaluation:
    """With what only the training of an older model knows of its fits: a search may have found their parameters."""
    if not older:
        return evaluation
    before = written(Path(older) / "evaluation.json", Evaluation)
    return replace(
        evaluation, parameters=before.parameters, seeded=before.seeded, weights=before.weights, rows=before.rows
    )


def _keep(holdout: Holdout, folder: Path) -> None:
    """All the answers, for how they are distributed, and the newest rows with theirs, for how good they are."""
    (folder / "answered.json").write_bytes(msgspec.json.encode(holdout.answers))
    (folder / "holdout.json").write_bytes(msgspec.json.encode(holdout.newest(KEPT_ROWS)))


def _tried(request: FitRequest, how: Recipe, rows: _Rows, folder: Path, clock: _Clock) -> _Trial:
    """Fit on the older rows, then score, explain and draw on the newest."""
    old, new = rows.part(slice(None, -request.holdout)), rows.part(slice(-request.holdout, None))
    what = described(how.estimator)
    print(
        f"averaging older fits of {what} anew" if how.ready else f"fitting {what} on {len(old.features):,} rows",
        flush=True,
    )
    model, weights = how.part(slice(None, -request.holdout)).fit(old.features, old.labels)
    clock.lap("fit")
    holdout = _finite_only(
        Holdout(
            rows=tuple(artifact.rows_of(new.features)),
            labels=tuple(new.labels.tolist()),
            answers=answers_of(model, new.features, request.task),
            baseline=_constant(request, old, new.features),
        )
    )
    scores = _scores(request, holdout.labels, holdout.answers)
    baseline = _scores(request, holdout.labels, holdout.baseline)
    print(f"{scores[0].metric} {scores[0].value:.4g}, of a constant prediction {baseline[0].value:.4g}", flush=True)
    clock.lap("score")
    explain.draw(folder / "plot.png", task=request.task, labels=holdout.labels, answers=holdout.answers)
    clock.lap("plot")
    finite = len(holdout.rows) == request.holdout
    importances = (
        explain.importances(
            lambda frame: answers_of(model, frame, request.task),
            new.features,
            holdout.labels,
            metric=batch_metric(request.metric),
            seed=request.seed,
        )
        if finite
        else ()
    )
    clock.lap("importances")
    return _Trial(
        holdout=holdout, scores=scores, baseline=baseline, importances=importances, weights=weights, finite=finite
    )


def _read(request: FitRequest) -> tuple[FitRequest, _Rows, NDArray[np.bool_]]:
    """The labelled rows of the request, and it with as many to hold out as of the newest are left.

    Raises `TrainingError` when they cannot be trained on.
    """
    import pandas as pd

    frame = pd.read_parquet(request.frame)
    weights = np.load(request.weights, allow_pickle=False)
    if len(weights) != len(frame) or not 0 < request.holdout < len(frame):
        raise TrainingError(f"{len(frame)} rows, {len(weights)} weights and a holdout of {request.holdout} do not fit")
    there = np.ones(len(frame), dtype=bool)
    if request.target in frame.columns:
        there = frame[request.target].notna().to_numpy()
    if not there.all():
        print(f"{(~there).sum():,} of {len(there):,} rows have no {request.target!r}: left out", flush=True)
        request = replace(request, holdout=int(there[-request.holdout :].sum()))
        frame, weights = frame[there].reset_index(drop=True), weights[there]
        if not 0 < request.holdout < len(frame):
            raise TrainingError(f"target {request.target!r} is missing in all of the newest rows: label them, or wait")
    labels = labels_of(frame, request.target, request.task)
    older = labels[: -request.holdout]
    if len(pd.unique(older)) < 2:
        raise TrainingError(
            f"target {request.target!r} is {older[:1].tolist()[0]!r} in all {len(older):,} rows to fit on: there is"
            " nothing to tell apart; wait for other data, or correct data.target"
        )
    features = features_of(frame, request.target, request.timestamp, *request.exclude)
    return request, _Rows(features, labels, weights), there


def _limit_threads() -> None:
    """Obey OMP_NUM_THREADS also in a forked child, whose OpenMP had read another value when it was loaded."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        threadpool_limits(int(threads))


def _constant(request: FitRequest, old: _Rows, features: "pd.DataFrame") -> Answers:
    """The best constant: median for mae, mean for other regression metrics, class frequencies for classification."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if request.task == "classification":
        dummy = DummyClassifier(strategy="prior")
    else:
        dummy = DummyRegressor(strategy="median" if request.metric == "mae" else "mean")
    dummy.fit(old.features, old.labels, sample_weight=old.weights)
    return answers_of(dummy, features, request.task)


def _finite_only(holdout: Holdout) -> Holdout:
    """The holdout without rows whose answer is not finite. Raises `TrainingError` when none is left."""
    numbers = [answer if isinstance(answer, float) else 0.0 for answer in holdout.answers.predictions]
    keep = np.isfinite(numbers)
    if holdout.answers.probabilities is not None:
        keep &= np.isfinite(holdout.answers.probabilities).all(axis=1)
    if keep.all():
        return holdout
    if not keep.any():
        raise TrainingError(f"the estimator's answers to all {len(keep)} newest rows are not finite")
    return holdout.part(keep.tolist())


def _scores(request: FitRequest, labels: Sequence[Any], answers: Answers) -> tuple[Score, ...]:
    """Every metric of the task that can be had, the deciding one first."""
    if request.metric in NEEDS_ODDS and answers.probabilities is None:
        raise TrainingError(
            f"monitoring.metric is {request.metric}, and the estimator has no predict_proba: choose error_rate"
        )
    names = sorted(METRICS[request.task], key=lambda name: name != request.metric)
    if answers.probabilities is None:
        names = [name for name in names if name not in NEEDS_ODDS]
    if request.metric != "auc" and (len(answers.classes) != 2 or set(labels) != set(answers.classes)):
        names = [name for name in names if name != "auc"]
    try:
        return tuple(score(name, labels, answers) for name in names)
    except ValueError as error:
        raise TrainingError(f"monitoring.metric {request.metric}: {error}") from error


def _parameters(estimator: Any) -> dict[str, str]:
    """The estimator's parameters as text, without those that are estimators themselves."""
    return {
        name: repr(value)[:250]
        for name, value in sorted(estimator.get_params(deep=True).items())
        if not hasattr(value, "get_params") and not isinstance(value, list | tuple)
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
