import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlauto.records import Signature
from mlauto.runtime.process import Finished, run_command, scrubbed_environment
from mlauto.runtime.warm import WarmProcess
from mlauto.serving import trust
from mlauto.serving.model import frame_of
from mlauto.serving.wire.signature import Signature as ServedSignature
from mlauto.training.exchange import Evaluation, FitRequest, Holdout
from mlauto.training.fit import main

Rows = Callable[..., pd.DataFrame]
Ask = Callable[..., FitRequest]
Fit = Callable[..., Finished]


@pytest.fixture
def ask(tmp_path: Path, tree: Path, rows: Rows) -> Ask:
    """`ask(estimator, frame=None, weights=None, **fields)`: a request for the team's estimator, written to disk."""

    def made(estimator: str, frame: pd.DataFrame | None = None, weights: Any = None, **fields: Any) -> FitRequest:
        frame = rows(300) if frame is None else frame
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        frame.to_parquet(output / "frame.parquet", index=False)
        np.save(output / "weights.npy", np.ones(len(frame)) if weights is None else weights)
        request = FitRequest(
            tree=str(tree),
            estimator=f"team_of_tides.model:{estimator}",
            frame=str(output / "frame.parquet"),
            weights=str(output / "weights.npy"),
            holdout=60,
            target="target",
            task="regression",
            metric="mae",
            output=str(output),
            cache=str(tmp_path / "native"),
            exclude=("leak",),
            timestamp="timestamp",
        )
        return replace(request, **fields)

    return made


@pytest.fixture
def fit(warm_process: WarmProcess, tmp_path: Path) -> Fit:
    """Run a request in a child of the warm process."""

    def run(request: FitRequest, timeout: float = 60.0, **environment: str) -> Finished:
        path = Path(request.output) / "request.json"
        path.write_bytes(msgspec.json.encode(request))
        env = scrubbed_environment(HOME=str(tmp_path), **{"OMP_NUM_THREADS": "1", **environment})
        return warm_process.run_python("mlauto.training.fit", path, cwd=tmp_path, env=env, timeout=timeout)

    return run


def evaluation_of(request: FitRequest) -> Evaluation:
    return msgspec.json.decode((Path(request.output) / "artifact" / "evaluation.json").read_bytes(), type=Evaluation)


def holdout_of(request: FitRequest) -> Holdout:
    return msgspec.json.decode((Path(request.output) / "holdout.json").read_bytes(), type=Holdout)


def golden_of(request: FitRequest) -> dict[str, Any]:
    return dict(msgspec.json.decode((Path(request.output) / "artifact" / "golden.json").read_bytes()))


def classified(rows: Rows, count: int = 300) -> pd.DataFrame:
    frame = rows(count)
    return frame.assign(target=pd.Series(np.where(frame["target"] > 42, "high", "low"), dtype="str"))


def test_a_regression_writes_the_whole_artifact(ask: Ask, fit: Fit) -> None:
    """Model, signature, golden rows, evaluation, trusted types and a small plot, from one request."""
    request = ask("boosted")

    ended = fit(request)

    assert ended.exit_code == 0, ended.output
    folder = Path(request.output) / "artifact"
    names = {"model.skops", "signature.json", "golden.json", "evaluation.json", "trusted.json", "plot.png", "plan"}
    assert {path.name for path in folder.iterdir()} == names | {"answered.json", "holdout.json"}
    assert msgspec.json.decode((folder / "holdout.json").read_bytes(), type=Holdout) == holdout_of(request)
    signature = msgspec.json.decode((folder / "signature.json").read_bytes(), type=Signature)
    assert signature.columns == {"temp": "number", "hour": "integer", "open": "boolean", "kind": "string"}
    assert (signature.task, signature.classes) == ("regression", ())
    assert (folder / "trusted.json").read_bytes() == b"[]"
    plot = (folder / "plot.png").read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert len(plot) < 60_000


def test_the_evaluation_says_what_was_found(ask: Ask, fit: Fit) -> None:
    """Scores with intervals beside a constant prediction's, importances in order, parameters, seed, exact versions."""
    request = ask("boosted", weights=np.repeat([0.5, 1.0], 150), seed=5)

    assert fit(request).exit_code == 0

    found = evaluation_of(request)
    assert [score.metric for score in found.scores] == ["mae", "rmse", "r2"]
    assert all(score.low < score.value < score.high and score.rows == 60 for score in found.scores)
    assert found.scores[0].value < found.baseline[0].value
    assert {importance.column for importance in found.importances} == {"temp", "hour", "open", "kind"}
    assert {importance.column for importance in found.importances[:2]} == {"temp", "hour"}
    assert found.estimator == "Pipeline with HistGradientBoostingRegressor"
    assert found.parameters["final__max_iter"] == "20"
    assert found.seeded == ("final__random_state",)
    assert found.weights == "passed as final__sample_weight"
    assert (found.rows, found.holdout, found.finite, found.reloads, found.refused) == (300, 60, True, True, {})
    assert f"numpy=={np.__version__}" in found.requirements
    assert set(found.seconds) == {"read", "import", "fit", "score", "plot", "importances", "refit", "save", "compile"}


def test_golden_rows_are_answered_alike_by_the_saved_model(ask: Ask, fit: Fit) -> None:
    """About 20 JSON rows with gaps and an unseen category, and the model loaded from disk gives the same answers."""
    request = ask("boosted")

    assert fit(request).exit_code == 0

    golden, folder = golden_of(request), Path(request.output) / "artifact"
    assert 12 < len(golden["rows"]) <= 20
    assert any(None in row.values() for row in golden["rows"])
    assert {row["kind"] for row in golden["rows"]} > {"spring", "neap", None}
    assert golden["probabilities"] is None
    signature = msgspec.json.decode((folder / "signature.json").read_bytes(), type=Signature)
    served = ServedSignature(signature.columns, signature.task)
    model = trust.load_model(folder / "model.skops", ())
    answers = [float(model.predict(frame_of([row], served))[0]) for row in golden["rows"]]
    assert answers == golden["predictions"]


def test_limits_and_categories_travel_into_the_signature(ask: Ask, fit: Fit) -> None:
    """The server's own reading of it allows every golden row; a column that there is not ends the training."""
    request = ask("boosted", limits={"hour": (2, 20.5)}, categories={"kind": ("neap", "spring")})

    ended = fit(request)

    assert ended.exit_code == 0, ended.output
    content = (Path(request.output) / "artifact" / "signature.json").read_bytes()
    served = msgspec.json.decode(content, type=ServedSignature)
    assert (served.limits, served.categories) == ({"hour": (2, 20.5)}, {"kind": ("neap", "spring")})
    assert msgspec.json.decode(content, type=Signature).limits == served.limits
    golden = golden_of(request)["rows"]
    assert all(served.allows(name, value) for row in golden for name, value in row.items())
    assert fit(replace(request, limits={"wind": (0, 1)})).exit_code == 1


def test_a_classifier_keeps_its_labels_and_probabilities(ask: Ask, fit: Fit, rows: Rows) -> None:
    """Text labels come through as they are; probabilities are in the order of the signature's classes."""
    request = ask("logistic", classified(rows), task="classification", metric="log_loss")

    ended = fit(request)

    assert ended.exit_code == 0, ended.output
    found, golden = evaluation_of(request), golden_of(request)
    assert [score.metric for score in found.scores] == ["log_loss", "error_rate", "auc"]
    assert (found.scores[2].value > 0.9, found.baseline[2].value) == (True, 0.5)
    assert found.scores[0].value < found.baseline[0].value
    assert set(golden["predictions"]) <= {"high", "low"}
    for label, (high, low) in zip(golden["predictions"], golden["probabilities"], strict=True):
        assert label == ("high" if high > low else "low")
    assert tuple(holdout_of(request).answers.classes) == ("high", "low")


def test_a_classifier_without_probabilities_is_scored_by_its_errors(ask: Ask, fit: Fit, rows: Rows) -> None:
    """No `predict_proba`: no log_loss and no probabilities, the rest is there; asking for log_loss is an error."""
    request = ask("margins", classified(rows), task="classification", metric="error_rate")

    assert fit(request).exit_code == 0
    assert [score.metric for score in evaluation_of(request).scores] == ["error_rate"]
    assert golden_of(request)["probabilities"] is None

    refused = fit(replace(request, metric="log_loss"))
    assert refused.exit_code == 1
    assert "no predict_proba: choose error_rate" in refused.output.splitlines()[-1]


def test_the_holdout_is_not_fitted_on_and_the_saved_model_knows_all_rows(ask: Ask, fit: Fit) -> None:
    """An estimator that predicts how many rows it saw says 240 on the holdout, and 300 once saved."""
    request = ask("counting")

    assert fit(request).exit_code == 0

    assert set(holdout_of(request).answers.predictions) == {240.0}
    assert set(golden_of(request)["predictions"]) == {300.0}


def test_the_holdout_is_the_newest_rows(ask: Ask, fit: Fit, rows: Rows) -> None:
    """Rows and labels of the holdout are the last ones of the frame, as JSON values with null for gaps."""
    frame = rows(300)
    request = ask("ridge", frame)

    assert fit(request).exit_code == 0

    holdout = holdout_of(request)
    assert list(holdout.labels) == frame["target"].tail(60).tolist()
    assert [row["hour"] for row in holdout.rows] == frame["hour"].tail(60).tolist()
    assert any(row["temp"] is None for row in holdout.rows)
    assert list(holdout.rows[0]) == ["temp", "hour", "open", "kind"]


def test_the_teams_own_types_are_saved_and_listed(ask: Ask, fit: Fit) -> None:
    """A class and a function of the team's tree work with skops, and `trusted.json` lists exactly them."""
    own, function = ask("weighted"), ask("with_function")

    assert fit(own).exit_code == 0
    listed = msgspec.json.decode((Path(own.output) / "artifact" / "trusted.json").read_bytes())
    assert sorted(listed) == ["team_of_tides.model.Own", "team_of_tides.model.only_temp"]

    assert fit(function).exit_code == 0
    listed = msgspec.json.decode((Path(function.output) / "artifact" / "trusted.json").read_bytes())
    assert listed == ["team_of_tides.model.only_temp"]


def test_sample_weights_reach_the_final_step(ask: Ask, fit: Fit, rows: Rows) -> None:
    """With all weight on rows whose target is 7, a weighted mean predicts 7."""
    frame = rows(300)
    frame.loc[:99, "target"] = 7.0
    weights = np.where(np.arange(300) < 100, 1.0, 0.0)
    request = ask("weighted", frame, weights)

    assert fit(request).exit_code == 0

    assert set(golden_of(request)["predictions"]) == {7.0}
    assert evaluation_of(request).weights == "passed as own__sample_weight"


def test_an_estimator_that_takes_no_weights_is_fitted_on_a_resample(ask: Ask, fit: Fit, rows: Rows) -> None:
    """Old rows are thinned out by their weight, the evaluation says so; equal weights have nothing to say."""
    weights = np.repeat([0.25, 1.0], [200, 100])
    request = ask("neighbours", rows(300), weights)

    assert fit(request).exit_code == 0

    said = "resampled: 90 of 240 rows, Pipeline with KNeighborsRegressor takes no weights"
    assert evaluation_of(request).weights == said
    assert fit(equal := ask("neighbours")).exit_code == 0
    assert evaluation_of(equal).weights == "not used: all are equal, and Pipeline with KNeighborsRegressor takes none"


def test_the_seed_makes_two_trainings_equal(ask: Ask, fit: Fit) -> None:
    """A forest whose random_state the team left open predicts the same twice, and something else with another seed."""
    request, answers = ask("forest", seed=1), []
    for seed in (1, 1, 2):
        assert fit(replace(request, seed=seed)).exit_code == 0
        answers.append(golden_of(request)["predictions"])

    assert answers[0] == answers[1] != answers[2]


def test_a_model_that_cannot_answer_gaps_says_so(ask: Ask, fit: Fit) -> None:
    """A pipeline without imputer is no failure: golden rows leave gaps out, and the evaluation names the refusal."""
    request = ask("fragile")

    ended = fit(request)

    assert ended.exit_code == 0, ended.output
    assert "missing" in evaluation_of(request).refused
    assert all(row["hour"] is not None for row in golden_of(request)["rows"])


def test_threads_are_those_that_the_parent_set(ask: Ask, fit: Fit) -> None:
    """OMP_NUM_THREADS is obeyed in a forked child as well, and the working directory is the team's tree."""
    request = ask("threads")

    assert "OpenMP threads [1] in True" in fit(request, OMP_NUM_THREADS="1").output
    assert "OpenMP threads [2] in True" in fit(request, OMP_NUM_THREADS="2").output


def test_the_tree_is_left_as_it_was(ask: Ask, fit: Fit, tree: Path) -> None:
    """Training writes nothing into the export, no bytecode either: later stages copy it."""
    before = sorted(tree.rglob("*"))

    assert fit(ask("ridge")).exit_code == 0

    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ("failing", "fitting Failing on 240 rows failed: RuntimeError: the solver did not converge"),
        ("nothing", "returned int: it must return a scikit-learn estimator"),
        ("absent", "has no function 'absent': correct code.estimator"),
        ("constant", "has no function 'constant'"),
        ("endless", "answers to all 60 newest rows are not finite"),
        ("carrying", "subprocess.Popen"),
    ],
)
def test_the_teams_mistakes_end_with_a_sentence(ask: Ask, fit: Fit, estimator: str, message: str) -> None:
    """Exit code 1, a last line that says what is wrong, and the same in `error.json`."""
    request = ask(estimator)

    ended = fit(request)

    assert ended.exit_code == 1, ended.output
    assert message in ended.output.splitlines()[-1]
    error = msgspec.json.decode((Path(request.output) / "error.json").read_bytes())
    assert message in error["error"]
    assert not (Path(request.output) / "holdout.json").exists()


def test_partly_infinite_answers_are_scored_on_the_rest_and_marked(ask: Ask, fit: Fit) -> None:
    """Infinite predictions leave the holdout, and the evaluation says that the model is not finite."""
    request = ask("blowing")

    assert fit(request).exit_code == 0

    found = evaluation_of(request)
    assert not found.finite
    assert 0 < found.scores[0].rows < 60
    assert found.importances == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "absent"}, "no column 'absent': correct data.target"),
        ({"target": "kind"}, "target 'kind' holds text"),
        ({"timestamp": None}, "column 'timestamp' holds times"),
        ({"exclude": ("temp", "hour", "open", "kind", "leak")}, "no feature column is left"),
        ({"holdout": 300}, "do not fit"),
        ({"estimator": "team_of_rivers.model:build"}, "importing team_of_rivers.model failed: ModuleNotFoundError"),
    ],
)
def test_data_that_cannot_be_fitted_is_refused(ask: Ask, fit: Fit, change: dict[str, Any], message: str) -> None:
    """Each names the column or field to change."""
    ended = fit(replace(ask("ridge"), **change))

    assert ended.exit_code == 1
    assert message in ended.output.splitlines()[-1]


def test_rows_without_a_target_are_left_out(ask: Ask, fit: Fit, rows: Rows) -> None:
    """Some missing labels, of an old and of a new row, do not stop the training; the holdout is as much smaller."""
    frame = rows(300)
    frame.loc[[0, 1, 299], "target"] = np.nan
    request = ask("ridge", frame)

    ended = fit(request)

    assert ended.exit_code == 0
    assert "3 of 300 rows have no 'target': left out" in ended.output
    found = evaluation_of(request)
    assert (found.rows, found.holdout) == (297, request.holdout - 1)


def test_no_label_in_the_holdout_is_an_error(ask: Ask, fit: Fit, rows: Rows) -> None:
    """Nothing could be said of such a model."""
    frame = rows(300)
    frame.loc[150:, "target"] = np.nan

    ended = fit(ask("ridge", frame))

    assert ended.exit_code == 1
    assert "target 'target' is missing in all of the newest rows" in ended.output


def test_a_target_that_never_changes_is_named(ask: Ask, fit: Fit, rows: Rows) -> None:
    """One class, or one number, in all rows to fit on: a sentence that names the target and its value."""
    constant, single = rows(300), rows(300)
    constant.loc[:, "target"] = 7.5
    single["target"] = pd.Series(["high"] * 250 + ["low"] * 50, dtype="str")

    flat = fit(ask("ridge", constant))
    one = fit(replace(ask("logistic", single), task="classification", metric="error_rate"))

    assert (flat.exit_code, one.exit_code) == (1, 1)
    assert "target 'target' is 7.5 in all 240 rows to fit on: there is nothing to tell apart" in flat.output
    assert "target 'target' is 'high' in all 240 rows to fit on" in one.output


def test_a_cold_process_and_a_tree_without_src_do_as_well(ask: Ask, tree: Path, tmp_path: Path) -> None:
    """`python -m mlauto.training.fit` from scratch gives the same files; packages may lie at the tree's root."""
    (tree / "src" / "team_of_tides").rename(tree / "team_of_tides")
    (tree / "src").rmdir()
    request = ask("ridge")
    path = Path(request.output) / "request.json"
    path.write_bytes(msgspec.json.encode(request))
    env = scrubbed_environment(HOME=str(tmp_path), OMP_NUM_THREADS="1")

    command = [sys.executable, "-W", "error", "-m", "mlauto.training.fit", str(path)]
    ended = run_command(command, cwd=tmp_path, env=env, timeout=60)

    assert ended.exit_code == 0, ended.output
    assert evaluation_of(request).reloads


def test_the_command_takes_one_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else prints the usage and exits with 2."""
    assert main([]) == 2
    assert "REQUEST.json" in capsys.readouterr().out
