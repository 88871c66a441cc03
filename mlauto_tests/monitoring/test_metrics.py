"""Live metrics, from a log as the gateway writes it."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.measured import LabelDelay, LiveMetrics
from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.metrics import measure, unmeasured
from mlauto.monitoring.quality.references import Known, known_of

Measure = Callable[..., LiveMetrics]


@pytest.fixture
def live(log: Any, state: Path) -> Measure:
    """Metrics of version 1 by mean absolute error over 100 rows, unless said otherwise."""

    def call(**changed: Any) -> LiveMetrics:
        wanted: dict[str, Any] = {"version": "1", "metric": "mae", "window": 100, "now": log.now} | changed
        return measure(log.folder, state, **wanted)

    return call


def test_before_anything_happened(live: Measure) -> None:
    """No log is no fault: there is nothing to measure, and nothing is made up."""
    found = live()

    assert (found.requests, found.errors, found.labelled) == (0, 0, 0)
    assert (found.p50_ms, found.p99_ms, found.p99_low_ms, found.quality, found.newest) == (None,) * 5
    assert found.problem is None


def test_without_a_live_version(live: Measure, log: Any) -> None:
    """The metrics say why there are none."""
    log.predict(1.0)

    found = live(version=None)

    assert found == unmeasured(None, "no version answers users: materialize production", now=log.now)


def test_quality_over_the_newest_rows(live: Measure, log: Any) -> None:
    """Rows, not requests, are counted: 60 requests of 3 rows fill a window of 100 rows."""
    for number in range(60):
        wrong = 50.0 if number < 10 else 2.0
        log.label(log.predict(1.0, 2.0, 3.0), 1.0 + wrong, 2.0 + wrong, 3.0 + wrong)

    found = live()

    assert found.labelled == 100
    assert found.quality is not None
    assert (found.quality.value, found.quality.rows) == (2.0, 100)


def test_only_the_live_version_counts(live: Measure, log: Any) -> None:
    """Requests, errors and labels of others are left out; a request that nobody could take is everybody's."""
    for _ in range(10):
        log.label(log.predict(1.0, v="1"), 2.0)
        log.label(log.predict(1.0, v="2"), 9.0)
    log.fail(v="2")
    log.fail(v="1")
    log.fail(v=None)

    found = live()

    assert (found.requests, found.errors, found.labelled) == (12, 2, 10)
    assert found.quality is not None
    assert found.quality.value == 1.0


def test_latency_and_its_certainty(live: Measure, log: Any) -> None:
    """Nearest-rank quantiles of the answered requests; the bound below the 99 % quantile allows for chance."""
    for number in range(1, 1001):
        log.predict(1.0, ms=float(number))
    log.fail()

    found = live()

    assert (found.p50_ms, found.p99_ms) == (500.0, 990.0)
    assert found.p99_low_ms is not None
    assert 975 <= found.p99_low_ms < 990


def test_one_slow_request_is_no_slow_service(live: Measure, log: Any) -> None:
    """With few requests the largest time is the p99, but nobody can be sure of it."""
    for _ in range(30):
        log.predict(1.0, ms=5.0)
    log.predict(1.0, ms=900.0)

    found = live()

    assert (found.p99_ms, found.p99_low_ms) == (900.0, 5.0)


def test_the_recent_window(live: Measure, log: Any) -> None:
    """Old errors are forgotten when there is newer traffic; a quiet product's window reaches back further."""
    for _ in range(5):
        log.fail(t=log.now - 1000)
    for _ in range(20):
        log.predict(1.0, t=log.now - 10)
    assert (live().requests, live().errors) == (25, 5)

    for _ in range(100):
        log.predict(1.0, t=log.now - 5)
    assert (live().requests, live().errors) == (120, 0)
    assert (live(now=log.now + 4000).requests, live(now=log.now + 4000).newest) == (0, log.now - 5)


def test_classes(live: Measure, log: Any) -> None:
    """Labels from CSV files are text or numbers; probabilities come from the log."""
    for number in range(40):
        label: Any = "1" if number % 2 else 1
        log.label(log.predict(number % 4 == 0, p=[[0.25, 0.75]]), label)

    wrong = live(metric="error_rate")
    loss = live(metric="log_loss", classes=[0, 1])

    assert wrong.quality is not None
    assert wrong.quality.value == pytest.approx(0.75)
    assert loss.quality is not None
    assert loss.quality.value == pytest.approx(0.2877, abs=1e-4)


def test_labels_that_are_no_numbers(live: Measure, log: Any) -> None:
    """They are left out of a regression's score, as are rows without a prediction."""
    for label in (2.0, "two", None, 3.0):
        log.label(log.predict(1.0), label)

    assert live().labelled == 2


def test_drift_against_the_training_rows(live: Measure, log: Any) -> None:
    """Columns that moved stand out, in units of the reference; without a profile there is no drift."""
    dice = np.random.default_rng(1)
    for x, y in dice.normal(size=(600, 2)).tolist():
        log.predict(1.0, rows=[{"x": x + 2, "y": y}])
    profile = fit_profile({"x": dice.normal(size=2000), "y": dice.normal(size=2000)})

    found = live(profile=profile).drifted

    assert found is not None
    assert found.rows == 600
    assert {finding.subject for finding in found.alarmed} == {"x"}
    assert found.alarmed[0].effect == pytest.approx(2, abs=0.25)
    assert live().drifted is None


def test_a_log_that_cannot_be_read(live: Measure, log: Any) -> None:
    """An error, so that nobody takes silence for health."""
    (log.folder / "predictions-00000000.jsonl").mkdir(parents=True)

    with pytest.raises(MeasurementError, match="predictions-00000000"):
        live()


def test_measuring_again_is_quick_behind_a_long_history(live: Measure, log: Any) -> None:
    """100,000 requests and their labels: each further call takes hundredths of a second."""
    line = '{"id":"%08x-%08x-0000","t":1699999990.0,"v":"1","ms":1.0,"rows":[{"x":1.0}],"y":[1.0]}\n'
    label = '{"id":"%08x-%08x-0000","t":1699999999.0,"y":[2.0]}\n'
    for segment in range(5):
        log.raw("predictions", segment, "".join(line % (segment, n) for n in range(20_000)).encode())
        log.raw("labels", segment, "".join(label % (segment, n) for n in range(20_000)).encode())
    log.segment, log.label_segment, log.sequence = 4, 4, 50_000
    profile = fit_profile({"x": [1.0, 2.0]})
    live(window=500, profile=profile)

    took = []
    for _ in range(5):
        log.label(log.predict(3.0), 4.0)
        began = time.perf_counter()
        found = live(window=500, profile=profile)
        took.append(time.perf_counter() - began)

    assert found.labelled == 500
    assert found.requests == 5000
    assert min(took) < 0.2


def test_how_late_labels_are(live: Measure, log: Any) -> None:
    """Median and 90 % quantile of the seconds from prediction to label; nothing before the first label."""
    assert live().label_delay is None
    for number in range(1, 11):
        log.label(log.predict(1.0, t=log.now - number * 10), 2.0)

    assert live().label_delay == LabelDelay(median=50.0, p90=90.0, labels=10)


def test_how_many_predictions_wait_for_a_label(live: Measure, log: Any) -> None:
    """Answered ones of any version; not those that failed, nor those that are older than a full window."""
    ids = [log.predict(1.0, t=log.now - 50 + number, v=str(1 + number % 2)) for number in range(10)]
    log.fail()
    assert live().waiting == 10

    for prediction_id in ids[:4]:
        log.label(prediction_id, 1.0)
    assert live().waiting == 6

    for prediction_id in ids[6:]:
        log.label(prediction_id, 1.0)
    assert live().waiting == 2


def test_what_a_full_window_has_passed_does_not_wait(live: Measure, log: Any) -> None:
    """A label for a prediction that is older than the window would not count any more."""
    ids = [log.predict(1.0, t=log.now - 50 + number) for number in range(10)]
    for prediction_id in ids[5:8]:
        log.label(prediction_id, 1.0)

    assert live(window=3).waiting == 2


def test_the_room_is_light() -> None:
    """A sensor that imports all of it loads neither pandas nor scikit-learn, nor SciPy, nor Dagster."""
    code = (
        "import sys, mlauto.monitoring.metrics, mlauto.monitoring.judge, mlauto.monitoring.triage,"
        " mlauto.monitoring.incidents, mlauto.monitoring.labels.files\n"
        "print([m for m in ('pandas', 'sklearn', 'scipy', 'dagster', 'mlflow', 'pyarrow') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_quality_is_estimated_before_labels_come(live: Measure, log: Any) -> None:
    """From the answers alone, by what is known of the version; by another metric nothing is."""
    outcomes = [Outcome(float(at % 7), 3.0) for at in range(200)]
    known = known_of("mae", [{"x": at % 7} for at in range(200)], outcomes, (), [])
    for at in range(40):
        log.predict(3.0, rows=[{"x": at % 7}])
    log.fail()

    found = live(known=known).estimate

    assert found is not None
    assert (found.method, found.quality.metric, found.quality.rows) == ("DLE", "mae", 40)
    assert found.quality.value == pytest.approx(12 / 7, abs=0.2)
    assert live(known=replace(known, metric="rmse")).estimate is None
    assert live(known=Known(metric="mae")).estimate is None
    assert live().estimate is None
