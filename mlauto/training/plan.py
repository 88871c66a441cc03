"""The compiled form of a freshly fitted model: made, proven, and put beside it; or the reason why there is none."""

import shutil
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from mlauto.records import Signature
from mlauto.serving.errors import ServingError
from mlauto.serving.model import frame_of
from mlauto.serving.plan import format as formats
from mlauto.serving.plan import walker_file
from mlauto.serving.plan.model import PlanModel
from mlauto.serving.wire.signature import Signature as ServedSignature
from mlauto.training.compile.builder import UnsupportedError
from mlauto.training.compile.pipeline import compile_pipeline
from mlauto.training.compile.proof import Rows, prove
from mlauto.training.estimator import answers_of
from mlauto.training.evaluate import Answers

__all__ = ["NO_COMPILER", "add_plan"]

PROVEN_ROWS = 1000
NO_COMPILER = "compiled, but "


def add_plan(model: Any, signature: Signature, rows: Sequence[dict[str, Any]], folder: Path, cache: Path) -> str:
    """Write `folder` (plan and walker) when the model can be compiled and the plan is proven on the rows.

    Returns "" then, otherwise the reason, and there is no folder; a reason that begins with `NO_COMPILER` is a warning.
    The walker is compiled into `cache` once per machine.
    """
    served = ServedSignature(columns=signature.columns, task=signature.task)

    def pipeline(some: Rows) -> Answers:
        # what it refuses here is no failure: nobody needs its traceback, or to be warned of unknown categories
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return answers_of(model, frame_of(some, served), signature.task)

    try:
        plan, arrays = compile_pipeline(model, signature.columns, signature.classes)
    except UnsupportedError as error:
        return str(error)
    formats.write(folder, plan, arrays)
    library = walker_file.compiled(cache)
    if isinstance(library, Path):
        shutil.copyfile(library, folder / walker_file.LIBRARY)
    try:
        problem = prove(PlanModel(folder), pipeline, rows[-PROVEN_ROWS:], signature.columns)
    except ServingError as error:
        problem = str(error)
    if problem is not None:
        shutil.rmtree(folder)
        return f"the compiled plan does not answer as the pipeline does: {problem}"
    return "" if isinstance(library, Path) else NO_COMPILER + library
