"""Records as Dagster metadata and check results: what a person reads in the UI."""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from mlauto.measured import LiveMetrics
from mlauto.monitoring.log.compaction import Compaction
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.render_quality import quality
from mlauto.records import (
    Batch,
    CheckOutcome,
    CiReport,
    Commit,
    Image,
    Score,
    TrainedModel,
    TrainingSet,
    Verdict,
)
from mlauto.store import Store

__all__ = [
    "batch",
    "check",
    "ci_check",
    "ci_report",
    "commit",
    "compaction",
    "details",
    "escaped",
    "expectations",
    "image",
    "live_metrics",
    "model",
    "scores",
    "table",
    "training_set",
]

Metadata = Mapping[str, dg.MetadataValue[Any]]
ROWS = 20
SPECIAL = re.compile(r"[\\|\[\]`*~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word means nothing


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MetadataValue[Any]:
    """A Markdown table of at most 20 rows; cells are escaped, so that data cannot break it."""
    lines = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows[:ROWS]]
    if len(rows) > ROWS:
        lines.append(f"\n{len(rows) - ROWS} more")
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    return escaped(f"{value:.4g}" if isinstance(value, float) else str(value))


def escaped(text: str) -> str:
    """One line of text as Markdown that shows it as it is: no table, link, picture or HTML of its own."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text[:200].split())).replace("&", "&amp;").replace("<", "&lt;")


def _fenced(text: str) -> str:
    """Text as a block of code, whatever fences it holds itself."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def _number(value: float) -> dg.MetadataValue[Any]:
    """A float that Dagster draws over time; the UI's protocol knows no infinity, so that is text."""
    return dg.MetadataValue.float(value) if math.isfinite(value) else dg.MetadataValue.text(str(value))


def check(outcome: CheckOutcome, *, severity: dg.AssetCheckSeverity | None = None) -> dg.AssetCheckResult:
    """A check's outcome; drift only warns."""
    default = dg.AssetCheckSeverity.WARN if outcome.name == "drift" else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        check_name=outcome.name,
        passed=outcome.passed,
        severity=severity or default,
        description=outcome.summary,
        metadata=details(outcome),
    )


def details(outcome: CheckOutcome) -> Metadata:
    """A check's details: numbers as numbers, so that Dagster draws them over time, the rest as JSON text."""
    return {name: _value(value) for name, value in outcome.details.items()}


def _value(value: object) -> dg.MetadataValue[Any]:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return _number(value)
    return dg.MetadataValue.text(value if isinstance(value, str) else json.dumps(value, default=str))


def commit(of: Commit) -> Metadata:
    """Who, what, when."""
    return {
        "commit": dg.MetadataValue.text(of.sha),
        "subject": dg.MetadataValue.text(of.subject),
        "author": dg.MetadataValue.text(of.author),
        "time": dg.MetadataValue.timestamp(of.time),
    }


def ci_report(report: CiReport) -> Metadata:
    """The commit, each command's verdict, and what failed."""
    rows = [
        (r.command, "passed" if r.passed else "FAILED", f"{r.seconds:.1f} s", "" if r.tests is None else r.tests)
        for r in report.results
    ]
    failures = [(r.command, failure) for r in report.results for failure in r.failures]
    shown = {"results": table(("command", "verdict", "time", "tests"), rows)}
    if failures:
        shown["failures"] = table(("command", "failure"), failures)
    if report.image:
        shown["workshop_image"] = dg.MetadataValue.text(report.image)
    return {**commit(report.commit), **shown, "passed": dg.MetadataValue.bool(report.passed)}


def ci_check(report: CiReport, kind: str) -> dg.AssetCheckResult:
    """`lint` or `tests` of one commit, with the output of what failed."""
    results = [r for r in report.results if r.kind == kind]
    failed = [r for r in results if not r.passed]
    said = "; ".join(f"{r.command} failed" for r in failed) or f"{len(results)} commands passed"
    return dg.AssetCheckResult(
        check_name=kind,
        passed=not failed,
        description=said,
        metadata={
            "tests": sum(r.tests or 0 for r in results),
            "output": dg.MetadataValue.md("\n".join(_fenced(r.output[-4000:]) for r in failed)),
        },
    )


def batch(taken: Batch) -> Metadata:
    """The files, the rows, what waits for labels, what is strange, and what Great Expectations found."""
    shown: dict[str, dg.MetadataValue[Any]] = {
        "dagster/row_count": dg.MetadataValue.int(taken.rows),
        "accepted": dg.MetadataValue.bool(taken.accepted),
        "files": table(("file", "bytes", "sha256"), [(f.name, f.size, f.digest[:12]) for f in taken.files]),
    }
    if taken.validation.failures:
        shown["failed_expectations"] = _failures(taken)
    if taken.unlabelled:
        shown["waiting_for_labels"] = dg.MetadataValue.int(taken.unlabelled)
    if taken.warnings:
        shown["warnings"] = table(("warning",), [(warning,) for warning in taken.warnings])
    return shown


def _failures(taken: Batch) -> dg.MetadataValue[Any]:
    return table(
        ("expectation", "column", "expected", "observed", "examples"),
        [
            (f.expectation, f.column or "", f.expected, f.observed, ", ".join(f.examples))
            for f in taken.validation.failures
        ],
    )


def expectations(taken: Batch) -> dg.AssetCheckResult:
    """The blocking check on a batch."""
    validation = taken.validation
    named = ", ".join(sorted({f"{f.expectation}({f.column or ''})" for f in validation.failures}))
    said = validation.problem or (f"failed: {named}" if named else f"{validation.evaluated} expectations hold")
    said = "; ".join([said, *taken.warnings])
    metadata = {"failed_expectations": _failures(taken)} if validation.failures else {}
    return dg.AssetCheckResult(
        check_name="expectations",
        passed=taken.accepted,
        description=said,
        metadata={**metadata, "evaluated": validation.evaluated},
    )


def training_set(assembled: TrainingSet) -> Metadata:
    """How many rows, from which batches, with which weights."""
    newest_first = [(b.key, b.rows, b.weight) for b in reversed(assembled.batches)]
    return {
        "dagster/row_count": dg.MetadataValue.int(assembled.rows),
        "batches": dg.MetadataValue.int(len(assembled.batches)),
        "digest": dg.MetadataValue.text(assembled.digest),
        "weights": table(("batch", "rows", "weight"), newest_first),
    }


def scores(of: Sequence[Score]) -> dg.MetadataValue[Any]:
    """Metrics with their 95 % confidence intervals."""
    return table(
        ("metric", "value", "95 % low", "high", "rows"), [(s.metric, s.value, s.low, s.high, s.rows) for s in of]
    )


def model(trained: TrainedModel, platform: Platform) -> Metadata:
    """Scores, importances, the plot, and the way to the MLflow run."""
    folder = platform.store.tree_path(trained.artifact)
    evaluation = json.loads((folder / "evaluation.json").read_bytes())
    plot = base64.b64encode((folder / "plot.png").read_bytes()).decode()
    importances = evaluation.get("importances", [])
    return {
        "version": dg.MetadataValue.text(trained.version),
        "reason": dg.MetadataValue.text(trained.reason),
        **({"fits_of_version": dg.MetadataValue.text(trained.line)} if trained.renewal else {}),
        "commit": dg.MetadataValue.text(trained.commit.sha),
        "training_set": dg.MetadataValue.text(trained.training_set.digest),
        "dagster/row_count": dg.MetadataValue.int(trained.training_set.rows),
        trained.reference.metric: _number(trained.reference.value),
        "scores": scores(trained.scores),
        "importances": table(("feature", "importance"), [tuple(row)[:2] for row in _pairs(importances)]),
        "plot": dg.MetadataValue.md(f"![plot](data:image/png;base64,{plot})"),
        "mlflow_run": dg.MetadataValue.url(platform.registry.run_url(trained.run_id)),
        "model_card": dg.MetadataValue.md((folder / "card.md").read_text()),
        "served_as": dg.MetadataValue.text(_served_as(evaluation)),
        "random_state": dg.MetadataValue.int(trained.seed),
        **({"workshop_image": dg.MetadataValue.text(trained.image)} if trained.image else {}),
    }


def _served_as(evaluation: dict[str, Any]) -> str:
    reason = evaluation.get("compiling", "")
    if evaluation.get("compiled"):
        return f"compiled plan{f' ({reason})' if reason else ''}"
    return f"scikit-learn, because {reason or 'it was trained before models were compiled'}"


def _pairs(importances: object) -> list[tuple[object, ...]]:
    if isinstance(importances, dict):
        return list(importances.items())
    rows = importances if isinstance(importances, list) else []
    return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows]


def image(built: Image, store: Store) -> Metadata:
    """Where it is and what it holds."""
    bill: Metadata = {"sbom": dg.MetadataValue.path(store.object_path(built.sbom))} if built.sbom else {}
    return {
        **bill,
        "kind": dg.MetadataValue.text(built.kind),
        "digest": dg.MetadataValue.text(built.digest),
        "reference": dg.MetadataValue.path(built.reference),
        "version": dg.MetadataValue.text(built.version),
    }


def live_metrics(metrics: LiveMetrics, verdict: Verdict) -> Metadata:
    """What was measured, as numbers that Dagster draws over time."""
    numbers = {"p50_ms": metrics.p50_ms, "p99_ms": metrics.p99_ms}
    if metrics.quality is not None:
        numbers[metrics.quality.metric] = metrics.quality.value
    if metrics.label_delay is not None:
        numbers |= {"label_delay_s": metrics.label_delay.median, "label_delay_p90_s": metrics.label_delay.p90}
    return {
        "verdict": dg.MetadataValue.text(verdict.status.value),
        "action": dg.MetadataValue.text(verdict.action.value),
        "cause": dg.MetadataValue.text(verdict.cause),
        "kind": dg.MetadataValue.text(verdict.kind.value),
        "version": dg.MetadataValue.text(metrics.version or "none"),
        "requests": dg.MetadataValue.int(metrics.requests),
        "errors": dg.MetadataValue.int(metrics.errors),
        "labelled": dg.MetadataValue.int(metrics.labelled),
        "waiting_for_labels": dg.MetadataValue.int(metrics.waiting),
        **quality(metrics, table),
        **{name: _number(value) for name, value in numbers.items() if value is not None},
    }


def compaction(done: Compaction, folder: Path) -> Metadata:
    """What became of old segments, and where anybody finds them."""
    return {
        "segments": dg.MetadataValue.int(done.segments),
        "dagster/row_count": dg.MetadataValue.int(done.lines),
        "bytes_before": dg.MetadataValue.int(done.bytes_before),
        "bytes_after": dg.MetadataValue.int(done.bytes_after),
        "files": dg.MetadataValue.int(done.files),
        "file_bytes": dg.MetadataValue.int(done.file_bytes),
        "dropped_files": dg.MetadataValue.int(done.dropped),
        "folder": dg.MetadataValue.path(str(folder)),
    }
