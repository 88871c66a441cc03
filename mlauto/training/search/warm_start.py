"""Where a search of parameters starts: the YAML's settings for the child, and what the live model has."""

import ast
from collections.abc import Iterable, Mapping

from mlauto.product import ModelProduct
from mlauto.records import TrainedModel
from mlauto.sections import Range
from mlauto.store import Store
from mlauto.training.exchange import Evaluation, written
from mlauto.training.search.candidates import SearchPlan, Span, Value

__all__ = ["literals", "search_plan"]


def search_plan(product: ModelProduct, champion: TrainedModel | None, store: Store) -> SearchPlan | None:
    """What the child is to search, or None where the YAML asks for no search.

    The champion's parameters are those that its artifact records; when the artifact is gone, as after a restore of the
    records alone, the search starts from the code's own. Raises `TrainingError` when the record is not whole.
    """
    search = product.training.search
    if search is None:
        return None
    known: dict[str, Value] = {}
    if champion is not None and store.holds_tree(champion.artifact):
        evaluation = written(store.tree_path(champion.artifact) / "evaluation.json", Evaluation)
        known = literals(evaluation.parameters, search.parameters)
    return SearchPlan(
        parameters={
            name: Span(low=space.low, high=space.high, log=space.log) if isinstance(space, Range) else space
            for name, space in search.parameters.items()
        },
        candidates=search.candidates,
        budget=search.budget,
        champion=known,
    )


def literals(parameters: Mapping[str, str], names: Iterable[str]) -> dict[str, Value]:
    """Those of a model's recorded parameters (`repr` of each) that are plain values: a number, a text, a bool or None.

    Nothing is evaluated. What was cut off or is an object is left out: then the code's own value is what is tried.
    """
    found: dict[str, Value] = {}
    for name in names:
        try:
            value = ast.literal_eval(parameters.get(name, ""))
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, bool | int | float | str | None):
            found[name] = value
    return found
