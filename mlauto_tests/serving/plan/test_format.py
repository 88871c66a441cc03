"""Plans on disk: what is written is read again, and nothing unsound gets past the reader."""

import io
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mlauto.serving.plan.format import (
    Arithmetic,
    Clip,
    Impute,
    Join,
    Linear,
    Lookup,
    Missing,
    Numbers,
    OneHot,
    Plan,
    PlanError,
    Recode,
    Recoding,
    Step,
    Table,
    Take,
    read,
    width_of,
    write,
)

PLAN = Plan(columns=("a", "b"), steps=(Numbers((0, 1)),), estimator=Linear(2, "identity"))
ARRAYS = {"coefficients": np.array([[1.0, 2.0]]), "intercept": np.array([0.5])}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Plan and arrays come back, and equal content gives equal bytes."""
    write(tmp_path / "one", PLAN, ARRAYS)
    write(tmp_path / "two", PLAN, dict(reversed(ARRAYS.items())))
    plan, arrays = read(tmp_path / "one")

    assert plan == PLAN
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "coefficients": [[1.0, 2.0]],
        "intercept": [0.5],
    }
    for name in ("plan.json", "plan.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_single_models_plan_is_what_it_was(tmp_path: Path) -> None:
    """Byte for byte, so that plans of earlier versions are read, and earlier versions read these."""
    write(tmp_path, PLAN, ARRAYS)

    assert (tmp_path / "plan.json").read_bytes() == (
        b'{"format":1,"columns":["a","b"],"steps":[{"type":"numbers","columns":[0,1]}],'
        b'"estimator":{"type":"linear","width":2,"finish":"identity"},"classes":[]}'
    )


TABLE = Table(0, ("a",), (0.0,))
UNSOUND: list[tuple[tuple[Step, ...], str]] = [
    ((), "no steps"),
    ((Numbers((2,)),), "step 0 of the plan is not sound: column 2 of 2"),
    ((Numbers((-1,)),), "column -1 of 2"),
    ((Join((0,)),), "step 0 of 0"),
    ((Numbers((0,)), Take(1, (0,))), "step 1 of 1"),
    ((Numbers((0,)), Take(0, (1,))), "cell 1 of 1"),
    ((Numbers((0,)), Missing(0, (-1,))), "cell -1 of 1"),
    ((Numbers((0,)), Impute(0, (1.0, 2.0))), "2 numbers for 1 cells"),
    ((Numbers((0,)), Arithmetic(0, "power", (1.0,))), "operator 'power'"),
    ((Numbers((0,)), Arithmetic(0, "add", ())), "0 numbers for 1 cells"),
    ((Numbers((0,)), Clip(-1, 0.0, 1.0)), "step -1 of 1"),
    ((Lookup((Table(0, ("a",), ()),)),), "0 codes for 1 values"),
    ((Lookup((Table(7, (), ()),)),), "column 7 of 2"),
    ((OneHot((Table(0, ("a",), (3.0,)),), 3),), "place 3 of 3"),
    ((OneHot((Table(0, ("a",), (0.5,)),), 3),), "place 0.5 of 3"),
    ((OneHot((Table(0, (), (), unknown=-1.0),), 3),), "place -1 of 3"),
    ((OneHot((TABLE,), 1 << 40),), "makes 1099511627776 cells"),
    ((Numbers((0,)), Recode(0, ())), "0 numbers for 1 cells"),
    ((Numbers((0,)), Recode(0, (Recoding((), ()),))), "0 codes for 0 numbers"),
    ((Numbers((0,)), Recode(0, (Recoding((2.0, 1.0), (0.0, 1.0)),))), "do not ascend"),
]


@pytest.mark.parametrize(("steps", "message"), UNSOUND, ids=lambda value: value if isinstance(value, str) else "")
def test_unsound_steps_are_refused(steps: tuple[Step, ...], message: str) -> None:
    """The sentence names the step and what is wrong with it."""
    with pytest.raises(PlanError, match=message):
        width_of(steps, 2)


def test_widths_add_up() -> None:
    """Every step tells how many cells it makes."""
    steps = (Numbers((0, 1)), OneHot((TABLE,), 4), Join((0, 1)), Take(2, (5, 0, 0)))

    assert [width_of(steps[: number + 1], 2) for number in range(4)] == [2, 4, 6, 3]


def damaged(**changes: Any) -> bytes:
    """The plan's JSON with some fields changed."""
    return msgspec.json.encode({**msgspec.to_builtins(PLAN), **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "are not a plan"),
        (b"\xff\xfe", "are not a plan"),
        (damaged(format=3), "format 3 is not known"),
        (damaged(format=0), "format 0 is not known"),
        (damaged(steps=[{"type": "code", "run": "import os"}]), "are not a plan"),
        (damaged(steps=[{"type": "numbers", "columns": [0]}]), "make 1 cells, the estimator takes 2"),
    ],
)
def test_a_damaged_plan_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With a sentence that names the file."""
    write(tmp_path, PLAN, ARRAYS)
    (tmp_path / "plan.json").write_bytes(content)

    with pytest.raises(PlanError, match=message):
        read(tmp_path)


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    """An array of objects is a pickle: it is not read."""
    write(tmp_path, PLAN, ARRAYS)
    np.savez(tmp_path / "plan.npz", allow_pickle=True, coefficients=np.array([{}], dtype=object))

    with pytest.raises(PlanError, match="Object arrays cannot be loaded"):
        read(tmp_path)


def test_missing_and_broken_arrays_are_refused(tmp_path: Path) -> None:
    """No file, no archive, or one that would fill the memory."""
    write(tmp_path, PLAN, ARRAYS)
    (tmp_path / "plan.npz").write_bytes(b"PK no archive")
    with pytest.raises(PlanError, match="are not a plan"):
        read(tmp_path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as entry:
        for _ in range(1100):
            entry.write(bytes(1 << 20))
    (tmp_path / "plan.npz").write_bytes(content.getvalue())
    with pytest.raises(PlanError, match="unpacks to more than 1024 MB"):
        read(tmp_path)
    (tmp_path / "plan.npz").unlink()
    with pytest.raises(PlanError, match=r"plan\.npz cannot be read \(No such file"):
        read(tmp_path)
