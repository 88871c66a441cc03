"""From a prediction id back to commit, data, validation, MLflow run, image and Dagster run."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from mlauto.commands.why import Explanation, explain, render
from mlauto.delivery.progress import Rollout, Stage
from mlauto.errors import MlautoError
from mlauto.monitoring.watch.record import Subject, Watch
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.test_proof import PROOF

ID = "00000000-0000002a-9f3c"


def log(settings: Settings, product: str, kind: str, *lines: dict[str, Any], segment: int = 0) -> Path:
    """A segment of the prediction log, as the gateway writes it."""
    path = settings.product_home(product) / "predictions" / f"{kind}-{segment:08x}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def shown(found: Explanation) -> str:
    """The explanation as plain text."""
    written = io.StringIO()
    Console(file=written, width=250, highlight=False).print(render(found))
    return written.getvalue()


def answered(**more: Any) -> dict[str, Any]:
    """A line of a prediction by version 2."""
    return {"id": ID, "t": 3600.0, "v": "2", "ms": 1.25, "rows": [{"hour": 7}], "y": [120.5], **more}


def test_everything_that_a_prediction_came_from(settings: Settings, history: Store) -> None:
    """Each link of the chain is there, and none is of another version."""
    other = {"id": "00000000-00000001-0000", "t": 1.0, "v": "1", "ms": 1.0, "rows": [{"hour": 1}], "y": [1.0]}
    log(settings, "bike", "predictions", other, answered(client_id="mine"))
    log(settings, "bike", "labels", {"id": ID, "t": 3700.0, "y": [130]})

    found = explain(settings, ID)

    assert (found.product, found.version, found.predictions, found.labels) == ("bike", "2", (120.5,), (130,))
    assert (found.rows, found.client_id, found.milliseconds) == (({"hour": 7},), "mine", 1.25)
    assert found.commit is not None
    assert found.commit.subject == "Use the hour"
    assert found.data_digest == "d" * 64
    assert (found.mlflow_run, found.dagster_run) == ("mlflow-run-2", "dagster-run-2")
    assert (found.image_kind, found.image_digest) == ("bundle", "2" * 64)
    assert found.reason == "performance check failed"
    assert found.batch_count == 12
    assert [batch.key for batch in found.batches] == [f"b{number:03d}" for number in range(11, 1, -1)]
    assert all(batch.validated and batch.expectations == 9 for batch in found.batches)


def test_a_watched_version_says_what_is_proven(settings: Settings, history: Store) -> None:
    """Whoever asks why a prediction was so reads too whether its version is known to be worse."""
    log(settings, "bike", "predictions", answered(v="3"))
    rollout = Rollout(
        version="3", image="i", champion="2", began=0.5, since=9.0, stage=Stage.ROLLED_BACK, why="a loss", settled=True
    )
    history.write_record("bike", "rollout", rollout)
    history.write_record(
        "bike", "watch", Watch(subject=Subject(new="3", old="2", since=1.0, metric="mae"), proof=PROOF)
    )

    assert f"version 3 rolled back: {PROOF.told}" in shown(explain(settings, ID))


def test_the_text_names_every_link(settings: Settings, history: Store) -> None:
    """A person reads the same chain."""
    log(settings, "bike", "predictions", answered())
    log(settings, "bike", "labels", {"id": ID, "t": 3700.0, "y": [130]})

    text = shown(explain(settings, ID))

    for words in (
        "hour=7 -> 120.5 (truth: 130)",
        "1970-01-01 01:00:00+00:00, 1.2 ms",
        "Use the hour (Ada)",
        "d" * 64 + ", 12 batches",
        "11.csv",
        "Great Expectations passed (9 expectations)",
        "run mlflow-run-2, bike version 2",
        "dagster-run-2",
        "2" * 64,
    ):
        assert words in text


def test_a_request_that_failed(settings: Settings, history: Store) -> None:
    """The log keeps failures too: the sentence is shown, and no origin is invented."""
    line = {"id": ID, "t": 3600.0, "v": None, "ms": 2.0, "rows": [], "error": "no version is ready", "code": 503}
    log(settings, "bike", "predictions", line)

    found = explain(settings, ID)

    assert found.problem == "no version is ready"
    assert found.commit is None
    assert "none answered" in shown(found)


def test_a_version_whose_records_are_gone(settings: Settings, history: Store) -> None:
    """What is not known is absent; what is known is shown."""
    log(settings, "bike", "predictions", answered(v="77"))

    found = explain(settings, ID)

    assert (found.version, found.commit, found.image_digest, found.dagster_run) == ("77", None, None, None)
    assert "77" in shown(found)


def test_a_batch_whose_record_is_gone(settings: Settings, history: Store) -> None:
    """The manifest still knows the batch; its validation is said to be unknown, not passed."""
    history.record_path("bike", "batches/b011").unlink()
    log(settings, "bike", "predictions", answered())

    found = explain(settings, ID)

    assert found.batches[0].validated is None
    assert "Great Expectations record gone" in shown(found)


def test_the_right_product_is_found_among_several(settings: Settings, history: Store) -> None:
    """Ids of two products may share their segment number."""
    log(settings, "apples", "predictions", {"id": "00000000-00000001-0000", "t": 1.0, "v": "1", "rows": [], "y": []})
    log(settings, "bike", "predictions", answered())

    assert explain(settings, ID).product == "bike"


def test_an_id_written_to_the_next_segment(settings: Settings, history: Store) -> None:
    """A request that was in flight while the segment rotated is found too."""
    log(settings, "bike", "predictions", {"id": "00000000-00000001-0000", "t": 1.0, "v": "1", "rows": [], "y": []})
    log(settings, "bike", "predictions", answered(), segment=1)

    assert explain(settings, ID).version == "2"


def test_many_rows_are_shortened_for_people_only(settings: Settings, history: Store) -> None:
    """Three rows are printed, all are in the record."""
    log(settings, "bike", "predictions", answered(rows=[{"hour": n} for n in range(9)], y=list(range(9))))

    found = explain(settings, ID)

    assert len(found.rows) == 9
    assert "and 6 more rows" in shown(found)
    assert "hour=3" not in shown(found)


@pytest.mark.parametrize("text", ["", "42", "../../etc/passwd", "00000000-0000002a-9F3C", "0-1-2"])
def test_what_is_no_id_is_said_to_be_none(settings: Settings, text: str) -> None:
    """The message shows what an id looks like and where it comes from."""
    with pytest.raises(MlautoError, match=r"is no prediction id.*x-prediction-id"):
        explain(settings, text)


def test_an_id_that_no_log_has(settings: Settings, history: Store) -> None:
    """A well-formed id that was never given, or whose segment was dropped."""
    log(settings, "bike", "predictions", answered())

    with pytest.raises(MlautoError, match="never given, or its segment was dropped"):
        explain(settings, "00000007-00000001-abcd")


def test_the_explanation_survives_json(settings: Settings, history: Store) -> None:
    """Programs get the same facts."""
    log(settings, "bike", "predictions", answered())
    found = explain(settings, ID)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
