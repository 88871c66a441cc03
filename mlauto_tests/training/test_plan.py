"""The plan of a fitted model, made and proven, or the reason why there is none."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlauto.records import Signature
from mlauto.serving.bundle import write_manifest
from mlauto.serving.plan.model import PlanModel
from mlauto.training import plan as plans
from mlauto.training.artifact import Golden, dump, kinds_of_features, rows_of
from mlauto.training.estimator import classes_of
from mlauto.training.plan import NO_COMPILER, add_plan
from mlauto_tests.serving.conftest import free_port, served
from mlauto_tests.training.compile.conftest import assembled, table, target

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


def tensors(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The frame's columns as a server of the Open Inference Protocol takes them."""
    kinds = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
    return [
        {
            "name": name,
            "shape": [len(frame)],
            "datatype": kinds[kind],
            "data": [row[name] for row in rows_of(frame)],
        }
        for name, kind in kinds_of_features(frame).items()
    ]


@pytest.mark.needs("compiler")
@pytest.mark.parametrize("classes", [0, 3])
def test_an_average_is_served_alike_in_both_flavours(tmp_path: Path, classes: int) -> None:
    """Dumped by training, loaded under the allow-list by a real model server, and compiled for another one."""
    frame, asked = table(1, 150), table(2, 40)
    encode = make_column_transformer(
        (SimpleImputer(), ["x", "count"]), (OneHotEncoder(handle_unknown="ignore"), ["kind"])
    )
    kinds = [RandomForestClassifier(5), LogisticRegression()] if classes else [RandomForestRegressor(5), Ridge()]
    labels = target(frame, classes)
    members = [make_pipeline(encode, kind).fit(frame, labels) for kind in kinds]
    model = assembled(members, [0.75, 0.25], np.unique(labels) if classes else None)
    task = "classification" if classes else "regression"
    signature = Signature(columns=kinds_of_features(frame), task=task, classes=classes_of(model))
    golden = Golden(rows=tuple(rows_of(asked)), predictions=(), probabilities=None, refused={})

    folders = {flavour: tmp_path / flavour for flavour in ("sklearn", "compiled")}
    assert add_plan(model, signature, rows_of(asked), folders["compiled"], tmp_path / "cache") == ""
    folders["sklearn"].mkdir()
    loaded, _ = dump(model, folders["sklearn"], tmp_path / "src", signature=signature, golden=golden)
    assert (folders["sklearn"] / "trusted.json").read_bytes() == b"[]"
    assert loaded.predict(asked).tolist() == model.predict(asked).tolist()
    replies = {}
    for flavour, folder in folders.items():
        for name in ("signature.json", "golden.json"):
            if flavour == "compiled":
                shutil.copyfile(folders["sklearn"] / name, folder / name)
        write_manifest(folder, name="mean", version="1", commit="c" * 40, key="k" * 64, flavour=flavour)
        port = free_port()
        arguments = ["mlauto.serving.server", "--bundle", str(folder), "--port", str(port)]
        with served(arguments, port, tmp_path / f"{flavour}.log", "/v2/health/ready") as server:
            replies[flavour] = server.post("/v2/models/mean/infer", {"inputs": tensors(asked)}).json()["outputs"]

    wanted, found = replies["sklearn"], replies["compiled"]
    assert [output["name"] for output in found] == ["predict", "probabilities"][: 2 if classes else 1]
    if classes:
        assert found[0]["data"] == wanted[0]["data"] == model.predict(asked).tolist()
        assert found[1]["data"] == pytest.approx(wanted[1]["data"], abs=1e-12)
        assert found[1]["data"] == pytest.approx(model.predict_proba(asked).ravel().tolist(), abs=1e-12)
    else:
        assert found[0]["data"] == pytest.approx(wanted[0]["data"], rel=1e-12)
        assert found[0]["data"] == pytest.approx(model.predict(asked).tolist(), rel=1e-12)


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
