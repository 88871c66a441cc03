"""A plan on disk: `plan.json` (steps and small numbers) and `plan.npz` (the estimator's arrays). Plain data: no code.

The steps are a straight line: each reads columns of the request or results of earlier steps (`source`: a step's number)
and makes one matrix of float64 with a row per request row. The last one makes what the estimator takes; an average's
parts each name the step that makes what they take, so that what several of them need is made once.

Everything is checked when it is read, so that whoever executes it need not check again: numbers of columns, steps and
cells, lengths, and (by the estimator's own module) that no walk through a tree can leave its tree or turn in a circle.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.serving.errors import BundleError

__all__ = [
    "MOST_PARTS",
    "Arithmetic",
    "Average",
    "Clip",
    "Impute",
    "Join",
    "Linear",
    "Lookup",
    "Missing",
    "Numbers",
    "OneHot",
    "Part",
    "Plan",
    "PlanError",
    "Recode",
    "Recoding",
    "Step",
    "Table",
    "Take",
    "Trees",
    "read",
    "width_of",
    "write",
]

MOST_CELLS = 100_000  # of one row, at any step
MOST_PARTS = 64  # of an average
FORMATS = (1, 2)
ARRAYS_LIMIT = 1 << 30


class PlanError(BundleError):
    """A plan is not what compiling a model makes: build the bundle again."""


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """The request's columns at these positions as numbers; what is missing becomes NaN."""

    columns: tuple[int, ...]


class Table(msgspec.Struct, frozen=True):
    """What each value of a column stands for; a code of None means NaN, or no cell at all in a one-hot step.

    `missing` and `unknown` are the codes of a missing value and of one that is not listed; where `refuse_missing` or
    `refuse_unknown` says so, the request is refused instead.
    """

    column: int
    values: tuple[str | bool | int | float, ...]
    codes: tuple[float | None, ...]
    unknown: float | None = None
    missing: float | None = None
    refuse_unknown: bool = False
    refuse_missing: bool = False


class Lookup(msgspec.Struct, frozen=True, tag="lookup"):
    """One cell per table: the code of its column's value."""

    tables: tuple[Table, ...]


class OneHot(msgspec.Struct, frozen=True, tag="one_hot"):
    """`width` zeros, and a one at the place that each table gives."""

    tables: tuple[Table, ...]
    width: int


class Impute(msgspec.Struct, frozen=True, tag="impute"):
    """NaN replaced cell by cell; None leaves it."""

    source: int
    fill: tuple[float | None, ...]


class Recoding(msgspec.Struct, frozen=True):
    """What each number stands for, numbers ascending; `unknown` and `missing` as in a table, where None means NaN."""

    values: tuple[float, ...]
    codes: tuple[float | None, ...]
    unknown: float | None = None
    missing: float | None = None


class Recode(msgspec.Struct, frozen=True, tag="recode"):
    """Cells replaced by what their numbers stand for, with a recoding for each."""

    source: int
    recodings: tuple[Recoding, ...]


class Missing(msgspec.Struct, frozen=True, tag="missing"):
    """1 where the cell is NaN, else 0, for the cells named."""

    source: int
    cells: tuple[int, ...]


class Arithmetic(msgspec.Struct, frozen=True, tag="arithmetic"):
    """`subtract`, `divide`, `multiply` or `add`, with a number for each cell."""

    source: int
    operator: str
    values: tuple[float, ...]


class Clip(msgspec.Struct, frozen=True, tag="clip"):
    """Cells limited to a range."""

    source: int
    low: float
    high: float


class Take(msgspec.Struct, frozen=True, tag="take"):
    """Some cells, in this order."""

    source: int
    cells: tuple[int, ...]


class Join(msgspec.Struct, frozen=True, tag="join"):
    """Several matrices side by side."""

    sources: tuple[int, ...]


Step = Numbers | Lookup | OneHot | Recode | Impute | Missing | Arithmetic | Clip | Take | Join
OPERATORS = ("subtract", "divide", "multiply", "add")


class Trees(msgspec.Struct, frozen=True, tag="trees"):
    """Trees whose leaves are summed up; see `mlauto.serving.plan.trees` for the arrays.

    `baseline` has a number per output. `divide` is the number of trees for a mean. `single`: cells are rounded to
    float32 first, and refused when they are too large for it. `finish`: see `mlauto.serving.plan.estimators`.
    """

    width: int
    baseline: tuple[float, ...]
    finish: str
    divide: float = 1.0
    single: bool = False


class Linear(msgspec.Struct, frozen=True, tag="linear"):
    """`X @ coefficients.T + intercept`; arrays `coefficients` (outputs, width) and `intercept` (outputs)."""

    width: int
    finish: str


class Part(msgspec.Struct, frozen=True):
    """A model that counts for `share` in an average; `source` is the step whose cells its estimator takes."""

    source: int
    share: float
    estimator: Trees | Linear


class Average(msgspec.Struct, frozen=True, tag="average"):
    """The weighted mean of numbers or of probabilities. Arrays of the first part are called `0.nodes` and so on.

    `shift` is added to mean numbers; of two classes the second is predicted from the probability `threshold` on, where
    there is one.
    """

    parts: tuple[Part, ...]
    shift: float = 0.0
    threshold: float | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled model. `columns`: the names of the signature's columns; `classes`: labels of a classifier.

    An average that is shifted or has a threshold is of format 2, which those who know only 1 refuse.
    """

    format: int = 1
    columns: tuple[str, ...]
    steps: tuple[Step, ...]
    estimator: Trees | Linear | Average
    classes: tuple[Any, ...] = ()


def write(folder: Path, plan: Plan, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a plan's two files, equal bytes for equal content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    with (folder / "plan.npz").open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})


def read(folder: Path) -> tuple[Plan, dict[str, NDArray[Any]]]:
    """A plan whose steps are sound, and its arrays, which the estimator still has to check. Raises `PlanError`."""
    path = folder / "plan.json"
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
        arrays = _arrays(folder / "plan.npz")
    except OSError as error:
        raise PlanError(f"{error.filename} cannot be read ({error.strerror}): build the bundle again") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise PlanError(f"{path} or its arrays are not a plan: {error}") from error
    if plan.format not in FORMATS:
        raise PlanError(f"{path}: format {plan.format} is not known here")
    widths = _widths(plan.steps, len(plan.columns))
    if isinstance(plan.estimator, Average):
        _check_average(plan.estimator.parts, widths)
        _check_correction(plan.estimator, len(plan.classes), plan.format)
    elif widths[-1] != plan.estimator.width:
        raise PlanError(f"{path}: the steps make {widths[-1]} cells, the estimator takes {plan.estimator.width}")
    return plan, arrays


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as content:
        if sum(entry.file_size for entry in content.infolist()) > ARRAYS_LIMIT:
            raise PlanError(f"{path} unpacks to more than {ARRAYS_LIMIT >> 20} MB")
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def width_of(steps: Sequence[Step], columns: int) -> int:
    """The cells of the last step's rows. Raises `PlanError` naming the first step that is not sound."""
    return _widths(steps, columns)[-1]


def _widths(steps: Sequence[Step], columns: int) -> list[int]:
    widths: list[int] = []
    for number, step in enumerate(steps):
        try:
            widths.append(_width(step, widths, columns))
        except (IndexError, ValueError) as error:
            raise PlanError(f"step {number} of the plan is not sound: {error}") from error
        if widths[-1] > MOST_CELLS:
            raise PlanError(f"step {number} of the plan makes {widths[-1]} cells, more than {MOST_CELLS}")
    if not widths:
        raise PlanError("the plan has no steps")
    return widths


def _check_average(parts: Sequence[Part], widths: Sequence[int]) -> None:
    if not 1 <= len(parts) <= MOST_PARTS:
        raise PlanError(f"the plan averages {len(parts)} parts, not 1 to {MOST_PARTS}")
    for number, part in enumerate(parts):
        found = widths[part.source] if 0 <= part.source < len(widths) else None
        if found != part.estimator.width:
            raise PlanError(f"part {number} takes {part.estimator.width} cells, step {part.source} makes {found}")
    shares = [part.share for part in parts]
    if not all(share >= 0 for share in shares) or not 0 < sum(shares) < math.inf:
        raise PlanError(f"the shares of the plan's parts are {shares}: none may be negative, nor all of them 0")


def _check_correction(average: Average, classes: int, number: int) -> None:
    """What is JSON cannot be NaN."""
    if number == 1 and (average.shift or average.threshold is not None):
        raise PlanError("the plan's average is corrected, which a plan of format 2 may be, not one of format 1")
    if average.shift and classes:
        raise PlanError(f"the plan's average of {classes} classes is shifted by {average.shift:g}: only numbers can be")
    if average.threshold is not None and (classes != 2 or not 0 < average.threshold < 1):
        raise PlanError(f"the plan has the threshold {average.threshold:g} for {classes} classes: give 0 to 1 for two")


def _width(step: Step, widths: Sequence[int], columns: int) -> int:  # noqa: C901 - a case for each step
    match step:
        case Numbers():
            _within(step.columns, columns, "column")
            return len(step.columns)
        case Lookup() | OneHot():
            for table in step.tables:
                _check_table(table, columns, step.width if isinstance(step, OneHot) else None)
            return step.width if isinstance(step, OneHot) else len(step.tables)
        case Join():
            _within(step.sources, len(widths), "step")
            return sum(widths[source] for source in step.sources)
        case Take() | Missing():
            _within((step.source,), len(widths), "step")
            _within(step.cells, widths[step.source], "cell")
            return len(step.cells)
        case Recode():
            for recoding in step.recodings:
                _check_recoding(recoding)
            return _same(step.source, widths, len(step.recodings))
        case Impute():
            return _same(step.source, widths, len(step.fill))
        case Arithmetic():
            if step.operator not in OPERATORS:
                raise ValueError(f"operator {step.operator!r}")
            return _same(step.source, widths, len(step.values))
        case Clip():
            return _same(step.source, widths, None)


def _within(numbers: Sequence[int], limit: int, what: str) -> None:
    for number in numbers:
        if not 0 <= number < limit:
            raise ValueError(f"{what} {number} of {limit}")


def _same(source: int, widths: Sequence[int], length: int | None) -> int:
    _within((source,), len(widths), "step")
    if length is not None and length != widths[source]:
        raise ValueError(f"{length} numbers for {widths[source]} cells")
    return widths[source]


def _check_recoding(recoding: Recoding) -> None:
    if not recoding.values or len(recoding.values) != len(recoding.codes):
        raise ValueError(f"{len(recoding.codes)} codes for {len(recoding.values)} numbers")
    if any(low >= high for low, high in pairwise(recoding.values)):
        raise ValueError("numbers that do not ascend")


def _check_table(table: Table, columns: int, width: int | None) -> None:
    """Codes of a one-hot step are places below `width`."""
    _within((table.column,), columns, "column")
    if len(table.values) != len(table.codes):
        raise ValueError(f"{len(table.codes)} codes for {len(table.values)} values")
    if width is not None:
        for code in (*table.codes, table.unknown, table.missing):
            if code is not None and (not code.is_integer() or not 0 <= code < width):
                raise ValueError(f"place {code:g} of {width}")
