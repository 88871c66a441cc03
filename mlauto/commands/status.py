"""`mlauto status`: the newest state of each product, from its records. Needs neither server nor Dagster."""

import heapq
import os
import time
from dataclasses import dataclass
from typing import Any

from mlauto.commands.incident_lines import incident_lines, span
from mlauto.commands.quality_lines import quality_lines
from mlauto.delivery.decisions import newer, rejection
from mlauto.delivery.progress import Rollout, Stage
from mlauto.delivery.stages import current_rollout
from mlauto.measured import LiveMetrics
from mlauto.monitoring.incidents import Incident, open_incident
from mlauto.orchestration.proofs import watch_told
from mlauto.records import (
    Batch,
    CiReport,
    Commit,
    Deployment,
    Image,
    Problem,
    Score,
    TrainedModel,
    TrainingSet,
    Verdict,
    VerifiedCommit,
)
from mlauto.settings import Settings
from mlauto.store import Store

__all__ = ["DataState", "ModelState", "ProductStatus", "Quarantined", "RedCommit", "render", "status_of"]

SHOWN = 10  # quarantined batches that are listed
NEWEST = 3  # batches whose warnings are listed
COLOURS = {"healthy": "green", "degraded": "red", "unknown": "yellow", "error": "red"}


@dataclass(frozen=True, kw_only=True)
class RedCommit:
    """The newest commit that was tested and did not pass; `failed` are the commands."""

    sha: str
    subject: str
    failed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DataState:
    """What the next model would be fitted on."""

    digest: str
    batches: int
    rows: int
    newest: str | None


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """The newest model; `failed` are the checks that keep it from production, `problems` what they say.

    `rolled_back` says why it left production.
    """

    version: str
    trained: float
    reason: str
    run_id: str
    commit: str
    reference: Score
    failed: tuple[str, ...]
    problems: tuple[str, ...] = ()
    rolled_back: str | None = None


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A rejected arrival and why."""

    key: str
    arrived: float
    files: tuple[str, ...]
    reasons: tuple[str, ...]
    folder: str


@dataclass(frozen=True, kw_only=True)
class ProductStatus:
    """One product's newest records; None where nothing has happened yet. `rollout` may have ended.

    `warnings` are what is strange about the newest three batches: rows that wait for labels, times that go back.
    `watch`: what the rows have proven that its version and the one before predicted both. `follows`: the version that
    was verified meanwhile, and is rolled out after it.
    """

    product: str
    commit: Commit | None
    red_commit: RedCommit | None
    data: DataState | None
    model: ModelState | None
    image: Image | None
    production: Deployment | None
    rollout: Rollout | None
    verdict: Verdict | None
    metrics: LiveMetrics | None
    incident: Incident | None
    problems: tuple[Problem, ...]
    quarantined: tuple[Quarantined, ...]
    warnings: tuple[str, ...] = ()
    watch: str | None = None
    follows: str | None = None


def status_of(settings: Settings, product: str) -> ProductStatus:
    """The state of one product. Raises `StoreError` naming a record that does not parse."""
    store = Store(settings.home)
    verified = store.read_record(product, "verified_commit", VerifiedCommit)
    rollout = current_rollout(product, store)
    return ProductStatus(
        product=product,
        commit=verified.commit if verified else None,
        red_commit=_red_commit(store, product),
        data=_data(store, product),
        model=_model(store, product),
        image=store.read_record(product, "image", Image),
        production=store.read_record(product, "production", Deployment),
        rollout=rollout,
        verdict=store.read_record(product, "verdict", Verdict),
        metrics=store.read_record(product, "live_metrics", LiveMetrics),
        incident=open_incident(store, product),
        problems=_problems(store, product),
        quarantined=_quarantined(settings, store, product),
        warnings=_warnings(store, product),
        watch=watch_told(store, product),
        follows=_follows(store, product, rollout),
    )


def _follows(store: Store, product: str, rollout: Rollout | None) -> str | None:
    test = store.read_record(product, "test_deployment", Deployment)
    if test is None or rollout is None or not rollout.under_way or not newer(test.version, rollout.version):
        return None
    return test.version if all(check.passed for check in test.checks) else None


def _problems(store: Store, product: str) -> tuple[Problem, ...]:
    found = [
        store.read_record(product, f"problems/{name}", Problem) for name in store.record_names(product, "problems")
    ]
    return tuple(sorted((problem for problem in found if problem is not None), key=lambda problem: problem.since))


def _red_commit(store: Store, product: str) -> RedCommit | None:
    newest = _newest(store.record_path(product, "reports").with_suffix(""), 1)
    report = store.read_record(product, f"reports/{newest[0].removesuffix('.json')}", CiReport) if newest else None
    if report is None or report.passed:
        return None
    failed = tuple(result.command for result in report.results if not result.passed)
    return RedCommit(sha=report.commit.sha, subject=report.commit.subject, failed=failed)


def _data(store: Store, product: str) -> DataState | None:
    found = store.read_record(product, "training_set", TrainingSet)
    if found is None:
        return None
    newest = found.batches[-1].key if found.batches else None
    return DataState(digest=found.digest, batches=len(found.batches), rows=found.rows, newest=newest)


def _model(store: Store, product: str) -> ModelState | None:
    found = store.read_record(product, "model", TrainedModel)
    if found is None:
        return None
    rejected = rejection(product, found.version, store)
    return ModelState(
        version=found.version,
        trained=found.trained,
        reason=found.reason,
        run_id=found.run_id,
        commit=found.commit.sha,
        reference=found.reference,
        failed=tuple(check.name for check in found.checks if not check.passed),
        problems=tuple(f"{check.name}: {check.summary}" for check in found.checks if not check.passed),
        rolled_back=rejected.reason if rejected else None,
    )


def _quarantined(settings: Settings, store: Store, product: str) -> tuple[Quarantined, ...]:
    folder = settings.product_home(product) / "quarantine"
    found = []
    for key in _newest(folder, SHOWN):
        batch = store.read_record(product, f"batches/{key}", Batch)
        if batch is None:  # its run was killed between moving the files and writing the record
            continue
        reasons = [f"{f.column or 'table'}: {f.expectation}" for f in batch.validation.failures]
        if batch.validation.problem:
            reasons.insert(0, batch.validation.problem)
        found.append(
            Quarantined(
                key=key,
                arrived=batch.arrived,
                files=tuple(file.name for file in batch.files),
                reasons=tuple(reasons),
                folder=str(folder / key),
            )
        )
    return tuple(found)


def _warnings(store: Store, product: str) -> tuple[str, ...]:
    found = []
    for name in _newest(store.record_path(product, "batches").with_suffix(""), NEWEST):
        batch = store.read_record(product, f"batches/{name.removesuffix('.json')}", Batch)
        found += [f"{batch.key}: {warning}" for warning in batch.warnings] if batch else []
    return tuple(found)


def _newest(folder: "os.PathLike[str]", count: int) -> list[str]:
    """Names in a folder, newest change first; hidden ones (writes in progress) do not count."""
    try:
        with os.scandir(folder) as entries:
            dated = [(entry.stat().st_mtime_ns, entry.name) for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    return [name for _, name in heapq.nlargest(count, dated)]


def render(status: ProductStatus, now: float | None = None) -> Any:
    """The status as something that rich prints."""
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(status, time.time() if now is None else now):
        table.add_row(name, escape(text))
    colour = COLOURS.get(status.verdict.status.value, "dim") if status.verdict else "dim"
    return Panel(table, title=f"[bold]{escape(status.product)}[/]", title_align="left", border_style=colour)


def _lines(status: ProductStatus, now: float) -> list[tuple[str, str]]:
    nothing = "none yet"
    commit, data, model, image = status.commit, status.data, status.model, status.image
    production, verdict = status.production, status.verdict
    lines = [("commit", f"{commit.sha[:12]} {commit.subject}" if commit else nothing)]
    if status.red_commit:
        red = status.red_commit
        lines.append(("red commit", f"{red.sha[:12]} {red.subject} (failed: {', '.join(red.failed)})"))
    lines.append(
        (
            "data",
            f"{_count(data.batches, 'batch', 'batches')}, {data.rows:,} rows, {data.digest[:12]}" if data else nothing,
        )
    )
    lines.append(("model", _model_line(model, now) if model else nothing))
    lines.append(("image", f"{image.kind} {image.digest[:12]} of version {image.version}" if image else nothing))
    if production:
        spare = f", fallback {production.fallback}" if production.fallback else ""
        lines.append(("production", f"version {production.version} since {_ago(now - production.since)}{spare}"))
    else:
        lines.append(("production", nothing))
    rollout = status.rollout
    if rollout is not None and rollout.stage is not Stage.PROMOTED and rollout.why:
        after = f"; version {status.follows} is verified, and next" if status.follows else ""
        lines.append(("rollout", f"{rollout.told}, {_ago(now - rollout.since)}{after}"))
    lines += [("watch", status.watch)] if status.watch else []
    lines.append(("verdict", f"{verdict.status}: {verdict.cause} (action: {verdict.action})" if verdict else nothing))
    if status.metrics:
        lines.append(("labels", _labels_line(status.metrics)))
        lines += quality_lines(status.metrics)
    if status.incident:
        lines += incident_lines(status.incident, now)
    lines += [("problem", f"{bad.where}, since {_ago(now - bad.since)}: {bad.text}") for bad in status.problems]
    lines += [("batch", warning) for warning in status.warnings]
    for batch in status.quarantined:
        why = "; ".join(batch.reasons[:3]) or "see reason.json"
        lines.append(("quarantined", f"{batch.key} ({', '.join(batch.files[:3])}): {why}"))
    return lines


def _labels_line(metrics: LiveMetrics) -> str:
    delay = metrics.label_delay
    late = f"{span(delay.median)} after the prediction, 90 % within {span(delay.p90)}" if delay else "none yet"
    return f"{late}; {_count(metrics.waiting, 'prediction waits', 'predictions wait')} for one"


def _model_line(model: ModelState, now: float) -> str:
    score = model.reference
    failed = f", kept from production by {'; '.join(model.problems)}" if model.problems else ""
    back = f", rolled back: {model.rolled_back}" if model.rolled_back is not None else ""
    quality = f"{score.metric} {score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"
    return f"version {model.version}, {quality}, {model.reason}, {_ago(now - model.trained)}{failed}{back}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _ago(seconds: float) -> str:
    return f"{span(seconds)} ago"
