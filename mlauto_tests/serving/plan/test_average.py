"""Averages of models: the bits of `numpy.average`, ties among them, and averages that are not sound."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.plan import format as formats
from mlauto.serving.plan.average import averaged
from mlauto.serving.plan.format import MOST_PARTS, Average, Linear, Numbers, Part, Plan, PlanError, Trees
from mlauto.serving.plan.model import PlanModel
from mlauto_tests.serving.plan.conftest import Arrays

TWO, THREE = ("no", "yes"), ("a", "b", "c")


def linear(number: int, coefficients: Any, intercept: Any) -> Arrays:
    """The arrays of a linear part."""
    return {
        f"{number}.coefficients": np.array(coefficients, dtype=np.float64),
        f"{number}.intercept": np.array(intercept, dtype=np.float64),
    }


def constants(shares: list[float], odds: list[list[float]]) -> tuple[Average, Arrays]:
    """Parts that answer the same probabilities whatever they are asked."""
    arrays: Arrays = {}
    for number, one in enumerate(odds):
        arrays |= linear(number, np.zeros((len(one), 1)), one)
    return Average(tuple(Part(0, share, Linear(1, "shares")) for share in shares)), arrays


@pytest.mark.parametrize("shift", [0.0, 0.1, -7e5])
@pytest.mark.parametrize("members", [*range(1, 12), 33, MOST_PARTS])
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_numbers_are_averaged_to_the_last_bit(members: int, rows: int, shift: float) -> None:
    """As voting does it: a matrix of predictions turned on its side, the average along its rows, and the shift last."""
    chance = np.random.default_rng(members)
    slopes, shares = chance.normal(size=members), chance.random(members)
    arrays: Arrays = {}
    for number, slope in enumerate(slopes):
        arrays |= linear(number, [[slope]], [0.0])
    plan = Average(tuple(Part(0, share, Linear(1, "identity")) for share in shares.tolist()), shift=shift)
    cells = chance.normal(size=(rows, 1))

    found = averaged(plan, (), arrays)([cells] * members, True)

    wanted = np.average(np.asarray([cells[:, 0] * slope for slope in slopes]).T, axis=1, weights=shares.tolist())
    assert found.predictions == (wanted + shift).tolist()
    assert found.probabilities is None


@pytest.mark.parametrize("members", [1, 2, 3, 7, 8, 9, 33])
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_probabilities_are_averaged_to_the_last_bit(members: int, rows: int) -> None:
    """And the largest of them wins; whether they are told or not."""
    chance = np.random.default_rng(members)
    shares = chance.integers(0, 4, members) + 1
    odds = chance.dirichlet((1.0, 1.0, 1.0), members)
    plan, arrays = constants([float(share) for share in shares], odds.tolist())
    run = averaged(plan, THREE, arrays)
    cells = [np.zeros((rows, 1))] * members

    wanted = np.average(np.repeat(odds[:, None, :], rows, axis=1), axis=0, weights=shares.tolist())
    assert run(cells, True).probabilities == wanted.tolist()
    assert run(cells, True).predictions == [THREE[place] for place in wanted.argmax(axis=1)]
    assert run(cells, False).probabilities is None
    assert run(cells, False).predictions == run(cells, True).predictions


def test_equal_weights_are_the_plain_mean() -> None:
    """To the last bit: what voting without weights asks numpy for."""
    odds = np.random.default_rng(1).dirichlet((1.0, 1.0, 1.0), 5)
    plan, arrays = constants([1.0] * 5, odds.tolist())

    found = averaged(plan, THREE, arrays)([np.zeros((1, 1))] * 5, True)

    assert found.probabilities == np.average(odds[:, None, :], axis=0).tolist()


def test_the_first_of_equal_classes_wins() -> None:
    """And a weight decides between them."""
    tie, arrays = constants([1.0, 1.0], [[0.25, 0.0, 0.75], [0.75, 0.0, 0.25]])
    other, _ = constants([1.0, 3.0], [[0.25, 0.0, 0.75], [0.75, 0.0, 0.25]])
    cells = [np.zeros((1, 1))] * 2

    assert averaged(tie, THREE, arrays)(cells, True).probabilities == [[0.5, 0.0, 0.5]]
    assert averaged(tie, THREE, arrays)(cells, False).predictions == ["a"]
    assert averaged(other, ("x", "y", "z"), arrays)(cells, False).predictions == ["x"]
    flipped, _ = constants([3.0, 1.0], [[0.25, 0.0, 0.75], [0.75, 0.0, 0.25]])
    assert averaged(flipped, THREE, arrays)(cells, False).predictions == ["c"]


@pytest.mark.parametrize(
    ("threshold", "said"),
    [(None, "no"), (0.5, "yes"), (0.5000001, "no"), (0.3, "yes"), (0.999, "no"), (1e-9, "yes")],
)
def test_a_threshold_decides_between_two_classes(threshold: float | None, said: str) -> None:
    """The second one from there on, a tie included, whether probabilities are told or not; they stay what they are."""
    plan, arrays = constants([1.0, 1.0], [[0.25, 0.75], [0.75, 0.25]])
    run = averaged(msgspec.structs.replace(plan, threshold=threshold), TWO, arrays)

    for rows in (1, 3):
        cells = [np.zeros((rows, 1))] * 2
        assert run(cells, True).probabilities == [[0.5, 0.5]] * rows
        assert run(cells, True).predictions == run(cells, False).predictions == [said] * rows


def test_parts_are_of_any_kind(stumps: Arrays) -> None:
    """Trees and sums, each with the step that it takes its cells from; one row as among others."""
    trees = Part(0, 1.0, Trees(2, (-20.5,), "logistic"))
    plan = Average((trees, Part(1, 3.0, Linear(1, "logistic"))))
    arrays = {**{f"0.{name}": array for name, array in stumps.items()}, **linear(1, [[1.0]], [0.0])}
    run = averaged(plan, ("no", "yes"), arrays)
    both = [np.array([[0.0, 3.0], [9.0, 3.0]]), np.array([[0.0], [np.log(3)]])]

    found = run(both, True)

    assert found.predictions == ["no", "yes"]
    assert found.probabilities == [
        pytest.approx([0.625, 0.375], abs=1e-4),  # 3/4 of one half, and next to nothing of the trees
        pytest.approx([0.3125, 0.6875]),
    ]
    for row in range(2):
        alone = run([cells[row : row + 1] for cells in both], True)
        assert alone.probabilities == found.probabilities[row : row + 1]
    with pytest.raises(RequestError, match="missing or not finite"):
        run([both[0], np.array([[np.nan], [0.0]])], True)


PLAN = Plan(
    columns=("x", "y"),
    steps=(Numbers((0, 1)), Numbers((1,))),
    estimator=Average((Part(0, 1.0, Linear(2, "identity")), Part(1, 3.0, Linear(1, "exp")))),
)
ARRAYS = {**linear(0, [[1.0, 2.0]], [0.5]), **linear(1, [[1.0]], [0.0])}


def test_an_average_is_written_read_and_served(tmp_path: Path) -> None:
    """Each part gets its own columns, for one row and for several; what is not finite is no prediction."""
    formats.write(tmp_path, PLAN, ARRAYS)
    plan, arrays = formats.read(tmp_path)
    model = PlanModel(tmp_path)

    assert plan == PLAN
    assert sorted(arrays) == sorted(ARRAYS)
    assert model.answer([{"x": 1.0, "y": 0.0}]).predictions == [(1.5 + 3 * 1.0) / 4]
    assert model.answer([{"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 1.0}]).predictions == pytest.approx(
        [1.125, (2.5 + 3 * np.e) / 4]
    )
    with pytest.raises(ModelError, match="answered inf for row 0"):
        model.answer([{"x": 1.0, "y": 1e4}])
    nothing = (PLAN.estimator.parts[0], Part(1, 0.0, Linear(1, "exp")))  # type: ignore[union-attr] # see PLAN
    formats.write(tmp_path, msgspec.structs.replace(PLAN, estimator=Average(nothing)), ARRAYS)
    assert PlanModel(tmp_path).answer([{"x": 1.0, "y": 0.0}]).predictions == [1.5]
    with pytest.raises(ModelError, match="answered nan for row 1"):
        PlanModel(tmp_path).answer([{"x": 1.0, "y": 0.0}, {"x": 1.0, "y": 1e4}])


def test_a_corrected_average_is_served(tmp_path: Path) -> None:
    """In the second format: numbers that are shifted, for one row and for several, and labels from a threshold on."""
    estimator = Average((Part(1, 1.0, Linear(1, "logistic")),), threshold=0.8)
    labels = msgspec.structs.replace(PLAN, format=2, estimator=estimator, classes=TWO)
    shifted = msgspec.structs.replace(PLAN.estimator, shift=-0.25)
    formats.write(tmp_path / "numbers", msgspec.structs.replace(PLAN, format=2, estimator=shifted), ARRAYS)
    formats.write(tmp_path / "labels", labels, linear(0, [[1.0]], [0.0]))
    numbers, classes = PlanModel(tmp_path / "numbers"), PlanModel(tmp_path / "labels")
    rows = [{"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 1.0}, {"x": 0.0, "y": 1.5}]

    assert formats.read(tmp_path / "labels")[0] == labels
    assert numbers.answer(rows[:1]).predictions == [1.125 - 0.25]
    assert numbers.answer(rows).predictions[:2] == pytest.approx([1.125 - 0.25, (2.5 + 3 * np.e) / 4 - 0.25])
    assert classes.answer(rows).predictions == ["no", "no", "yes"]
    assert [classes.answer([row]).predictions for row in rows] == [["no"], ["no"], ["yes"]]
    assert [odds[1] for odds in classes.answer(rows).probabilities or ()] == pytest.approx([0.5, 0.731059, 0.817574])


def test_averages_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They say nothing of shifts and thresholds."""
    formats.write(tmp_path, PLAN, ARRAYS)
    content = msgspec.json.decode((tmp_path / "plan.json").read_bytes())
    content["estimator"] = {"type": "average", "parts": content["estimator"]["parts"]}
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(content))

    assert formats.read(tmp_path)[0] == PLAN


@pytest.mark.parametrize(("classes", "changes"), [((), {"shift": 1.5}), (TWO, {"threshold": 0.3})])
def test_a_corrected_average_does_not_pass_for_the_first_format(
    tmp_path: Path, classes: tuple[str, ...], changes: dict[str, Any]
) -> None:
    """Who knows only that would answer without the correction, and not notice."""
    formats.write(tmp_path, PLAN, ARRAYS)
    content = msgspec.json.decode((tmp_path / "plan.json").read_bytes())
    content |= {"format": 1, "classes": classes, "estimator": {**content["estimator"], **changes}}
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(content))

    with pytest.raises(PlanError, match="is corrected, which a plan of format 2 may be, not one of format 1"):
        formats.read(tmp_path)


@pytest.mark.parametrize(
    ("classes", "changes", "message"),
    [
        (TWO, {"shift": 1.5}, "average of 2 classes is shifted by 1.5: only numbers can be"),
        ((), {"threshold": 0.3}, "threshold 0.3 for 0 classes"),
        (THREE, {"threshold": 0.3}, "threshold 0.3 for 3 classes: give 0 to 1 for two"),
        (TWO, {"threshold": 0.0}, "threshold 0 for 2 classes: give 0 to 1"),
        (TWO, {"threshold": 1}, "threshold 1 for 2 classes"),
        (TWO, {"threshold": -0.2}, "threshold -0.2 for 2 classes"),
        (TWO, {"threshold": "0.3"}, r"Expected `float \| null`, got `str`"),
        ((), {"shift": None}, "Expected `float`, got `null`"),
    ],
)
def test_unsound_corrections_are_refused(
    tmp_path: Path, classes: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    """When they are read, with a sentence that says what can be corrected."""
    formats.write(tmp_path, PLAN, ARRAYS)
    content = msgspec.json.decode((tmp_path / "plan.json").read_bytes())
    content |= {"format": 2, "classes": classes, "estimator": {**content["estimator"], **changes}}
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(content))

    with pytest.raises(PlanError, match=message):
        formats.read(tmp_path)


def hostile(**changes: Any) -> dict[str, Any]:
    """The second part's JSON with some fields changed."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(PLAN.estimator))
    found["parts"][1] |= changes
    return found


UNSOUND = {
    "none": ({"type": "average", "parts": []}, "averages 0 parts"),
    "too many": ({"type": "average", "parts": hostile()["parts"] * 33}, "averages 66 parts, not 1 to 64"),
    "negative": (hostile(share=-0.5), "none may be negative"),
    "no weight": ({"type": "average", "parts": [{**hostile()["parts"][0], "share": 0}]}, "nor all of them 0"),
    "beyond numbers": (
        {"type": "average", "parts": [{**hostile()["parts"][0], "share": 1e308}] * 2},
        "none may be negative",
    ),
    "no number": (hostile(share="NaN"), "Expected `float`, got `str`"),
    "null": (hostile(share=None), "Expected `float`, got `null`"),
    "another step": (hostile(source=2), "part 1 takes 1 cells, step 2 makes None"),
    "a step before the first": (hostile(source=-1), "part 1 takes 1 cells, step -1 makes None"),
    "another width": (hostile(source=0), "part 1 takes 1 cells, step 0 makes 2"),
    "nested": (hostile(estimator=hostile()), "Invalid value 'average'"),
    "no estimator": (hostile(estimator={"type": "code"}), "Invalid value 'code'"),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_unsound_averages_are_refused(tmp_path: Path, what: str) -> None:
    """When they are read, with a sentence that says which part."""
    estimator, message = UNSOUND[what]
    formats.write(tmp_path, PLAN, ARRAYS)
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode({**msgspec.to_builtins(PLAN), "estimator": estimator}))

    with pytest.raises(PlanError, match=message):
        formats.read(tmp_path)


def test_a_share_that_is_no_number_is_no_json(tmp_path: Path) -> None:
    """Neither NaN nor an infinite one can be written so that it is read."""
    for share, message in ((b"NaN", "malformed"), (b"1e999", "out of range")):
        formats.write(tmp_path, PLAN, ARRAYS)
        content = (tmp_path / "plan.json").read_bytes()
        (tmp_path / "plan.json").write_bytes(content.replace(b'"share":3.0', b'"share":' + share))
        with pytest.raises(PlanError, match=message):
            formats.read(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"1.intercept": None}, "part 1: the plan's array intercept is missing"),
        ({"0.coefficients": None, "coefficients": np.ones((1, 2))}, "part 0: the plan's array coefficients is missing"),
        ({"1.coefficients": np.ones((1, 2))}, "part 1: the plan's coefficients are"),
        ({"1.intercept": np.array([np.nan])}, "part 1: the plan's array intercept is missing or of another type"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changed: Any, message: str) -> None:
    """One part's arrays are no other's."""
    arrays = {name: array for name, array in {**ARRAYS, **changed}.items() if array is not None}
    formats.write(tmp_path, PLAN, arrays)

    with pytest.raises(PlanError, match=message):
        PlanModel(tmp_path)


@pytest.mark.parametrize(
    ("finish", "classes", "message"),
    [
        ("sign", ("no", "yes"), "part 0: the plan's finish 'sign' gives no probabilities"),
        ("logistic", (), "part 0: the plan's finish 'logistic' with 1 outputs wants 2 classes, not 0"),
        ("identity", ("no", "yes"), "wants 0 classes, not 2"),
        ("logistic", THREE, "wants 2 classes, not 3"),
    ],
)
def test_what_cannot_be_averaged_is_refused(finish: str, classes: tuple[str, ...], message: str) -> None:
    """Numbers among labels, other numbers of classes, and labels without probabilities."""
    plan = Average((Part(0, 1.0, Linear(1, finish)),))

    with pytest.raises(PlanError, match=message):
        averaged(plan, classes, linear(0, [[1.0]], [0.0]))
