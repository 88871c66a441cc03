"""The evidence on a rollout, from synthetic logs: counts, latency, agreement, and quality paired or not."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring import evidence as module
from mlauto.monitoring.evidence import gather_evidence
from mlauto.proof import RolloutEvidence
from mlauto_tests.serving.conftest import ROW, bundles, eventually, gateway

__all__ = ["bundles"]

NOW = 1_700_000_000.0
RANDOM = np.random.default_rng(3)


def gathered(log: Any, **options: Any) -> RolloutEvidence:
    """The evidence on version 3 beside version 2, over the last minute."""
    chosen = {"candidate": "3", "champion": "2", "since": NOW - 60, "now": NOW, "metric": "mae", **options}
    return gather_evidence(log.folder, **chosen)


def shadow(log: Any, prediction_id: str, *y: Any, v: str = "3", **more: Any) -> None:
    """The shadow's line for a user's request."""
    values = {"y": list(y)} if y else {"error": "lost"}
    log.line("shadows", 0, id=prediction_id, t=log.now, v=v, ms=2.0, **values, **more)


def test_no_traffic_is_no_evidence(log: Any) -> None:
    """Nothing was logged, or nothing since then: zeros and None, and never an error."""
    empty = gathered(log)
    log.predict(1.0, v="3", t=NOW - 100)

    assert gathered(log) == empty
    assert (empty.requests, empty.errors) == ({"3": 0, "2": 0}, {"3": 0, "2": 0})
    assert empty.p99_ms == empty.p99_low_ms == {"3": None, "2": None}
    assert (empty.disagreement, empty.difference, empty.since, empty.until) == (None, None, NOW - 60, NOW)


def test_requests_errors_and_latency_of_each_version(log: Any) -> None:
    """Of these two versions only, and only since then."""
    for number in range(200):
        log.predict(1.0, v="2", ms=float(number), t=NOW - 30)
        log.predict(1.0, v="7", ms=1000.0, t=NOW - 30)
    for _ in range(20):
        log.predict(1.0, v="3", ms=7.0, t=NOW - 20)
    log.fail(v="3", code=500, t=NOW - 10)
    log.fail(v=None, t=NOW - 10)
    log.predict(1.0, v="3", t=NOW - 90)
    found = gathered(log)

    assert found.requests == {"3": 21, "2": 200}
    assert found.errors == {"3": 1, "2": 0}
    assert found.p99_ms == {"3": 7.0, "2": 197.0}
    assert found.p99_low_ms["2"] is not None
    assert found.p99_low_ms["2"] < 197.0


def test_a_failure_that_users_did_not_see_counts(log: Any) -> None:
    """A retry elsewhere says who failed, whether a failure was logged beside it or the process was simply lost."""
    for _ in range(3):
        log.fail(v="3", code=500)
    for _ in range(5):
        log.predict(1.0, v="2", retried_from="3", ms=5000.0)
    found = gathered(log)

    assert found.p99_ms == {"3": None, "2": None}  # it was not the champion that took so long
    assert found.errors == {"3": 5, "2": 0}
    assert found.requests == {"3": 5, "2": 5}


def test_shadows_are_counted_and_compared_with_what_users_got(log: Any) -> None:
    """Only this candidate's; classes disagree whatever the writing, and requests without a shadow are not compared."""
    for number in range(40):
        answer = log.predict("a", v="2")
        shadow(log, answer, "b" if number < 10 else "a")
        shadow(log, answer, "b", v="4")
    shadow(log, log.predict("a", v="2"))
    shadow(log, log.predict("a", v="3"), "b")
    shadow(log, "00000000-00abcdef-0000", "b")
    log.predict("a", v="2")
    found = gathered(log, metric="error_rate")

    assert (found.shadows, found.shadow_errors) == (43, 1)
    assert found.disagreement == 0.25


def test_numbers_disagree_only_noticeably(log: Any) -> None:
    """By more than a tenth of the answers' standard deviation."""
    for number in range(40):
        value = 10.0 * (number % 2)  # deviation 5
        shadow(log, log.predict(value, v="2"), value + (0.4 if number < 30 else 0.6))

    assert gathered(log).disagreement == 0.25


def test_paired_quality_proves_a_loss_from_few_labels(log: Any) -> None:
    """The shadow and the user's answer have the same label; the newest label of an id counts."""
    for truth in RANDOM.normal(0, 10, 60):
        hard = RANDOM.choice([0.1, 5.0])
        answer = log.predict(truth + hard, v="2")
        shadow(log, answer, truth + hard + 0.2)
        log.label(answer, 1e6, t=NOW - 5)
        log.label(answer, truth)
    found = gathered(log)

    assert (found.paired, found.labelled) == (60, {"3": 0, "2": 60})
    assert found.difference == pytest.approx(0.2)
    assert found.difference_low is not None
    assert found.difference_low > 0.15
    assert found.metric == "mae"


def test_a_canary_is_compared_on_rows_of_its_own(log: Any) -> None:
    """Without shadows the interval is wider; labels may come by file as well."""
    for number in range(300):
        version = "3" if number % 4 == 0 else "2"
        answer = log.predict(0.0, v=version)
        error = float(RANDOM.normal(2.0 if version == "3" else 1.0, 0.5))
        origin = "labels" if number % 2 else "imported"
        log.line(origin, 0, id=answer, t=NOW, y=[error])
    found = gathered(log)

    assert (found.paired, found.labelled) == (0, {"3": 75, "2": 225})
    assert found.difference_low is not None
    assert found.difference_high is not None
    assert 0 < found.difference_low < 1.0 < found.difference_high


def test_the_narrower_comparison_counts(log: Any) -> None:
    """A few pairs of the shadow's time do not outweigh the canary's many labels."""
    for number in range(400):
        answer = log.predict(0.0, v="3" if number % 2 else "2")
        log.label(answer, float(RANDOM.normal(1.0, 0.5)))
        if number < 50:
            shadow(log, answer, float(RANDOM.normal(0.0, 50.0)))
    found = gathered(log)

    assert found.paired == 0
    assert found.difference is not None
    assert abs(found.difference) < 0.3


@pytest.mark.parametrize(
    ("metric", "allowed"),
    [("error_rate", 0.005), ("auc", 0.005), ("mae", 0.02 * 1.5), ("rmse", 0.02 * 2.5**0.5), ("r2", 0.02 * 10)],
)
def test_a_small_difference_is_allowed(log: Any, metric: str, allowed: float) -> None:
    """Half a point of an error rate or an AUC, and 2 % of the champion's own loss where that is known."""
    before = gathered(log, metric=metric).allowed
    for number in range(60):
        log.label(log.predict(0.0, v="2"), 1.0 + number % 2)

    assert before == (allowed if metric in {"error_rate", "auc"} else 0.0)
    assert gathered(log, metric=metric).allowed == pytest.approx(allowed)


def test_requests_of_several_rows(log: Any) -> None:
    """Row by row; what does not fit together is left out."""
    for _ in range(15):
        answer = log.predict(1.0, 2.0, v="2")
        shadow(log, answer, 1.5, 2.5)
        log.label(answer, 1.0, None)
        other = log.predict(1.0, 2.0, v="2")
        shadow(log, other, 1.5)
        log.label(other, 1.0)
    answered = log.predict(1.0, 1.0, v="2")
    for number in range(20):
        log.label(answered, *[float(number)] * 2)
    found = gathered(log)

    assert found.labelled["2"] == 17
    assert (found.paired, found.difference) == (0, None)
    assert found.disagreement == 1.0


def test_probabilities_of_both_sides(log: Any) -> None:
    """log_loss needs them from the shadow too; rows without are no pairs."""
    for number in range(30):
        answer = log.predict("a", v="2", p=[[0.75, 0.25]])
        shadow(log, answer, "a", **({"p": [[0.5, 0.5]]} if number else {}))
        log.label(answer, "a")
    found = gathered(log, metric="log_loss", classes=("a", "b"))

    assert found.paired == 29
    assert found.difference == pytest.approx(np.log(0.75 / 0.5))


def ranking(log: Any, rows: int, noise: float, *, pairs: bool) -> None:
    """The champion's requests, three in ten positive, and the candidate's copies or requests, ordered less well."""
    for number in range(rows):
        positive = RANDOM.random() < 0.3
        evidence = RANDOM.normal(1.5 * positive)
        good, bad = (1 / (1 + np.exp(-evidence - noise)) for noise in (0.0, RANDOM.normal(0, noise)))
        mine = not pairs and number % 2 > 0
        p = float(bad if mine else good)
        answer = log.predict("no", v="3" if mine else "2", p=[[1 - p, p]])
        if pairs:
            shadow(log, answer, "no", p=[[1 - float(bad), float(bad)]])
        log.label(answer, "yes" if positive else "no")
    log.label(log.predict("no", v="2", p=[[0.5, 0.5]]), "maybe")
    log.label(log.predict("no", v="2"), "yes")


@pytest.mark.parametrize("pairs", [True, False])
def test_a_worse_auc_is_a_difference_above_zero(log: Any, pairs: bool) -> None:
    """On rows that both predicted, or on each one's own; labels of no class and missing probabilities do not count."""
    ranking(log, 500 if pairs else 1200, 1.5, pairs=pairs)
    found = gathered(log, metric="auc", classes=("no", "yes"))

    assert found.metric == "auc"
    assert found.paired == (500 if pairs else 0)
    assert found.difference is not None
    assert found.difference_low is not None
    assert 0 < found.difference_low < found.difference < 0.3
    assert found.allowed == 0.005


def test_an_auc_without_two_classes_is_an_error(log: Any) -> None:
    """It says what to do instead."""
    ranking(log, 30, 1.0, pairs=True)

    with pytest.raises(MeasurementError, match="use metric log_loss"):
        gathered(log, metric="auc", classes=("no", "yes", "maybe"))


def test_heavy_traffic_is_cut_to_its_newest_part(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the evidence says from when on it counts."""
    monkeypatch.setattr(module, "PREDICTION_BYTES", 10_000)
    for number in range(1000):
        log.predict(1.0, v="2", t=NOW - 50 + number / 25)
    found = gathered(log)

    assert 50 < found.requests["2"] < 150
    assert NOW - 20 < found.since < NOW - 10


def test_rows_are_bounded(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of each comparison are kept."""
    monkeypatch.setattr(module, "MOST_ROWS", 30)
    for number in range(100):
        answer = log.predict(0.0, v="2")
        shadow(log, answer, 1.0)
        log.label(answer, 0.0 if number >= 70 else 9.0)
    found = gathered(log)

    assert (found.shadows, found.paired, found.labelled["2"]) == (100, 30, 30)
    assert found.difference == 1.0


def test_a_log_that_cannot_be_read_is_an_error(log: Any) -> None:
    """Not being able to look is never the same as nothing to see."""
    (log.folder / "predictions-00000000.jsonl").mkdir(parents=True)

    with pytest.raises(MeasurementError, match="cannot be read"):
        gathered(log, since=0.0)


def test_its_cost_does_not_grow_with_the_log(log: Any, tmp_path: Path) -> None:
    """What was written before the rollout began is not opened."""
    line = b'{"id":"%08x-%08x-0000","t":1.0,"v":"2","ms":1.0,"rows":[{"x":1.0}],"y":[1.0]}\n'
    for segment in range(10):
        log.raw("predictions", segment, b"".join(line % (segment, number) for number in range(20_000)))
        path = log.folder / f"predictions-{segment:08x}.jsonl"
        path.touch()
        os.utime(path, (1.0, 1.0))
    log.segment = 10
    log.predict(1.0, v="3")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        found = gathered(log)
        took.append(time.perf_counter() - began)

    assert found.requests == {"3": 1, "2": 0}
    assert min(took) < 0.05


def test_the_evidence_of_a_real_rollout(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A gateway's shadow and canary: what it logs is what is counted, and labels prove which version is better."""
    began = time.time()
    with gateway(tmp_path / "home") as running:
        for name in ("bikes-1", "bikes-2"):
            running.start(bundles, name)
        folder = running.home / "products" / "bikes" / "predictions"

        def ask(count: int, truth_from_answer: float) -> None:
            for number in range(count):
                row = {**ROW, "hour": number % 24}
                reply = running.served.post("/v2/models/bikes/invocations", {"instances": [row]})
                assert reply.status_code == 200, reply.text
                champion = 1 if reply.headers["x-mlauto-version"] == "1" else 2
                truth = reply.json()["predictions"][0] - (1000 if champion == 2 else 0) + truth_from_answer
                label = {"id": reply.headers["x-prediction-id"], "label": truth}
                assert running.served.post("/v2/models/bikes/feedback", label).status_code == 200

        def now() -> RolloutEvidence:
            return gather_evidence(folder, candidate="2", champion="1", since=began - 1, now=time.time(), metric="mae")

        running.switch("bikes", "1", shadow="2")
        ask(30, 1.0)
        shadowed = eventually(lambda: now().shadows == 30 and now(), "thirty shadows")
        running.switch("bikes", "1", canary="2", percent=50.0)
        ask(80, 1.0)
        canary = now()

    assert (shadowed.requests, shadowed.paired, shadowed.disagreement) == ({"2": 0, "1": 30}, 30, 1.0)
    assert shadowed.difference == pytest.approx(998.0, abs=1.0)
    assert shadowed.difference_low > 900
    assert sum(canary.requests.values()) == 110
    assert 20 <= canary.requests["2"] == canary.labelled["2"] <= 60
    assert canary.errors == {"2": 0, "1": 0}
    assert canary.difference_low is not None
    assert canary.difference_low > 900
