import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlauto.errors import TrainingError
from mlauto.records import Score
from mlauto.training.evaluate import Answers
from mlauto.training.exchange import Evaluation, FitRequest, Holdout, Importance, check_written, written

REQUEST = FitRequest(
    tree="/tree",
    estimator="a.b:c",
    frame="/f",
    weights="/w",
    holdout=5,
    target="y",
    task="regression",
    metric="mae",
    output="/o",
    cache="cache",
    exclude=("x",),
)
SCORE = Score(metric="mae", value=1.0, low=0.5, high=1.5, rows=5)
EVALUATION = Evaluation(
    estimator="Ridge",
    parameters={"alpha": "1.0"},
    seeded=(),
    weights="passed as sample_weight",
    rows=10,
    holdout=5,
    scores=(SCORE,),
    baseline=(SCORE,),
    importances=(Importance(column="a", mean=1.0, deviation=0.1),),
    finite=True,
    reloads=True,
    refused={},
    types=(),
    requirements=("numpy==2",),
    seconds={"fit": 0.1},
)
HOLDOUT = Holdout(
    rows=({"a": 1, "b": None},),
    labels=("low",),
    answers=Answers(predictions=["low"], probabilities=[[0.9, 0.1]], classes=["low", "high"]),
    baseline=Answers(predictions=["high"]),
)


@pytest.mark.parametrize("message", [REQUEST, EVALUATION, HOLDOUT], ids=lambda message: type(message).__name__)
def test_messages_survive_json(message: Any) -> None:
    """What one process writes is what the other one reads."""
    decoded = msgspec.json.decode(msgspec.json.encode(message), type=type(message))

    assert type(decoded) is type(message)
    assert msgspec.json.encode(decoded) == msgspec.json.encode(message)


def test_a_part_of_a_holdout() -> None:
    """Rows, labels and both answers of the same rows; probabilities where there are any."""
    two = Holdout(
        rows=({"a": 1}, {"a": 2}),
        labels=("low", "high"),
        answers=Answers(predictions=["low", "low"], probabilities=[[0.9, 0.1], [0.6, 0.4]], classes=["low", "high"]),
        baseline=Answers(predictions=["high", "low"]),
    )
    part = two.part([False, True])

    assert (part.rows, part.labels) == (({"a": 2},), ("high",))
    assert (part.answers.predictions, part.answers.probabilities) == (("low",), ([0.6, 0.4],))
    assert (part.baseline.predictions, part.baseline.probabilities) == (("low",), None)
    assert two.part([True, True]).rows == two.rows
    assert two.newest(1) == part
    assert two.newest(5).labels == two.labels


def test_messages_are_frozen() -> None:
    """Nobody changes a message on its way."""
    with pytest.raises(AttributeError):
        REQUEST.holdout = 6  # type: ignore[misc] # that it is refused is the point
    with pytest.raises(AttributeError):
        EVALUATION.finite = False  # type: ignore[misc] # likewise


def test_nothing_but_plain_files_is_taken(tmp_path: Path) -> None:
    """Links and pipes that the team's code left are named, at any depth; what was not written is not missed here."""
    check_written(tmp_path)
    (tmp_path / "artifact" / "plan").mkdir(parents=True)
    (tmp_path / "artifact" / "model.skops").touch()
    (tmp_path / "holdout.json").touch()
    (tmp_path / "elsewhere").symlink_to("/etc")
    check_written(tmp_path)

    (tmp_path / "artifact" / "plan" / "plan.json").symlink_to("/etc/passwd")
    with pytest.raises(TrainingError, match=r"wrote artifact/plan/plan\.json, which is no plain file"):
        check_written(tmp_path)
    (tmp_path / "artifact" / "plan" / "plan.json").unlink()
    os.mkfifo(tmp_path / "error.json")
    with pytest.raises(TrainingError, match=r"wrote error\.json"):
        check_written(tmp_path)


@pytest.mark.parametrize("folder", ["artifact", "artifact/plan"])
def test_a_folder_that_is_a_link_is_not_taken(tmp_path: Path, folder: str) -> None:
    """It could be any folder of ours."""
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / folder).symlink_to("/etc")

    with pytest.raises(TrainingError, match=f"wrote {folder}, which"):
        check_written(tmp_path)


def test_a_message_that_is_not_whole_is_an_error(tmp_path: Path) -> None:
    """With the file's name: none, half of one, and one of another kind."""
    path = tmp_path / "holdout.json"
    for content in (None, b'{"rows": [', b'{"rows": 3}'):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"wrote no valid holdout\.json"):
            written(path, Holdout)
    path.write_bytes(b'{"error": "no"}')
    assert written(path, dict[str, str]) == {"error": "no"}
