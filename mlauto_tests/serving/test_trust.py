"""Types that a model file may consist of."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlauto.serving import trust
from mlauto_tests.serving.conftest import environment, frame, pipeline


def estimators() -> list[Any]:
    from sklearn import ensemble, linear_model, tree

    return [
        ensemble.HistGradientBoostingClassifier(max_iter=2),
        ensemble.HistGradientBoostingRegressor(max_iter=2),
        ensemble.RandomForestClassifier(2),
        ensemble.RandomForestRegressor(2),
        ensemble.ExtraTreesClassifier(2),
        ensemble.GradientBoostingClassifier(n_estimators=2),
        ensemble.GradientBoostingRegressor(n_estimators=2),
        tree.DecisionTreeClassifier(max_depth=2),
        linear_model.LinearRegression(),
        linear_model.Ridge(),
        linear_model.Lasso(),
        linear_model.ElasticNet(),
        linear_model.LogisticRegression(),
        linear_model.SGDClassifier(max_iter=5, tol=None),
        linear_model.SGDRegressor(max_iter=5, tol=None),
        ensemble.VotingClassifier([("one", linear_model.LogisticRegression())]),
        ensemble.StackingClassifier([("one", tree.DecisionTreeClassifier(max_depth=1))], cv=2),
    ]


@pytest.mark.parametrize("estimator", estimators(), ids=lambda estimator: type(estimator).__name__)
def test_usual_pipelines_load_and_predict_the_same(estimator: Any, tmp_path: Path) -> None:
    """Imputers, scalers, encoders and the usual estimators are on the base list."""
    import numpy as np
    import skops.io

    features = frame(60)
    model = pipeline(estimator).fit(features, np.arange(60) % 2)
    skops.io.dump(model, tmp_path / "model.skops")
    loaded = trust.load_model(tmp_path / "model.skops", [])

    assert np.array_equal(loaded.predict(features), model.predict(features))


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.getattr",
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "shutil.rmtree",
        "pickle.loads",
        "numpy.load",
        "numpy.save",
        "numpy.fromfile",
        "numpy.ctypeslib.load_library",
        "sklearn.datasets._openml.fetch_openml",
        "sklearn.datasets._base.load_files",
        "sklearn.utils._testing.TempMemmap",
        "sklearn.externals.array_api_compat.X",
        "sklearn.linear_model._base.make_dataset",
        "sklearn.pipeline.make_pipeline",
        "scipy.io.loadmat",
        "joblib.load",
        "sklearnevil.Ridge",
        "sklearn.linear_model.Ridge.x.y",
        "functools.partial",
        "",
    ],
)
def test_what_acts_is_not_on_the_list(name: str) -> None:
    """Functions that read, write, download or execute, and look-alikes of trusted names, are unknown."""
    assert not trust.is_known(name)


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.pipeline.Pipeline",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.linear_model._sgd_fast.Hinge",
        "numpy.dtype",
        "numpy.float64",
        "numpy.random.mtrand.RandomState",
        "numpy.dtypes.StringDType",
        "scipy.sparse._csr.csr_matrix",
        "collections.OrderedDict",
    ],
)
def test_containers_and_estimators_are_on_the_list(name: str) -> None:
    """What a fitted pipeline consists of."""
    assert trust.is_known(name)


def test_every_estimator_that_skops_trusts_is_known() -> None:
    """The quick import leaves skops without its own list: ours has to cover it."""
    from skops.io import _trusted_types as skops_types

    names = [*skops_types.SKLEARN_ESTIMATOR_TYPE_NAMES, *skops_types.SKLEARN_INTERNAL_TYPE_NAMES]
    assert [name for name in names if not trust.is_known(name)] == []


def test_a_function_of_the_standard_library_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """The error names the type; listing it as the team's own does not help."""
    import shutil

    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    path = tmp_path / "model.skops"
    skops.io.dump(FunctionTransformer(shutil.rmtree), path)
    for trusted in ([], ["shutil.rmtree"]):
        with pytest.raises(trust.UntrustedTypeError, match=r"shutil\.rmtree") as caught:
            trust.load_model(path, trusted)
        assert caught.value.names == ("shutil.rmtree",)


def test_a_tampered_schema_is_refused(tmp_path: Path) -> None:
    """A file whose schema was edited to name another class of the standard library does not load."""
    import skops.io
    from sklearn.linear_model import Ridge

    path, tampered = tmp_path / "model.skops", tmp_path / "tampered.skops"
    skops.io.dump(Ridge().fit([[1.0], [2.0]], [1.0, 2.0]), path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tampered, "w") as target:
        for item in source.namelist():
            content = source.read(item)
            if item == "schema.json":
                schema = json.loads(content)
                schema["__class__"], schema["__module__"] = "Popen", "subprocess"
                content = json.dumps(schema).encode()
            target.writestr(item, content)

    with pytest.raises(trust.UntrustedTypeError, match=r"subprocess\.Popen"):
        trust.load_model(tampered, [])


def test_types_of_the_teams_own_tree_need_to_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer that the team wrote loads when the bundle lists it, and only then."""
    import skops.io

    (tmp_path / "team_own.py").write_text(
        "from sklearn.base import BaseEstimator\n\n\nclass Doubler(BaseEstimator):\n    factor = 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import team_own  # type: ignore[import-not-found]

    path = tmp_path / "model.skops"
    skops.io.dump(team_own.Doubler(), path)

    assert trust.untrusted_types(path, []) == ("team_own.Doubler",)
    assert isinstance(trust.load_model(path, ["team_own.Doubler"]), team_own.Doubler)
    with pytest.raises(trust.UntrustedTypeError):
        trust.load_model(path, ["team_own.Other"])


def test_the_quick_import_leaves_scikit_learn_as_it_was(tmp_path: Path) -> None:
    """In a process of its own: models still load, much of scikit-learn is not imported, its search still works."""
    import skops.io

    path = tmp_path / "model.skops"
    skops.io.dump(pipeline(estimators()[0]).fit(frame(60), [0, 1] * 30), path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom mlauto.serving import trust\n"
        "trust.import_skops_quickly()\ntrust.import_skops_quickly()\n"
        "print('sklearn.gaussian_process' in sys.modules)\n"
        f"print(type(trust.load_model(Path({str(path)!r}), [])).__name__)\n"
        "from sklearn.utils import all_estimators\nprint(len(all_estimators()) > 100)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)

    assert done.stdout.split() == ["False", "Pipeline", "True"]
