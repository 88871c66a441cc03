"""From live metrics to a verdict. Pure: no clock, no client; the same function decides live and in a backtest."""

import math
from dataclasses import dataclass, replace
from typing import Any

from mlauto.measured import LiveMetrics
from mlauto.monitoring.drift.words import sentence
from mlauto.monitoring.scores import HIGHER, better
from mlauto.product import ModelProduct
from mlauto.records import Action, CheckOutcome, Score, Status, Verdict

__all__ = ["Limits", "failed_checks", "is_full", "judge", "label_fault", "proven"]

ABSOLUTE = frozenset({"error_rate", "r2", "auc"})  # their scale is known, so a tolerance needs no unit
TOLD = 5  # findings in a sentence
FULL_WINDOW = 0.9  # of the window's rows: some labels never come
FEWEST_REQUESTS = 50  # a few cold requests after a rollout are no verdict on latency


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a product's YAML says about when its live version is good enough."""

    tolerance: float
    min_labels: int
    p99_ms: float
    error_rate: float
    stale_after: float

    @classmethod
    def of(cls, product: ModelProduct) -> "Limits":
        """The limits of a product."""
        monitoring = product.monitoring
        return cls(
            tolerance=product.tolerance,
            min_labels=monitoring.min_labels,
            p99_ms=monitoring.slo.p99_ms,
            error_rate=monitoring.slo.error_rate,
            stale_after=monitoring.stale_after,
        )


def judge(metrics: LiveMetrics, reference: Score | None, limits: Limits, now: float) -> Verdict:
    """The verdict on `metrics`, given the version's quality on rows it was not fitted on; triage adds the action.

    `degraded` needs evidence: a loss beyond the tolerance that the detector has proven (`monitoring/quality`) and that
    the present window still shows, so that a recovery ends it; or a service level that is missed beyond chance.
    Without traffic, enough labels or the service level's source the status is `unknown`, never healthy; where nothing
    could be measured it is `error`.
    """
    performance, quality_known = _performance(metrics, reference, limits)
    available = _data_available(metrics, limits, now)
    fault = label_fault(metrics, failed=not performance.passed)
    if fault:  # what such labels say of the model is nothing: it passes, and people are told
        performance = replace(performance, passed=True, summary=f"no verdict: {fault}")
        available = replace(available, passed=False, summary=fault) if available.passed else available
    checks = (performance, _service_level(metrics, limits), available, _drift(metrics))
    if metrics.problem is not None and metrics.version is not None:
        status, cause = Status.ERROR, metrics.problem
    elif metrics.service_problem is not None:  # bad quality, too, waits: a new model's own service would go unseen
        status, cause = Status.UNKNOWN, _also(metrics.service_problem, performance)
    elif failed := [check for check in checks[:2] if not check.passed]:
        status, cause = Status.DEGRADED, "; ".join(check.summary for check in failed)
    elif not checks[2].passed:
        status, cause = Status.UNKNOWN, checks[2].summary
    elif not quality_known:
        status, cause = Status.UNKNOWN, performance.summary
    else:
        status, cause = Status.HEALTHY, performance.summary
    doubtful = status is Status.HEALTHY and quality_known and _may_be_proven(metrics)
    return Verdict(status=status, action=Action.NONE, cause=cause, checks=checks, doubtful=doubtful)


def _also(problem: str, performance: CheckOutcome) -> str:
    return problem if performance.passed else f"{problem}; meanwhile {performance.summary}"


def label_fault(metrics: LiveMetrics, *, failed: bool) -> str:
    """Why the labels are not to be trusted, "" where they are; odd ones only count where they speak against a model."""
    return metrics.labels_stopped or (metrics.labels_odd if failed else None) or ""


def failed_checks(verdict: Verdict) -> frozenset[str]:
    """Names of the checks that failed."""
    return frozenset(check.name for check in verdict.checks if not check.passed)


def is_full(labelled: int, window: int) -> bool:
    """Whether that many labelled rows are a whole window: the first such one is a version's own start."""
    return labelled >= FULL_WINDOW * window


def proven(trained: Score, start: Score | None) -> Score:
    """What a version has shown it can do: on training's holdout, or in its first full live window, if that is better.

    A model fitted in the middle of a change has a poor holdout; measured by that alone it could never be found wanting.
    """
    if start is None or start.metric != trained.metric:
        return trained
    if start.metric == "auc" and start.low < trained.low:
        return trained  # few rows of a class score high by luck, and their wide interval would excuse any loss
    return start if better(start.metric, start.value, trained.value) else trained


def _performance(metrics: LiveMetrics, reference: Score | None, limits: Limits) -> tuple[CheckOutcome, bool]:
    """The check, and whether quality could be judged at all. No verdict is a pass, so that it never retrains."""
    live = metrics.quality
    details: dict[str, Any] = {"labelled": metrics.labelled, "min_labels": limits.min_labels}
    if metrics.labelled < limits.min_labels or live is None:
        sentence = f"no verdict: {metrics.labelled} of {limits.min_labels} labels"
        if metrics.labelled >= limits.min_labels:
            sentence = "no verdict: the metric is undefined on these labels"
        return CheckOutcome(name="performance", passed=True, summary=sentence, details=details), False
    if reference is None or reference.metric != live.metric:
        has = f"its reference is {reference.metric}" if reference else "it has no reference"
        sentence = f"no verdict: version {metrics.version} is measured by {live.metric} and {has}; train it again"
        return CheckOutcome(name="performance", passed=True, summary=sentence, details=details), False
    if metrics.detection is None:
        sentence = (
            f"no verdict: nothing tests {live.metric} against its reference; train version {metrics.version} again"
        )
        return CheckOutcome(name="performance", passed=True, summary=sentence, details=details), False
    limit = _limit(reference, limits.tolerance)
    beyond = better(live.metric, limit, live.value)
    degraded = beyond and metrics.detection.alarmed
    word = "within" if not beyond else "beyond" if degraded else "beyond, not yet provably,"
    summary = (
        f"{live.metric} {live.value:.4g} [{live.low:.4g}, {live.high:.4g}] on {live.rows} labels is {word}"
        f" the limit {limit:.4g} (reference {reference.value:.4g})"
    )
    if worse := [one.segment for one in metrics.segments if one.detection.alarmed]:
        summary += f"; proven worse where {', '.join(worse[:5])}, which is shown and not acted upon"
    details |= {live.metric: live.value, "low": live.low, "high": live.high, "limit": limit}
    details |= {"reference": reference.value} | _evidence(metrics)
    return CheckOutcome(name="performance", passed=not degraded, summary=summary, details=details), True


def _may_be_proven(metrics: LiveMetrics) -> bool:
    """Whether quality is beyond the limit that is tested: the reference's own uncertainty makes that a wider one."""
    live, tested = metrics.quality, metrics.detection
    return live is not None and tested is not None and better(live.metric, tested.limit, live.value)


def _evidence(metrics: LiveMetrics) -> dict[str, Any]:
    """What the sequential detectors have found; "worse" is not acted upon."""
    told: dict[str, Any] = {}
    if (beyond := metrics.detection) is not None:
        told |= {"e_value": beyond.e_value, "proven_at": beyond.threshold, "tested_limit": beyond.limit}
    if (worse := metrics.worse) is not None:
        told |= {"worse_than_reference": worse.alarmed, "e_value_worse": worse.e_value}
    return told


def _limit(reference: Score, tolerance: float) -> float:
    """The worst value that is tolerated: absolute for error_rate, r2 and auc, else relative to the reference."""
    loss = tolerance if reference.metric in ABSOLUTE else tolerance * abs(reference.value)
    return reference.value - loss if reference.metric in HIGHER else reference.value + loss


def _service_level(metrics: LiveMetrics, limits: Limits) -> CheckOutcome:
    """Errors and latency, each failed only when chance does not explain that the objective was missed."""
    if metrics.service_problem is not None:
        return CheckOutcome(name="service_level", passed=False, summary=f"unknown: {metrics.service_problem}")
    if not metrics.requests:
        return CheckOutcome(name="service_level", passed=True, summary="no verdict: no requests")
    rate = metrics.errors / metrics.requests
    too_many = _chance(metrics.errors, metrics.requests, limits.error_rate) < 0.025
    p99 = metrics.p99_ms
    least = p99 if metrics.p99_low_ms is None else metrics.p99_low_ms
    slow = least is not None and metrics.requests - metrics.errors >= FEWEST_REQUESTS and least > limits.p99_ms
    latency = "no latency" if p99 is None else f"p99 {p99:.1f} ms (objective {limits.p99_ms:g})"
    summary = f"{metrics.errors} of {metrics.requests} requests failed (objective {limits.error_rate:.3%}), {latency}"
    details: dict[str, Any] = {"requests": metrics.requests, "errors": metrics.errors, "error_rate": rate}
    details["source"] = metrics.service
    figures = (("p50_ms", metrics.p50_ms), ("p99_ms", p99), ("saturation", metrics.saturation))
    details |= {name: value for name, value in figures if value is not None}
    return CheckOutcome(name="service_level", passed=not (too_many or slow), summary=summary, details=details)


def _chance(errors: int, requests: int, rate: float) -> float:
    """How likely so many errors or more are when the true rate is `rate`: the exact binomial tail."""
    if errors == 0 or rate >= 1:
        return 1.0
    if rate <= 0:
        return 0.0
    fewer = (
        math.exp(
            math.lgamma(requests + 1)
            - math.lgamma(count + 1)
            - math.lgamma(requests - count + 1)
            + count * math.log(rate)
            + (requests - count) * math.log1p(-rate)
        )
        for count in range(errors)
    )
    return 1.0 - sum(fewer)


def _data_available(metrics: LiveMetrics, limits: Limits, now: float) -> CheckOutcome:
    """Passed when there is a live version, it could be measured, and somebody asked it lately."""
    if metrics.problem is not None:
        return CheckOutcome(name="data_available", passed=False, summary=metrics.problem)
    if metrics.service_problem is not None:
        return CheckOutcome(name="data_available", passed=False, summary=metrics.service_problem)
    if metrics.newest is None:
        return CheckOutcome(name="data_available", passed=False, summary="no prediction was logged yet")
    age = max(0.0, now - metrics.newest)
    summary = f"newest prediction {age:.0f} s ago (limit {limits.stale_after:.0f} s), {metrics.labelled} labels"
    return CheckOutcome(
        name="data_available", passed=age <= limits.stale_after, summary=summary, details={"age_seconds": age}
    )


def _drift(metrics: LiveMetrics) -> CheckOutcome:
    """Says what moved, and by how much; it warns, and decides nothing."""
    report = metrics.drifted
    if report is None:
        return CheckOutcome(name="drift", passed=True, summary="no verdict: no reference distribution, or too few rows")
    moved = report.alarmed
    details: dict[str, Any] = {"rows": report.rows, "tests": len(report.findings), "alarmed": len(moved)}
    details |= {f"{finding.subject}: {finding.test}": finding.effect for finding in moved}
    if not moved:
        summary = f"{len(report.shown)} distributions are where they were, on {report.rows} rows"
    else:
        summary = "; ".join(map(sentence, moved[:TOLD]))
        summary += f"; and {len(moved) - TOLD} more" if len(moved) > TOLD else ""
    return CheckOutcome(name="drift", passed=not moved, summary=summary, details=details)
