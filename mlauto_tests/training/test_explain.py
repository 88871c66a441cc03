import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlauto.training.evaluate import Answers
from mlauto.training.explain import draw, importances

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"strong": RANDOM.normal(0, 3, 500), "none": RANDOM.normal(0, 3, 500), "weak": RANDOM.normal(0, 1, 500)}
)
TRUTH = (FRAME["strong"] * 2 + FRAME["weak"]).tolist()


def exact(frame: pd.DataFrame) -> Answers:
    return Answers(predictions=(frame["strong"] * 2 + frame["weak"]).tolist())


def test_importances_are_ordered_by_what_the_model_relies_on() -> None:
    """The column that counts most comes first; one that the model ignores has none at all."""
    found = importances(exact, FRAME, TRUTH, metric="mae", seed=0)

    assert [importance.column for importance in found] == ["strong", "weak", "none"]
    assert found[0].mean > 4 > found[1].mean > 0.5
    assert found[0].deviation > 0
    assert (found[2].mean, found[2].deviation) == (0.0, 0.0)


def test_importances_repeat_with_the_seed() -> None:
    """The same seed shuffles alike, another one does not; the frame itself is not changed."""
    before = FRAME.copy()

    first, again, other = (importances(exact, FRAME, TRUTH, metric="mae", seed=s) for s in (1, 1, 2))

    assert first == again != other
    pd.testing.assert_frame_equal(FRAME, before)


def test_importances_stay_within_their_time() -> None:
    """A slow model is asked twice, once as it is and once shuffled, and never again when the time is used up."""
    calls = []

    def slow(frame: pd.DataFrame) -> Answers:
        calls.append(len(frame))
        time.sleep(0.05)
        return exact(frame)

    found = importances(slow, FRAME, TRUTH, metric="mae", seed=0, seconds=0.1)

    assert calls == [300, 900]
    assert all(importance.deviation == 0 for importance in found)


def test_importances_of_wide_frames_are_bounded() -> None:
    """400 columns are measured on few rows: a stacked prediction never grows beyond 12,000."""
    wide = pd.DataFrame({f"c{i}": np.arange(100.0) for i in range(400)})
    sizes = []

    def answer(frame: pd.DataFrame) -> Answers:
        sizes.append(len(frame))
        return Answers(predictions=[0.0] * len(frame))

    assert len(importances(answer, wide, [0.0] * 100, metric="mae", seed=0)) == 400
    assert max(sizes) <= 12_000


@pytest.mark.parametrize(
    ("task", "labels", "answers"),
    [
        ("regression", TRUTH, exact(FRAME)),
        ("regression", [1.0], Answers(predictions=[1.0])),
        (
            "classification",
            ["a", "b"] * 100,
            Answers(predictions=["a", "b"] * 100, probabilities=[[0.9, 0.1], [0.3, 0.7]] * 100, classes=("a", "b")),
        ),
        (
            "classification",
            ["a", "b", "c"],
            Answers(
                predictions=["a", "b", "a"],
                probabilities=[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]],
                classes=("a", "b", "c"),
            ),
        ),
        ("classification", ["a", 1, "b"], Answers(predictions=["a", "b", "b"])),
    ],
    ids=["residuals", "one row", "two classes", "three classes", "labels only"],
)
def test_every_task_has_a_small_plot(tmp_path: Path, task: str, labels: list[object], answers: Answers) -> None:
    """A PNG of 640 x 280 below 60 KB, for each kind of answer, down to a single row."""
    path = tmp_path / "plot.png"

    draw(path, task=task, labels=labels, answers=answers)

    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20]) == 640
    assert int.from_bytes(content[20:24]) == 280
    assert len(content) < 60_000
