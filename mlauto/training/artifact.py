"""The files of a trained model: `model.skops`, `signature.json`, `golden.json`, `trusted.json`.

Golden rows are what every later stage asks again: plain JSON rows and the model's own answers to them.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlauto.errors import TrainingError
from mlauto.records import Signature
from mlauto.serving import trust
from mlauto.serving.model import frame_of
from mlauto.serving.wire.signature import Signature as ServedSignature
from mlauto.training.allowed import is_allowed
from mlauto.training.estimator import team_code
from mlauto.training.evaluate import Answers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Golden", "dump", "golden_rows", "is_finite", "kinds_of_features", "rows_of"]

KINDS = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}
PLAIN_ROWS = 12
MISSING_ROWS = 4
UNSEEN = "a value never seen"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Rows as JSON values, and what the model answered. `refused` names the kinds of row that it cannot answer."""

    rows: tuple[dict[str, Any], ...]
    predictions: tuple[Any, ...]
    probabilities: tuple[tuple[float, ...], ...] | None
    refused: dict[str, str]


def kinds_of_features(frame: "pd.DataFrame") -> dict[str, str]:
    """Column -> kind, in order, from the dtypes. Raises `TrainingError` naming a column of times."""
    kinds = {}
    for name in frame.columns:
        kind = frame[name].dtype.kind
        if kind in "mM":
            raise TrainingError(
                f"column {name!r} holds times, which no request can carry as a feature: "
                "name it in data.timestamp or data.exclude"
            )
        kinds[str(name)] = KINDS.get(kind, "string")
    return kinds


def rows_of(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows as JSON values; what is missing becomes None."""
    columns = []
    for name in frame.columns:
        values = frame[name]
        gaps = values.isna().to_numpy()
        columns.append([None if gap else value for gap, value in zip(gaps, values.tolist(), strict=True)])
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def golden_rows(frame: "pd.DataFrame", signature: Signature, answer: Callable[["pd.DataFrame"], Answers]) -> Golden:
    """About 20 rows and their answers: plain ones, ones with gaps, ones with a category that never occurred.

    Frames are made as the model server makes them. Rows with gaps or unseen categories are asked one at a time; a model
    that cannot answer them is recorded as refusing them, and the rows are left out. Raises `TrainingError` when plain
    rows cannot be answered, or when limits and categories allow no row of the frame.
    """
    kinds = signature.columns
    served = ServedSignature(columns=kinds, task="")
    rows = _plain(frame, signature)
    answers = [answer(frame_of(rows, served))]
    refused: dict[str, str] = {}
    odd = {name: kind for name, kind in kinds.items() if name not in signature.categories}
    for what, odd_rows in (("missing", _with_gaps(rows, kinds)), ("unseen", _with_unseen(rows, odd))):
        for row in odd_rows:
            try:
                with team_code(f"predicting a row with {what} values"):
                    one = answer(frame_of([row], served))
            except TrainingError as error:
                refused[what] = str(error)
                break
            if not is_finite(one):
                refused[what] = "its answer is not finite"
                break
            rows.append(row)
            answers.append(one)
    probabilities = [tuple(row) for one in answers for row in one.probabilities or ()]
    return Golden(
        rows=tuple(rows),
        predictions=tuple(value for one in answers for value in one.predictions),
        probabilities=tuple(probabilities) or None,
        refused=refused,
    )


def _plain(frame: "pd.DataFrame", signature: Signature) -> list[dict[str, Any]]:
    """Rows from all over the frame that a server takes."""
    if signature.limits or signature.categories:
        allowed = [row for row in rows_of(frame) if is_allowed(row, signature)]
        if not allowed:
            raise TrainingError(
                f"none of the newest {len(frame)} rows is within data.limits and data.categories: correct them"
            )
        picks = np.unique(np.linspace(0, len(allowed) - 1, PLAIN_ROWS).astype(int))
        return [allowed[pick] for pick in picks]
    return rows_of(frame.iloc[np.unique(np.linspace(0, len(frame) - 1, PLAIN_ROWS).astype(int))])


def _with_gaps(rows: list[dict[str, Any]], kinds: dict[str, str]) -> list[dict[str, Any]]:
    """One gap in each of up to four columns of different kinds first, then a row of nothing but gaps."""
    names = sorted(kinds, key=lambda name: list(kinds.values()).index(kinds[name]))
    chosen = names[:: max(1, len(names) // MISSING_ROWS)][:MISSING_ROWS]
    return [
        *({**rows[index % len(rows)], name: None} for index, name in enumerate(chosen)),
        dict.fromkeys(kinds),
    ]


def _with_unseen(rows: list[dict[str, Any]], kinds: dict[str, str]) -> list[dict[str, Any]]:
    names = [name for name, kind in kinds.items() if kind == "string"][:2]
    return [{**rows[index % len(rows)], name: UNSEEN} for index, name in enumerate(names)]


def is_finite(answers: Answers) -> bool:
    """True when every predicted number and every probability is finite; labels that are text count as finite."""
    numbers = [value for value in answers.predictions if isinstance(value, float)]
    flat = [value for row in answers.probabilities or () for value in row]
    return bool(np.isfinite(numbers).all() and np.isfinite(flat).all())


def dump(model: Any, folder: Path, root: Path, *, signature: Signature, golden: Golden) -> tuple[Any, tuple[str, ...]]:
    """Write the files; the model as loaded back from them, and every type beyond skops' own that it consists of.

    The team's own types (defined below `root`) are listed in `trusted.json`. Raises `TrainingError` naming a type that
    neither the allow-list nor the team's tree knows.
    """
    trust.import_skops_quickly()
    import skops.io

    path = folder / "model.skops"
    with team_code("saving the model with skops"):
        skops.io.dump(model, path)
        types = tuple(skops.io.get_untrusted_types(file=path))
    own = [name for name in types if _defined_below(name, root)]
    (folder / "trusted.json").write_bytes(msgspec.json.encode(own))
    (folder / "signature.json").write_bytes(msgspec.json.encode(signature))
    content = {"rows": golden.rows, "predictions": golden.predictions, "probabilities": golden.probabilities}
    (folder / "golden.json").write_bytes(msgspec.json.encode(content))
    with team_code("loading the saved model again"):
        try:
            return trust.load_model(path, own), types
        except trust.UntrustedTypeError as error:
            raise TrainingError(str(error)) from error


def _defined_below(name: str, root: Path) -> bool:
    """True when the type's module is a file of the team's tree."""
    module = name
    while "." in module:
        module = module.rpartition(".")[0]
        if module in sys.modules:
            origin = getattr(sys.modules[module], "__file__", None)
            return origin is not None and Path(origin).resolve().is_relative_to(root.resolve())
    return False
