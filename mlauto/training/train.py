"""One training from start to record: rows, child process, checks, store, registry.

It may be killed anywhere and called again: the fit is remembered by its key, registration is get-or-create by the same
key, and the records come last.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from mlauto.averaged import Renewal
from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import CheckOutcome, Commit, Signature, TrainedModel, TrainingSet
from mlauto.runtime.process import scrubbed_environment
from mlauto.runtime.workshop import RunPython
from mlauto.serving.plan import walker_file
from mlauto.store import Store
from mlauto.training.card import model_card
from mlauto.training.challenge import ChampionPredict, Split, challenge, split
from mlauto.training.exchange import WRITTEN, Evaluation, FitRequest, Holdout, check_written, written
from mlauto.training.policy import model_key, renewable, renewed_key
from mlauto.training.registry import Registration, Registry
from mlauto.training.request import fit_request
from mlauto.training.search.candidates import Found, SearchPlan
from mlauto.training.search.warm_start import search_plan
from mlauto.training.weighting import members_of

__all__ = ["train"]

FITS = "fits"  # folder of records, one for each key that was ever fitted, registered or not
# Gradient boosting on 2 threads: no gain below 20,000 rows, 1.3 x at 45,000; on a busy machine 4 to 8 x slower.
MANY_ROWS = 50_000
TAIL = 30  # lines of the child's output that go into an error
NOTE = 5000  # characters of the model card shown as the run's description


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What is to be trained, from what, and why."""

    product: ModelProduct
    commit: Commit
    training_set: TrainingSet
    key: str
    image: str
    reason: str
    now: float
    search: SearchPlan | None
    renewal: Renewal | None = None


def train(
    product: ModelProduct,
    commit: Commit,
    tree_dir: Path,
    training_set: TrainingSet,
    *,
    store: Store,
    registry: Registry,
    run_python: RunPython,
    environment: str,
    champion_predict: ChampionPredict | None,
    champion: TrainedModel | None,
    reason: str,
    now: float,
    image: str = "",
    address: str = "",
    lag: int = 0,
    renew: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> TrainedModel:
    """Fit, check, store, register and record one model; to `renew` is to average the champion's fits anew instead.

    `tree_dir` is the export of `commit`; `champion_predict` asks the live champion for rows (JSON values): one label or
    number per row, and a classifier's probabilities in the order of its signature's classes. The records
    are `model` and `models/<version>`. A model whose checks fail is registered and recorded too: look at `passed`.
    `environment` is the digest of what `run_python` runs on, `image` the id of its image; `address` that of the engine
    that `training.backend` names; labels come `lag` batches late.

    A key that was fitted before is not fitted again. Raises `TrainingError` with the child's last lines when
    the team's code fails or takes too long, and `DataError` or `StoreError` when the training set cannot be read.
    """
    task = _Task(
        product=product,
        commit=commit,
        training_set=training_set,
        key=model_key(commit.tree, training_set, product, environment),
        image=image,
        reason=reason,
        now=now,
        search=search_plan(product, champion, store),
    )
    task = _renewing(task, champion, environment, store) if renew else task
    # the registry's imports and database are made ready while the child computes
    with ThreadPoolExecutor(1, thread_name_prefix="registry") as pool:
        ready = pool.submit(registry.prepare)
        fitted = _remembered(task, store)
        if fitted is None:
            rows = split(training_set, champion.training_set if champion else None)
            with _scratch(store) as scratch:
                given = (product, training_set, rows.holdout, store, scratch)
                request = fit_request(*given, tree=tree_dir, champion=champion, lag=lag, renew=renew)
                request = replace(request, backend=product.training.backend, address=address, search=task.search)
                _run(task, request, store, run_python, on_line)
                checks = _challenged(task, scratch, rows, champion, champion_predict)
                fitted = _stored(task, scratch / "artifact", checks, store)
        ready.result()
    return _registered(product, fitted, store, registry)


def _renewing(task: _Task, champion: TrainedModel | None, environment: str, store: Store) -> _Task:
    """The same for a model that is made of the champion's fits. Raises `TrainingError` where it cannot be."""
    known = task.training_set
    if champion is None or champion.commit.tree != task.commit.tree or not renewable(champion, known):
        raise TrainingError(
            "the live version's fits cannot be averaged anew: there is none of this code, or no new rows"
        )
    newest = store.read_record(task.product.name, "model", TrainedModel)
    attempted = (newest or champion).attempted
    return replace(
        task,
        search=None,
        training_set=champion.training_set,
        key=renewed_key(model_key(task.commit.tree, champion.training_set, task.product, environment), known.digest),
        renewal=Renewal(line=champion.line, training_set=known.digest, attempted=tuple(sorted(attempted))),
    )


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = store.scratch("training")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remembered(task: _Task, store: Store) -> TrainedModel | None:
    """The fit of this key, when there was one and its artifact is still there."""
    found = store.read_record(task.product.name, f"{FITS}/{task.key}", TrainedModel)
    return found if found and store.holds_tree(found.artifact) else None


def _run(
    task: _Task,
    request: FitRequest,
    store: Store,
    run_python: RunPython,
    on_line: Callable[[str], None] | None,
) -> None:
    """Run the child. Raises `TrainingError` with its reason and its last lines unless everything was written."""
    scratch = Path(request.output)
    (scratch / "request.json").write_bytes(msgspec.json.encode(request))
    environment = scrubbed_environment(
        HOME=str(scratch),
        OMP_NUM_THREADS=str(1 if task.training_set.rows < MANY_ROWS else len(os.sched_getaffinity(0))),
        # kept between trainings: building the font cache costs half a second
        MPLCONFIGDIR=str(store.home / "cache" / "matplotlib"),
    )
    limit = task.product.training.timeout
    models = dict.fromkeys([request.renewed, *(one.model for one in request.unseen)])
    walker_file.compiled(Path(request.cache))  # here: where the child runs there may be no compiler
    ended = run_python(
        "mlauto.training.fit",
        scratch / "request.json",
        cwd=scratch,
        env=environment,
        timeout=limit,
        on_line=on_line,
        reads=[Path(request.cache), *(Path(model) for model in models if model)],
        fetch=WRITTEN,
    )
    if ended.timed_out:
        raise TrainingError(f"training took longer than {limit:g} s: raise training.timeout, or make the model smaller")
    check_written(scratch)
    if ended.exit_code == 0 and (scratch / "holdout.json").exists():
        return
    lines = ended.output.strip().splitlines()
    failure = scratch / "error.json"
    if ended.why:
        why = f"the training was stopped: {ended.why}"
    elif failure.exists():
        why = written(failure, dict[str, str])["error"]
        lines = lines[:-1]  # which says the same
    else:
        why = f"the training process ended with exit code {ended.exit_code} and wrote no model"
    raise TrainingError("\n".join([why, *lines[-TAIL:]]))


def _challenged(
    task: _Task,
    scratch: Path,
    rows: Split,
    champion: TrainedModel | None,
    champion_predict: ChampionPredict | None,
) -> tuple[CheckOutcome, ...]:
    """The candidate's checks, from what the child wrote."""
    holdout = written(scratch / "holdout.json", Holdout)
    evaluation, signature = _written(scratch / "artifact")
    return challenge(
        task.product,
        evaluation,
        holdout,
        signature,
        rows=rows,
        champion=champion,
        champion_predict=champion_predict,
        new_code=champion is not None and champion.commit.tree != task.commit.tree,
    )


def _stored(task: _Task, folder: Path, checks: tuple[CheckOutcome, ...], store: Store) -> TrainedModel:
    """The artifact moved into the store, and the fit remembered; version and run are still empty."""
    evaluation, signature = _written(folder)
    search = folder / "search.json"
    card = model_card(
        task.product,
        commit=task.commit,
        training_set=task.training_set,
        evaluation=evaluation,
        checks=checks,
        key=task.key,
        reason=task.reason,
        trained=task.now,
        searched=written(search, Found).summary if search.exists() else "",
        line=task.renewal.line if task.renewal else "",
    )
    (folder / "card.md").write_text(card)
    model = TrainedModel(
        version="",
        key=task.key,
        artifact=store.put_tree(folder),
        commit=task.commit,
        training_set=task.training_set,
        run_id="",
        signature=signature,
        reference=evaluation.scores[0],
        scores=evaluation.scores,
        checks=checks,
        seed=task.product.training.seed,
        reason=task.reason,
        trained=task.now,
        image=task.image,
        averaged=evaluation.averaged,
        renewal=task.renewal,
    )
    store.write_record(task.product.name, f"{FITS}/{task.key}", model)
    return model


def _registered(product: ModelProduct, fitted: TrainedModel, store: Store, registry: Registry) -> TrainedModel:
    """Register the fit, then write the records."""
    folder = store.tree_path(fitted.artifact)
    evaluation, _ = _written(folder)
    place = registry.register(
        Registration(
            product=product.name,
            key=fitted.key,
            artifact=folder,
            signature=fitted.signature,
            parameters=_parameters(product, evaluation),
            metrics=_metrics(evaluation),
            tags=_tags(fitted, (folder / "card.md").read_text()),
            dataset=fitted.training_set.digest,
            rows=evaluation.rows,
            requirements=evaluation.requirements,
            types=evaluation.types,
            passed=fitted.passed,
            trained=fitted.trained,
        )
    )
    before = store.read_record(product.name, "model", TrainedModel)
    model = replace(fitted, version=place.version, run_id=place.run_id, trainings=_trainings(fitted, before))
    store.write_record(product.name, f"models/{model.version}", model)
    store.write_record(product.name, "model", model)
    return model


def _trainings(model: TrainedModel, before: TrainedModel | None) -> int:
    """How many trainings new data has caused so far; new code and first models are not what a policy's budget pays."""
    if before is None:
        return 0
    if model.renewal is not None:
        return before.trainings
    new_data = before.attempted != model.attempted and before.commit.tree == model.commit.tree
    return before.trainings + new_data


def _parameters(product: ModelProduct, evaluation: Evaluation) -> dict[str, str]:
    shares = evaluation.averaged
    return {
        "estimator": product.code.estimator,
        "seed": str(product.training.seed),
        "history": "; ".join(str(member.history) for member in members_of(product.training)),
        **({"shares": "; ".join(f"{share:.3f}" for share in shares.shares)} if shares else {}),
        **({"correction": f"{shares.amount:.4g}"} if shares else {}),
        "rows": str(evaluation.rows),
        "holdout": str(evaluation.holdout),
        "sample_weight": evaluation.weights,
        **evaluation.parameters,
    }


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    """Each score with its interval, and the constant prediction's beside it."""
    found: dict[str, float] = {}
    for score in evaluation.scores:
        found |= {score.metric: score.value, f"{score.metric}_low": score.low, f"{score.metric}_high": score.high}
    return found | {f"baseline_{score.metric}": score.value for score in evaluation.baseline}


def _tags(model: TrainedModel, card: str) -> dict[str, str]:
    return {
        "mlauto.commit": model.commit.sha,
        **({"mlauto.workshop_image": model.image} if model.image else {}),
        **({"mlauto.renews": model.renewal.line} if model.renewal else {}),
        "mlauto.tree": model.commit.tree,
        "mlauto.training_set": model.training_set.digest,
        "mlauto.artifact": model.artifact,
        "mlauto.reason": model.reason,
        "mlauto.checks": "passed" if model.passed else "failed",
        "mlflow.source.git.commit": model.commit.sha,
        "mlflow.note.content": card[:NOTE],
    }


def _written(folder: Path) -> tuple[Evaluation, Signature]:
    """What the child wrote about the model."""
    return written(folder / "evaluation.json", Evaluation), written(folder / "signature.json", Signature)
