"""The verdict: four statuses, each check, and no alarm on noise."""

from dataclasses import replace
from typing import Any

import pytest

from mlauto.measured import Detection, DriftReport, Finding, LiveMetrics
from mlauto.monitoring.judge import Limits, failed_checks, is_full, judge, proven
from mlauto.monitoring.metrics import unmeasured
from mlauto.product import ModelProduct
from mlauto.records import Action, CheckOutcome, Score, Status, Verdict

NOW = 10_000.0
LIMITS = Limits(tolerance=0.10, min_labels=50, p99_ms=100.0, error_rate=0.001, stale_after=600.0)


def quality(value: float, *, metric: str = "mae", width: float = 0.1, rows: int = 500) -> Score:
    return Score(metric=metric, value=value, low=value - width, high=value + width, rows=rows)


REFERENCE = quality(10.0, rows=2000)
OPEN = Detection(e_value=0.5, threshold=100.0, limit=11.1, rows=500, looks=9, since=NOW - 900)
ALARMED = replace(OPEN, e_value=1000.0, alarmed_at=NOW - 60)
GOOD = LiveMetrics(
    version="3",
    measured=NOW,
    requests=1000,
    errors=0,
    p50_ms=5.0,
    p99_ms=20.0,
    labelled=500,
    quality=quality(10.2),
    newest=NOW - 5,
    p99_low_ms=18.0,
    detection=OPEN,
)


def judged(reference: Score | None = REFERENCE, limits: Limits = LIMITS, **changed: Any) -> Verdict:
    return judge(replace(GOOD, **changed), reference, limits, NOW)


def check(verdict: Verdict, name: str) -> CheckOutcome:
    return next(outcome for outcome in verdict.checks if outcome.name == name)


def test_all_is_well() -> None:
    """Measured, and good: the four checks pass, and no action is asked for."""
    verdict = judged()

    assert verdict.status is Status.HEALTHY
    assert verdict.action is Action.NONE
    assert [outcome.name for outcome in verdict.checks] == ["performance", "service_level", "data_available", "drift"]
    assert failed_checks(verdict) == frozenset()
    assert "10.2" in verdict.cause


@pytest.mark.parametrize(
    ("metric", "tolerance", "reference", "live", "beyond"),
    [
        ("mae", 0.10, 10.0, 10.9, False),
        ("mae", 0.10, 10.0, 11.1, True),
        ("mae", 0.10, 10.0, 1.0, False),  # better
        ("rmse", 0.50, 10.0, 14.9, False),
        ("rmse", 0.50, 10.0, 15.1, True),
        ("log_loss", 0.10, 0.50, 0.56, True),
        ("error_rate", 0.02, 0.10, 0.119, False),  # absolute: 2 points
        ("error_rate", 0.02, 0.10, 0.121, True),
        ("r2", 0.05, 0.90, 0.86, False),  # higher is better
        ("r2", 0.05, 0.90, 0.84, True),
        ("r2", 0.05, 0.90, 0.99, False),
        ("auc", 0.02, 0.90, 0.885, False),  # likewise, and absolute
        ("auc", 0.02, 0.90, 0.875, True),
        ("auc", 0.02, 0.90, 0.99, False),
        ("mae", 0.10, 0.0, 0.1, True),  # nothing is relative to zero
    ],
)
def test_performance(metric: str, tolerance: float, reference: float, live: float, beyond: bool) -> None:
    """It fails for a loss that was proven and that the present window still shows, in the metric's own direction."""
    for detection in (OPEN, ALARMED):
        verdict = judged(
            quality(reference, metric=metric),
            replace(LIMITS, tolerance=tolerance),
            quality=quality(live, metric=metric),
            detection=detection,
        )

        passed = not (beyond and detection.alarmed)
        assert check(verdict, "performance").passed is passed
        assert verdict.status is (Status.HEALTHY if passed else Status.DEGRADED)
        assert check(verdict, "performance").details[metric] == live
        assert ("within the limit" in verdict.cause) is not beyond


def test_what_the_detectors_found_is_told() -> None:
    """The e-value beside what it needs; worse within the tolerance is shown, and no reason to act."""
    verdict = judged(quality=quality(11.2), worse=ALARMED)
    details = check(verdict, "performance").details

    assert verdict.status is Status.HEALTHY
    assert "beyond, not yet provably, the limit 11" in verdict.cause
    assert (details["e_value"], details["proven_at"], details["tested_limit"]) == (0.5, 100.0, 11.1)
    assert (details["worse_than_reference"], details["e_value_worse"]) == (True, 1000.0)


@pytest.mark.parametrize(("value", "doubtful"), [(10.8, False), (11.05, False), (11.2, True), (99.0, True)])
def test_doubt_is_about_what_could_still_be_proven(value: float, doubtful: bool) -> None:
    """Beyond the limit that is tested, 11.1; between that and the tolerance, 11, nothing can ever be proven."""
    assert judged(quality=quality(value)).doubtful is doubtful
    assert not judged(quality=quality(value), detection=ALARMED).doubtful
    assert not judged(quality=quality(value), labelled=3).doubtful


def test_without_a_detector_there_is_no_verdict() -> None:
    """A window that looks bad proves nothing by itself, and is not called healthy either."""
    verdict = judged(quality=quality(100.0), detection=None)

    assert verdict.status is Status.UNKNOWN
    assert "nothing tests mae" in verdict.cause


def test_few_labels_are_no_verdict() -> None:
    """However bad they look: unknown, and never a failure."""
    verdict = judged(labelled=12, quality=quality(1000.0, rows=12))

    assert verdict.status is Status.UNKNOWN
    assert check(verdict, "performance").passed
    assert check(verdict, "performance").summary == "no verdict: 12 of 50 labels"
    assert verdict.cause == "no verdict: 12 of 50 labels"


@pytest.mark.parametrize("reference", [None, quality(0.9, metric="r2")])
def test_nothing_to_compare_with(reference: Score | None) -> None:
    """A model without a reference in this metric is neither healthy nor degraded."""
    verdict = judged(reference)

    assert verdict.status is Status.UNKNOWN
    assert "train it again" in verdict.cause


def test_a_metric_that_is_undefined() -> None:
    """Enough labels, but r2 of a constant truth: no verdict."""
    verdict = judged(quality=None)

    assert verdict.status is Status.UNKNOWN
    assert "undefined" in verdict.cause


@pytest.mark.parametrize(
    ("changed", "passed"),
    [
        ({"requests": 1000, "errors": 1}, True),  # exactly the objective
        ({"requests": 100, "errors": 1}, True),  # happens by chance one time in ten
        ({"requests": 100, "errors": 2}, False),
        ({"requests": 5000, "errors": 5000}, False),
        ({"requests": 1000, "errors": 20}, False),
        ({"requests": 10, "errors": 10}, False),
        ({"p99_ms": 150.0, "p99_low_ms": 90.0}, True),  # the bound is within the objective
        ({"p99_ms": 150.0, "p99_low_ms": 110.0}, False),
        ({"p99_ms": 150.0, "p99_low_ms": None}, False),
        ({"p99_ms": 900.0, "p99_low_ms": 900.0, "requests": 20}, True),  # the first requests are cold
        ({"requests": 0, "p99_ms": None, "p99_low_ms": None, "p50_ms": None}, True),
    ],
)
def test_service_level(changed: dict[str, Any], passed: bool) -> None:
    """It fails when errors or latency miss their objectives beyond chance."""
    verdict = judged(**changed)

    assert check(verdict, "service_level").passed is passed, check(verdict, "service_level").summary
    assert verdict.status is (Status.HEALTHY if passed else Status.DEGRADED)


@pytest.mark.parametrize(
    ("objective", "errors", "passed"), [(0.0, 0, True), (0.0, 1, False), (1.0, 1000, True), (0.5, 500, True)]
)
def test_objectives_at_the_edges(objective: float, errors: int, passed: bool) -> None:
    """No error allowed, and any number allowed, are meant as written."""
    verdict = judged(limits=replace(LIMITS, error_rate=objective), errors=errors)

    assert check(verdict, "service_level").passed is passed


@pytest.mark.parametrize(("newest", "passed"), [(NOW - 599, True), (NOW - 601, False), (None, False), (NOW + 5, True)])
def test_data_available(newest: float | None, passed: bool) -> None:
    """No prediction for too long: unknown, whatever the old labels say."""
    verdict = judged(newest=newest)

    assert check(verdict, "data_available").passed is passed
    assert verdict.status is (Status.HEALTHY if passed else Status.UNKNOWN)


def test_measured_bad_weighs_more_than_no_news() -> None:
    """A version that was bad before its traffic ceased is still bad."""
    assert judged(newest=None, quality=quality(20.0), detection=ALARMED).status is Status.DEGRADED


def test_what_could_not_be_measured_is_an_error() -> None:
    """Never healthy, never degraded; and no version at all is just unknown."""
    failed = judge(unmeasured("3", "the log is on fire", now=NOW), REFERENCE, LIMITS, NOW)
    absent = judge(unmeasured(None, "no version answers users", now=NOW), None, LIMITS, NOW)

    assert (failed.status, failed.cause) == (Status.ERROR, "the log is on fire")
    assert (absent.status, absent.cause) == (Status.UNKNOWN, "no version answers users")
    assert failed_checks(failed) == {"data_available"}


def found(subject: str, effect: float, *, alarmed: bool) -> Finding:
    return Finding(
        subject=subject,
        test="location",
        effect=effect,
        low=effect - 0.05,
        high=effect + 0.05,
        margin=0.02,
        unit="sd of the reference",
        alarmed=alarmed,
    )


def test_drift_warns_and_decides_nothing() -> None:
    """What moved is said in words, and the verdict stays healthy."""
    findings = (found("c", 2.0, alarmed=True), found("b", -0.6, alarmed=True), found("a", 0.1, alarmed=False))
    verdict = judged(drifted=DriftReport(rows=900, since=0, until=9, findings=findings, shown={"a": {"psi": 0.0}}))

    assert verdict.status is Status.HEALTHY
    assert failed_checks(verdict) == {"drift"}
    said = "c: location moved by +2.00 sd of the reference; b: location moved by -0.60 sd of the reference"
    assert check(verdict, "drift").summary == said
    assert check(verdict, "drift").details["c: location"] == 2.0


def test_without_drift_the_check_says_on_how_many_rows() -> None:
    """Nothing alarmed is another thing than nothing known."""
    calm = DriftReport(
        rows=900, since=0, until=9, findings=(found("a", 0.1, alarmed=False),), shown={"a": {"psi": 0.0}}
    )

    assert check(judged(drifted=calm), "drift").passed
    assert check(judged(drifted=calm), "drift").summary == "1 distributions are where they were, on 900 rows"
    assert "no verdict" in check(judged(), "drift").summary


def test_of_many_findings_a_few_are_named() -> None:
    """The others are counted."""
    findings = tuple(found(f"x{n}", 1.0, alarmed=True) for n in range(8))

    summary = check(judged(drifted=DriftReport(rows=900, since=0, until=9, findings=findings)), "drift").summary

    assert summary.endswith("x4: location moved by +1.00 sd of the reference; and 3 more")


def test_limits_come_from_the_product() -> None:
    """With the metric's own default tolerance."""
    product = ModelProduct.model_validate(
        {
            "name": "p",
            "code": {"repository": "r", "estimator": "m:f"},
            "data": {"landing": "l", "target": "y", "task": "classification"},
            "monitoring": {"slo": {"p99_ms": 7}, "stale_after": "5m", "min_labels": 20},
        }
    )

    assert Limits.of(product) == Limits(tolerance=0.02, min_labels=20, p99_ms=7.0, error_rate=0.001, stale_after=300.0)


def test_a_version_is_held_to_the_better_of_holdout_and_start() -> None:
    """A start by another metric says nothing."""
    holdout, better, worse = (Score(metric="mae", value=value, low=0, high=9, rows=9) for value in (2.0, 1.0, 3.0))

    assert proven(holdout, None) == holdout
    assert proven(holdout, better) == better
    assert proven(holdout, worse) == holdout
    assert proven(holdout, replace(better, metric="rmse")) == holdout


def test_a_start_with_few_rows_of_a_class_excuses_nothing() -> None:
    """An AUC that is higher by luck has a wide interval: its lower end would be the limit that losses are tested at."""
    holdout = Score(metric="auc", value=0.90, low=0.88, high=0.92, rows=2000)

    assert proven(holdout, replace(holdout, value=0.99, low=0.70, high=1.0)) == holdout
    assert proven(holdout, replace(holdout, value=0.95, low=0.93, high=0.97)).value == 0.95
    assert proven(holdout, replace(holdout, value=0.85, low=0.83, high=0.87)) == holdout


def test_a_window_is_full_before_its_last_labels() -> None:
    """Some never come."""
    assert is_full(90, 100)
    assert not is_full(89, 100)


@pytest.mark.parametrize("live", [10.2, 15.0])
def test_a_service_level_that_cannot_be_had_is_unknown(live: float) -> None:
    """Whatever the quality: neither healthy nor a reason to retrain; what is known of the quality is said, too."""
    nothing = {"requests": 0, "p50_ms": None, "p99_ms": None, "p99_low_ms": None}
    measured = {"quality": quality(live), "detection": ALARMED, **nothing}
    verdict = judged(service="prometheus", service_problem="Prometheus is down", **measured)

    assert verdict.status is Status.UNKNOWN
    assert failed_checks(verdict) >= {"service_level", "data_available"}
    assert check(verdict, "service_level").summary == "unknown: Prometheus is down"
    assert verdict.cause.startswith("Prometheus is down")
    assert ("meanwhile mae 15" in verdict.cause) == (live == 15.0)


def test_the_source_and_saturation_are_shown() -> None:
    """Beside the figures, where somebody wonders what they are of."""
    details = check(judged(service="gateway", saturation=0.25), "service_level").details

    assert (details["source"], details["saturation"]) == ("gateway", 0.25)
