"""The compiled flavour as the model server sees it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlauto.serving.errors import ModelError
from mlauto.serving.plan import format as formats
from mlauto.serving.plan import walker_file
from mlauto.serving.plan.format import Linear, Numbers, Plan, PlanError
from mlauto.serving.plan.model import PlanModel
from mlauto_tests.serving.plan.conftest import Arrays

LINEAR: Arrays = {"coefficients": np.array([[2.0, 1.0]]), "intercept": np.array([1.0])}


def written(folder: Path, finish: str = "identity") -> Path:
    plan = Plan(columns=("x", "y"), steps=(Numbers((0, 1)),), estimator=Linear(2, finish))
    formats.write(folder, plan, LINEAR)
    return folder


def test_rows_are_answered(tmp_path: Path) -> None:
    """One prediction for each row."""
    model = PlanModel(written(tmp_path))

    assert model.answer([{"x": 1, "y": 0.5}, {"x": -1.0, "y": True}]).predictions == [3.5, 0.0]


def test_an_answer_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    """It would be no JSON, and no prediction."""
    model = PlanModel(written(tmp_path, "exp"))

    with pytest.raises(ModelError, match="answered inf for row 1"):
        model.answer([{"x": 0, "y": 0}, {"x": 1e5, "y": 0}])


def test_the_library_beside_the_plan_is_used(tmp_path: Path) -> None:
    """A damaged one is refused, so it is not overlooked."""
    plan = Plan(columns=("x",), steps=(Numbers((0,)),), estimator=formats.Trees(1, (0.0,), "identity"))
    nodes = np.zeros(
        1, dtype=[("threshold", "<f8"), ("left", "<i4"), ("right", "<i4"), ("feature", "<i4"), ("flags", "<u4")]
    )
    nodes[0] = (5.0, 0, 0, 0, 1)
    one_leaf = {
        "nodes": nodes,
        "roots": np.zeros(1, dtype=np.int64),
        "outputs": np.zeros(1, dtype=np.int32),
        "values": np.zeros((0, 1)),
        "sets": np.zeros((0, 16), dtype=np.uint32),
    }
    formats.write(tmp_path, plan, one_leaf)
    assert PlanModel(tmp_path).answer([{"x": 1}]).predictions == [5.0]
    (tmp_path / walker_file.LIBRARY).write_bytes(b"damaged")

    with pytest.raises(PlanError, match=r"walker\.so cannot be used here"):
        PlanModel(tmp_path)


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    """The compiled flavour needs numpy; scikit-learn, scipy, pandas and pyarrow stay out of its process."""
    script = (
        "import sys; from pathlib import Path; import mlauto.serving.server, mlauto.serving.plan.model as m;"
        "m.PlanModel(Path(sys.argv[1])).answer([{'x': 1, 'y': 2}]);"
        "print(sorted({'sklearn', 'scipy', 'pandas', 'pyarrow', 'skops', 'mlflow', 'dagster'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(written(tmp_path))], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
