"""`mlauto why PREDICTION_ID`: everything that a prediction came from, out of the prediction log and the records."""

import datetime
from dataclasses import dataclass
from typing import Any

from mlauto.errors import MlautoError
from mlauto.monitoring.log.reading import find_label, find_prediction, segment_of
from mlauto.orchestration.proofs import watch_told
from mlauto.records import Batch, BatchWeight, Commit, Image, Score, TrainedModel
from mlauto.settings import Settings
from mlauto.store import Store

__all__ = ["BatchOrigin", "Explanation", "explain", "render"]

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class BatchOrigin:
    """A batch of the training set and what Great Expectations said of it; `validated`: None if its record is gone."""

    key: str
    digest: str
    rows: int
    weight: float
    files: tuple[str, ...]
    validated: bool | None
    expectations: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One prediction and its origin. `batches` lists the newest ones, `batch_count` counts all."""

    prediction_id: str
    product: str
    answered: float
    milliseconds: float | None
    rows: tuple[dict[str, Any], ...]
    predictions: tuple[Any, ...]
    labels: tuple[Any, ...] | None
    problem: str | None
    client_id: str | None
    version: str | None
    commit: Commit | None = None
    data_digest: str | None = None
    batch_count: int = 0
    batches: tuple[BatchOrigin, ...] = ()
    mlflow_run: str | None = None
    trained: float | None = None
    reason: str | None = None
    reference: Score | None = None
    image_kind: str | None = None
    image_digest: str | None = None
    dagster_run: str | None = None
    watch: str | None = None


def explain(settings: Settings, prediction_id: str) -> Explanation:
    """Where a prediction came from. Raises `MlautoError` when no product's log has that id."""
    if segment_of(prediction_id) is None:
        raise MlautoError(
            f"{prediction_id!r} is no prediction id: they look like 00000001-0000002a-9f3c and come in the answer's"
            " `id` and in the header x-prediction-id"
        )
    base = settings.home / "products"
    for folder in sorted(base.glob("*/predictions")):
        found = find_prediction(folder, prediction_id)
        if found is None:
            continue
        label = find_label(folder, prediction_id)
        product = folder.parent.name
        return Explanation(
            prediction_id=prediction_id,
            product=product,
            answered=found.t,
            milliseconds=found.ms,
            rows=tuple(found.parsed_rows()),
            predictions=tuple(found.y or ()),
            labels=tuple(label.y) if label else None,
            problem=found.error,
            client_id=found.client_id,
            version=found.v,
            **(_origin(Store(settings.home), product, found.v) if found.v else {}),
        )
    raise MlautoError(
        f"no product's prediction log in {base} has {prediction_id}: it was never given, or its segment was dropped"
    )


def _origin(store: Store, product: str, version: str) -> dict[str, Any]:
    """What the records say of a version; nothing for a version whose records are gone."""
    origin: dict[str, Any] = {}
    model = store.read_record(product, f"models/{version}", TrainedModel)
    if model is not None:
        weights = model.training_set.batches
        origin = {
            "commit": model.commit,
            "data_digest": model.training_set.digest,
            "batch_count": len(weights),
            "batches": tuple(_batch(store, product, weighted) for weighted in reversed(weights[-SHOWN:])),
            "mlflow_run": model.run_id,
            "trained": model.trained,
            "reason": model.reason,
            "reference": model.reference,
        }
    image = store.read_record(product, f"images/{version}", Image)
    if image is not None:
        origin |= {"image_kind": image.kind, "image_digest": image.digest}
    run = store.read_record(product, f"runs/{version}", dict)
    if run is not None:
        origin["dagster_run"] = run.get("run_id")
    return origin | {"watch": watch_told(store, product, version)}


def _batch(store: Store, product: str, weighted: BatchWeight) -> BatchOrigin:
    record = store.read_record(product, f"batches/{weighted.key}", Batch)
    return BatchOrigin(
        key=weighted.key,
        digest=weighted.digest,
        rows=weighted.rows,
        weight=weighted.weight,
        files=tuple(file.name for file in record.files) if record else (),
        validated=record.validation.passed if record else None,
        expectations=record.validation.evaluated if record else 0,
    )


def render(explanation: Explanation) -> Any:
    """The explanation as something that rich prints."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(explanation):
        table.add_row(name, escape(text))
    return table


def _lines(found: Explanation) -> list[tuple[str, str]]:
    when = _time(found.answered) + (f", {found.milliseconds:.1f} ms" if found.milliseconds is not None else "")
    lines = [("prediction", found.prediction_id), ("product", found.product), ("answered", when)]
    if found.client_id:
        lines.append(("client's id", found.client_id))
    if found.problem:
        lines.append(("failed", found.problem))
    for number, row in enumerate(found.rows[:3]):
        answer = f" -> {found.predictions[number]}" if number < len(found.predictions) else ""
        truth = f" (truth: {found.labels[number]})" if found.labels and number < len(found.labels) else ""
        lines.append(("row", ", ".join(f"{name}={value}" for name, value in row.items()) + answer + truth))
    if len(found.rows) > 3:
        lines.append(("", f"and {len(found.rows) - 3} more rows"))
    lines.append(("version", found.version or "none answered"))
    if found.commit:
        lines.append(("commit", f"{found.commit.sha} {found.commit.subject} ({found.commit.author})"))
    if found.data_digest:
        lines.append(
            ("data", f"{found.data_digest}, {found.batch_count} {'batch' if found.batch_count == 1 else 'batches'}")
        )
    lines += [("batch", _batch_line(batch)) for batch in found.batches]
    if found.reference and found.trained is not None:
        score = found.reference
        quality = f"{score.metric} {score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"
        lines.append(("trained", f"{_time(found.trained)}, {found.reason}, {quality}"))
    lines += [
        (name, value)
        for name, value in (
            ("MLflow", found.mlflow_run and f"run {found.mlflow_run}, {found.product} version {found.version}"),
            (found.image_kind or "image", found.image_digest),
            ("Dagster run", found.dagster_run),
            ("watch", found.watch),
        )
        if value
    ]
    return lines


def _batch_line(batch: BatchOrigin) -> str:
    verdicts = {True: "passed", False: "failed", None: "record gone"}
    expectations = f"Great Expectations {verdicts[batch.validated]} ({batch.expectations} expectations)"
    return f"{batch.key} ({', '.join(batch.files[:3])}), {batch.rows:,} rows, weight {batch.weight:.3g}, {expectations}"


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).isoformat(sep=" ", timespec="seconds")
