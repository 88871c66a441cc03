import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlauto.errors import TrainingError
from mlauto.records import Signature
from mlauto.serving.model import frame_of
from mlauto.serving.wire.signature import Signature as ServedSignature
from mlauto.training.artifact import Golden, dump, golden_rows, is_finite, kinds_of_features, rows_of
from mlauto.training.evaluate import Answers

FRAME = pd.DataFrame(
    {
        "temp": [1.5, np.nan, 3.0],
        "hour": [1, 2, 3],
        "open": [True, False, True],
        "kind": pd.Series(["neap", None, "spring"], dtype="str"),
    }
)
KINDS = {"temp": "number", "hour": "integer", "open": "boolean", "kind": "string"}
SIGNATURE = Signature(columns=KINDS, task="regression")


def counting(frame: pd.DataFrame) -> Answers:
    """Answers with the number of gaps in each row."""
    return Answers(predictions=[float(n) for n in frame.isna().sum(axis=1)])


def test_kinds_come_from_the_dtypes() -> None:
    """Each of the four kinds, in the frame's order; times are refused with the field to change."""
    assert kinds_of_features(FRAME) == KINDS
    assert list(kinds_of_features(FRAME)) == list(KINDS)
    with pytest.raises(TrainingError, match=r"'when' holds times.*data\.timestamp or data\.exclude"):
        kinds_of_features(pd.DataFrame({"when": pd.to_datetime(["2024-01-01"])}))


def test_rows_are_json_values() -> None:
    """Gaps become None, numbers and booleans Python's own; the JSON encoder needs no help."""
    rows = rows_of(FRAME)

    assert rows[0] == {"temp": 1.5, "hour": 1, "open": True, "kind": "neap"}
    assert rows[1] == {"temp": None, "hour": 2, "open": False, "kind": None}
    assert msgspec.json.decode(msgspec.json.encode(rows)) == rows


def test_rows_make_the_same_frame_again() -> None:
    """There and back through the model server's own function, dtypes included."""
    pd.testing.assert_frame_equal(frame_of(rows_of(FRAME), ServedSignature(KINDS, "regression")), FRAME)


def test_golden_rows_cover_plain_missing_and_unseen() -> None:
    """At most 12 plain rows, one gap in each of some columns, a row of gaps, an unseen category."""
    frame = pd.concat([FRAME] * 20, ignore_index=True)

    golden = golden_rows(frame, SIGNATURE, counting)

    assert 12 < len(golden.rows) <= 20
    assert len(golden.rows) == len(golden.predictions)
    assert dict.fromkeys(KINDS) in golden.rows
    assert golden.predictions[golden.rows.index(dict.fromkeys(KINDS))] == 4.0
    assert any(row["kind"] not in {"neap", "spring", None} for row in golden.rows)
    assert golden.refused == {}


def test_golden_rows_of_a_single_row() -> None:
    """A holdout of one row still gives golden rows."""
    golden = golden_rows(FRAME.head(1), SIGNATURE, counting)

    assert golden.rows[0] == {"temp": 1.5, "hour": 1, "open": True, "kind": "neap"}


def test_golden_rows_are_within_limits_and_categories() -> None:
    """Servers refuse any other row, also one with a category that never occurred; without any the product is wrong."""
    frame = pd.concat([FRAME] * 20, ignore_index=True)
    limited = replace(SIGNATURE, limits={"hour": (None, 2)}, categories={"kind": ("neap",)})

    golden = golden_rows(frame, limited, counting)

    assert {row["hour"] for row in golden.rows} == {1, 2, None}
    assert {row["kind"] for row in golden.rows} == {"neap", None}
    assert "unseen" not in golden.refused
    with pytest.raises(TrainingError, match=r"none of the newest 60 rows is within data\.limits"):
        golden_rows(frame, replace(SIGNATURE, limits={"hour": (9, None)}), counting)


def test_what_a_model_refuses_is_recorded_and_left_out() -> None:
    """An error on gaps, or an answer that is not finite on unseen categories, is noted; plain rows must work."""

    def picky(frame: pd.DataFrame) -> Answers:
        if frame.isna().any(axis=None):
            raise ValueError("Input contains NaN")
        return Answers(predictions=[1.0 if kind in {"neap", "spring"} else np.inf for kind in frame["kind"]])

    golden = golden_rows(FRAME.iloc[[0, 2]], SIGNATURE, picky)

    assert set(golden.refused) == {"missing", "unseen"}
    assert "Input contains NaN" in golden.refused["missing"]
    assert set(golden.predictions) == {1.0}
    with pytest.raises(ValueError, match="NaN"):
        golden_rows(FRAME, SIGNATURE, picky)


def test_finite_means_every_number() -> None:
    """Predictions and probabilities are looked at; labels count as finite."""
    assert is_finite(Answers(predictions=["a", 1.0]))
    assert not is_finite(Answers(predictions=[1.0, np.nan]))
    assert not is_finite(Answers(predictions=["a"], probabilities=[[np.nan, 1.0]]))


@pytest.fixture
def dumped(tmp_path: Path) -> Callable[[object], list[str]]:
    """Dump a model next to some golden rows; what `trusted.json` lists."""
    golden = Golden(rows=({"a": 1},), predictions=(1.0,), probabilities=None, refused={})

    def run(model: object) -> list[str]:
        dump(model, tmp_path, tmp_path / "src", signature=Signature(columns={}, task="regression"), golden=golden)
        return list(msgspec.json.decode((tmp_path / "trusted.json").read_bytes()))

    return run


def test_dump_writes_what_the_contract_names(dumped: Callable[[object], list[str]], tmp_path: Path) -> None:
    """Four files; scikit-learn's own types need no trust of the bundle."""
    from sklearn.linear_model import Ridge

    assert dumped(Ridge().fit([[1.0], [2.0]], [1.0, 2.0])) == []

    assert {path.name for path in tmp_path.iterdir()} == {
        "model.skops",
        "signature.json",
        "golden.json",
        "trusted.json",
    }
    content = msgspec.json.decode((tmp_path / "golden.json").read_bytes())
    assert content == {"rows": [{"a": 1}], "predictions": [1.0], "probabilities": None}


def test_types_from_elsewhere_are_refused(dumped: Callable[[object], list[str]]) -> None:
    """A type that is neither on the allow-list nor in the team's tree cannot be shipped."""
    from sklearn.linear_model import Ridge

    model = Ridge().fit([[1.0], [2.0]], [1.0, 2.0])
    model.opener_ = subprocess.Popen

    with pytest.raises(TrainingError, match="not trusted"):
        dumped(model)
