"""The plan of a fitted model, made and proven, or the reason why there is none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from mlauto.records import Signature
from mlauto.serving.plan.model import PlanModel
from mlauto.training import plan as plans
from mlauto.training.artifact import rows_of
from mlauto.training.plan import NO_COMPILER, add_plan

FRAME = pd.DataFrame({"x": np.arange(50.0), "y": np.arange(50.0) % 7})
SIGNATURE = Signature(columns={"x": "number", "y": "number"}, task="regression")
ROWS = rows_of(FRAME)


@pytest.mark.needs("compiler")
def test_a_proven_plan_is_kept(tmp_path: Path) -> None:
    """With the walker beside it; it answers as the model does."""
    model = make_pipeline(SimpleImputer(), Ridge()).fit(FRAME, FRAME["x"] * 2)

    assert add_plan(model, SIGNATURE, ROWS, tmp_path / "plan", tmp_path / "cache") == ""
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == ["plan.json", "plan.npz", "walker.so"]
    assert PlanModel(tmp_path / "plan").answer(ROWS[:1]).predictions == pytest.approx(model.predict(FRAME[:1]))


def test_what_cannot_be_compiled_has_a_reason(tmp_path: Path) -> None:
    """And leaves nothing behind."""
    model = KNeighborsRegressor().fit(FRAME, FRAME["x"])

    assert "KNeighborsRegressor" in add_plan(model, SIGNATURE, ROWS, tmp_path / "plan", tmp_path / "cache")
    assert not (tmp_path / "plan").exists()


class Doubled(Ridge):
    """What a class with a known name may do after all."""

    def predict(self, X: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":  # noqa: N803 - scikit-learn's
        return np.asarray(super().predict(X)) * 2


def test_what_is_not_proven_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first difference is the reason."""
    model = Doubled().fit(FRAME, FRAME["x"])
    honest = plans.compile_pipeline
    monkeypatch.setattr(plans, "compile_pipeline", lambda model, *rest: honest(Ridge().fit(FRAME, FRAME["x"]), *rest))

    assert "the compiled plan does not answer as the pipeline does: row" in add_plan(
        model, SIGNATURE, ROWS, tmp_path / "plan", tmp_path / "cache"
    )
    assert not (tmp_path / "plan").exists()


def test_without_a_compiler_the_plan_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy walks: slower, and said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    model = make_pipeline(SimpleImputer(), Ridge()).fit(FRAME, FRAME["x"])

    found = add_plan(model, SIGNATURE, ROWS, tmp_path / "plan", tmp_path / "cache")

    assert found.startswith(f"{NO_COMPILER}there is no C compiler")
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == ["plan.json", "plan.npz"]
