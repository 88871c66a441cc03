"""What status reads from the records, and how it shows it."""

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from mlauto.commands.status import ProductStatus, render, status_of
from mlauto.delivery.decisions import Rejection, reject
from mlauto.delivery.progress import Rollout, Stage
from mlauto.errors import StoreError
from mlauto.measured import LabelDelay, LiveMetrics
from mlauto.monitoring.incidents import record_verdict
from mlauto.monitoring.watch.record import Subject, Watch
from mlauto.records import (
    Action,
    Batch,
    Cause,
    CheckOutcome,
    CheckResult,
    CiReport,
    Commit,
    Deployment,
    ExpectationFailure,
    Problem,
    SourceFile,
    Status,
    TrainedModel,
    Validation,
    Verdict,
)
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.test_proof import PROOF


def shown(status: ProductStatus) -> str:
    """The status as plain text."""
    written = io.StringIO()
    Console(file=written, width=200, highlight=False).print(render(status, now=3620.0))
    return written.getvalue()


def quarantine(settings: Settings, store: Store, key: str, validation: Validation, *, age: int = 0) -> None:
    """A rejected batch, as ingest leaves it."""
    file = SourceFile(name=f"{key}.csv", digest="f" * 64, size=3)
    batch = Batch(key=key, files=(file,), rows=3, digest=None, validation=validation, arrived=4000.0)
    store.write_record("bike", f"batches/{key}", batch)
    folder = settings.product_home("bike") / "quarantine" / key
    folder.mkdir(parents=True)
    os.utime(folder, (1e9 - age, 1e9 - age))


def test_a_product_with_a_history(settings: Settings, history: Store) -> None:
    """Every section shows the newest record."""
    status = status_of(settings, "bike")

    assert status.commit is not None
    assert status.commit.subject == "Use the hour"
    assert status.data is not None
    assert (status.data.batches, status.data.rows, status.data.newest) == (12, 1200, "b011")
    assert status.model is not None
    assert (status.model.version, status.model.failed) == ("2", ())
    assert status.production is not None
    assert (status.production.version, status.production.fallback) == ("2", "1")
    assert status.verdict is not None
    assert status.verdict.status is Status.HEALTHY
    assert status.incident is None
    assert status.quarantined == ()
    text = shown(status)
    assert "version 2 since 2 min ago, fallback 1" in text
    assert "12 batches, 1,200 rows" in text
    assert "mae 41.25 [39, 43.5]" in text
    assert "healthy: mae 41 is within tolerance (action: none)" in text


def test_a_product_that_has_done_nothing(settings: Settings) -> None:
    """Every section is empty, and says so."""
    status = status_of(settings, "new")

    assert status == ProductStatus(
        product="new",
        commit=None,
        red_commit=None,
        data=None,
        model=None,
        image=None,
        production=None,
        rollout=None,
        verdict=None,
        metrics=None,
        incident=None,
        problems=(),
        quarantined=(),
    )
    assert shown(status).count("none yet") == 6


@pytest.mark.parametrize("passed", [True, False])
def test_the_newest_commit_is_shown_when_it_is_red(settings: Settings, history: Store, passed: bool) -> None:
    """A red head is named with the command that failed; a green one needs no line of its own."""
    commit = Commit(sha="bad" * 13 + "b", tree="t", subject="Break it", author="Bob", time=5000.0)
    result = CheckResult(kind="tests", command="pytest -q", passed=passed, seconds=1.0, output="boom")
    history.write_record("bike", f"reports/{commit.sha}", CiReport(commit=commit, results=(result,)))

    status = status_of(settings, "bike")

    assert (status.red_commit is None) == passed
    assert ("Break it (failed: pytest -q)" in shown(status)) != passed


def test_a_model_that_was_stopped(settings: Settings, history: Store) -> None:
    """A model that a check keeps from production says which check, and why."""
    model = history.read_record("bike", "model", TrainedModel)
    assert model is not None
    outcome = CheckOutcome(name="not_worse_than_champion", passed=False, summary="worse")
    history.write_record("bike", "model", replace(model, checks=(*model.checks, outcome)))

    assert "kept from production by not_worse_than_champion: worse" in shown(status_of(settings, "bike"))


def test_quarantined_batches_say_why(settings: Settings, history: Store) -> None:
    """Failed expectations are named with their column; an unreadable file with its problem."""
    failure = ExpectationFailure(
        expectation="expect_column_values_to_be_between", column="temp", observed="99", expected="0..1"
    )
    quarantine(settings, history, "q1", Validation(passed=False, evaluated=9, failures=(failure,)), age=10)
    quarantine(settings, history, "q2", Validation(passed=False, evaluated=0, problem="no header line"))

    found = status_of(settings, "bike").quarantined

    assert [batch.key for batch in found] == ["q2", "q1"]
    assert found[0].reasons == ("no header line",)
    assert found[1].reasons == ("temp: expect_column_values_to_be_between",)
    assert found[1].folder.endswith("/quarantine/q1")
    assert "temp: expect_column_values_to_be_between" in shown(status_of(settings, "bike"))


def test_only_the_newest_quarantined_batches_are_listed(settings: Settings, history: Store) -> None:
    """The list is bounded, however many batches were rejected."""
    for number in range(15):
        validation = Validation(passed=False, evaluated=1, problem="bad")
        quarantine(settings, history, f"q{number:02d}", validation, age=number)

    found = status_of(settings, "bike").quarantined

    assert [batch.key for batch in found] == [f"q{number:02d}" for number in range(10)]


def test_a_move_in_progress_is_no_batch_yet(settings: Settings, history: Store) -> None:
    """A folder without its record is left for the next look."""
    (settings.product_home("bike") / "quarantine" / "half").mkdir(parents=True)

    assert status_of(settings, "bike").quarantined == ()


def test_a_damaged_record_is_named(settings: Settings, history: Store) -> None:
    """Status does not guess: the file that does not parse is in the message."""
    history.record_path("bike", "production").write_text("{")

    with pytest.raises(StoreError, match=r"production\.json is not a valid Deployment"):
        status_of(settings, "bike")


def test_a_degraded_product_and_its_incident(settings: Settings, history: Store) -> None:
    """Verdict and incident appear together."""
    verdict = Verdict(
        status=Status.DEGRADED, action=Action.RETRAIN, cause="mae rose to 90", checks=(), kind=Cause.CONCEPT_DRIFT
    )
    history.write_record("bike", "verdict", verdict)
    record_verdict(history, "bike", verdict, version="2", attempts=1, now=3600.0)

    status = status_of(settings, "bike")

    assert status.incident is not None
    assert (status.incident.version, status.incident.attempts) == ("2", 1)
    assert "degraded: mae rose to 90 (action: retrain)" in shown(status)
    assert "since 20 s ago: mae rose to 90 (concept_drift, 1 retraining so far, now: retrain)" in shown(status)
    assert "20 s ago retrain: mae rose to 90" in shown(status)


@pytest.mark.parametrize(
    ("delay", "waiting", "said"),
    [
        (None, 0, "none yet; 0 predictions wait for one"),
        (LabelDelay(median=40.0, p90=60.0, labels=9), 1, "40 s after the prediction, 90 % within 1 min; 1 prediction"),
        (LabelDelay(median=7200.0, p90=200_000.0, labels=9), 1200, "2 h after the prediction, 90 % within 2 d; 1,200"),
    ],
)
def test_how_late_labels_are(
    settings: Settings, history: Store, delay: LabelDelay | None, waiting: int, said: str
) -> None:
    """As the live sensor measured it last."""
    metrics = LiveMetrics(
        version="2",
        measured=1.0,
        requests=9,
        errors=0,
        p50_ms=None,
        p99_ms=None,
        labelled=0,
        quality=None,
        label_delay=delay,
        waiting=waiting,
    )
    history.write_record("bike", "live_metrics", metrics)

    status = status_of(settings, "bike")

    assert status.metrics == metrics
    assert said in shown(status)


def test_what_is_strange_about_the_newest_batches(settings: Settings, history: Store) -> None:
    """Rows that wait for labels are told here too; older batches' warnings are not."""
    for number in range(5):
        batch = Batch(
            key=f"k{number}",
            files=(),
            rows=1,
            digest="d",
            validation=Validation(passed=True, evaluated=0),
            arrived=0.0,
            unlabelled=number,
            warnings=(f"{number} of 9 rows have no label",) if number != 3 else (),
        )
        history.write_record("bike", f"batches/k{number}", batch)
        os.utime(history.record_path("bike", f"batches/k{number}"), (9e9 + number, 9e9 + number))

    status = status_of(settings, "bike")

    assert status.warnings == ("k4: 4 of 9 rows have no label", "k2: 2 of 9 rows have no label")
    assert "k4: 4 of 9 rows have no label" in shown(status)


def test_a_watch_is_told_in_a_sentence(settings: Settings, history: Store) -> None:
    """What the rows that two versions predicted have proven, as long as it is the newest rollout's."""
    rollout = Rollout(
        version="3", image="i", champion="2", began=0.5, since=1.0, stage=Stage.BAKING, why="verified", settled=True
    )
    watch = Watch(subject=Subject(new="3", old="2", since=1.0, metric="mae"), proof=PROOF)
    history.write_record("bike", "rollout", rollout)
    history.write_record("bike", "watch", watch)
    status = status_of(settings, "bike")
    history.write_record("bike", "rollout", replace(rollout, version="4"))

    assert f"version 3 watched: {PROOF.told}" in shown(status)
    assert status_of(settings, "bike").watch is None


def test_a_version_that_waits_for_anothers_rollout_is_told(settings: Settings, history: Store) -> None:
    """Once it is verified, and as long as the older one runs beside its champion."""
    rollout = Rollout(version="3", image="i", champion="2", began=0.5, since=1.0, stage=Stage.SHADOW, why="verified")
    good = CheckOutcome(name="ready", passed=True, summary="yes")
    for version, check in (("3", good), ("4", replace(good, passed=False))):
        test = Deployment(environment="test", version=version, image="j", since=2.0, checks=(check,))
        history.write_record("bike", "test_deployment", test)
        history.write_record("bike", "rollout", rollout)
        assert status_of(settings, "bike").follows is None

    history.write_record("bike", "test_deployment", replace(test, checks=(good,)))
    assert "; version 4 is verified, and next" in shown(status_of(settings, "bike"))
    history.write_record("bike", "rollout", replace(rollout, stage=Stage.BAKING))
    assert status_of(settings, "bike").follows is None


def test_a_newest_model_that_was_rolled_back_says_why(settings: Settings, history: Store) -> None:
    """Otherwise nobody would understand why the newest version is not the one in production."""
    reject("bike", Rejection(version="2", to="1", reason="asked for on the command line", at=3600.0), history)

    assert ", rolled back: asked for on the command line" in shown(status_of(settings, "bike"))


def test_problems_are_listed_oldest_first(settings: Settings, history: Store) -> None:
    """What runs and ticks could not do is said here too, and not in the UI only."""
    for where, since in (("model", 3600.0), ("commits", 3000.0)):
        history.write_record("bike", f"problems/{where}", Problem(where=where, since=since, text=f"no {where}"))

    text = shown(status_of(settings, "bike"))

    assert "model, since 20 s ago: no model" in text
    assert text.index("commits, since 10 min ago: no commits") < text.index("no model")


def test_the_status_survives_json(settings: Settings, history: Store) -> None:
    """Programs get the same facts, and can read them back into the record."""
    status = status_of(settings, "bike")

    assert msgspec.json.decode(msgspec.json.encode(status), type=ProductStatus) == status


def test_status_is_fast_and_light(settings: Settings, history: Store) -> None:
    """The command answers within half a second of a machine that is not busy, without any heavy import."""
    script = (
        "import sys; from mlauto.cli import main; code = main(['status', '--json']);"
        "print({'dagster', 'mlflow', 'sklearn', 'pandas', 'great_expectations', 'numpy'} & set(sys.modules), code,"
        " file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        began = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **settings.environment()},
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(time.perf_counter() - began)

    answer: list[dict[str, Any]] = msgspec.json.decode(ran.stdout)
    assert ran.stderr.strip() == "set() 0"
    assert answer[0]["product"] == "bike"
    assert min(times) < 1.0  # 0.3 s here; the margin is for a machine that runs other things
