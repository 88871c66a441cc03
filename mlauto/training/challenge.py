"""Whether a candidate may follow the champion: which rows decide, who answers them, and the two checks.

The rows are the newest ones; the candidate that is scored there was fitted without them, and the champion never saw
them, so neither has an advantage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlauto.errors import DeliveryError, TrainingError
from mlauto.records import CheckOutcome, Signature, TrainedModel, TrainingSet
from mlauto.runtime.base import Answer
from mlauto.training.allowed import is_allowed
from mlauto.training.evaluate import (
    COMPARABLE_ROWS,
    NEEDS_ODDS,
    Answers,
    Comparison,
    compare,
    not_worse_than_champion,
    row_losses,
    valid,
)
from mlauto.training.exchange import Evaluation, Holdout

if TYPE_CHECKING:
    from mlauto.product import ModelProduct  # where a backtest's fits are made there is no pydantic

__all__ = ["ChampionPredict", "Split", "challenge", "champion_answers", "split"]

HOLDOUT_LIMIT = 2000
LEAST_ROWS = 10
SAME = 1e-6  # a larger mean loss by less than this is the same

# rows as JSON values -> one label or number for each, and a classifier's probabilities for each, if it has any
ChampionPredict = Callable[[list[dict[str, Any]]], Answer]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The newest `holdout` rows are scored on; `absent` says why the champion cannot be compared there, if so."""

    holdout: int
    absent: str = ""


def split(training_set: TrainingSet, champion: TrainingSet | None) -> Split:
    """How many of the newest rows to hold out.

    With a champion: the newest 30 % of the newest rows that it was not fitted on, at least 30. Without one, or with
    fewer such rows: the newest 20 % of all. At most 2,000, and never more than half of all rows.
    Raises `TrainingError` for fewer than 10 rows.
    """
    rows = training_set.rows
    if rows < LEAST_ROWS:
        raise TrainingError(f"{rows} rows are too few to train on: wait for more data")
    first = max(1, min(rows // 5, HOLDOUT_LIMIT))
    if champion is None:
        return Split(holdout=first, absent="there is no champion yet")
    known = {batch.digest for batch in champion.batches}
    unseen = 0
    for batch in reversed(training_set.batches):
        if batch.digest in known:
            break
        unseen += batch.rows
    holdout = min(max(COMPARABLE_ROWS, round(0.3 * unseen)), HOLDOUT_LIMIT, rows // 2)
    if unseen < COMPARABLE_ROWS or holdout < COMPARABLE_ROWS:
        return Split(holdout=first, absent=f"only {unseen} rows that the champion was not fitted on")
    return Split(holdout=holdout)


def challenge(
    product: "ModelProduct",
    evaluation: Evaluation,
    holdout: Holdout,
    signature: Signature,
    *,
    rows: Split,
    champion: TrainedModel | None,
    champion_predict: ChampionPredict | None,
    new_code: bool,
) -> tuple[CheckOutcome, ...]:
    """The checks `valid` and `not_worse_than_champion`; a champion that cannot answer is named in the summary.

    A model of the champion's own code, which only learned from other rows, is compared, but not blocked for the outcome
    unless the product wants that; nor for being worse than a constant on rows on which the champion is no better.
    """
    baseline = row_losses(product.metric, holdout.labels, holdout.baseline)
    against_dummy = compare(row_losses(product.metric, holdout.labels, holdout.answers), baseline)
    compared, absent = _compared(product, holdout, rows, champion, champion_predict)
    first = valid(
        finite=evaluation.finite,
        reloads=evaluation.reloads,
        mismatch=_mismatch(product, holdout, signature),
        against_dummy=against_dummy,
        excused=not new_code and compared is not None and compared.difference <= SAME,
    )
    limit = product.training.limit(new_code=new_code)
    return first, not_worse_than_champion(compared, limit=limit, absent=absent)


def _compared(
    product: "ModelProduct",
    holdout: Holdout,
    rows: Split,
    champion: TrainedModel | None,
    champion_predict: ChampionPredict | None,
) -> tuple[Comparison | None, str]:
    """Candidate and champion on the same rows; None and why, where they cannot be compared."""
    if rows.absent or champion is None or champion_predict is None:
        return None, rows.absent or "the champion is not running"
    holdout, left_out = _taken(holdout, champion.signature)
    if left_out and len(holdout.rows) < COMPARABLE_ROWS:
        return None, f"the champion's limits and categories allow only {len(holdout.rows)} of the newest rows"
    answers, absent = champion_answers(holdout.rows, champion, champion_predict)
    if answers is None:
        return None, absent
    # a champion that gave labels only cannot be compared by probabilities
    labels_only = product.metric in NEEDS_ODDS and answers.probabilities is None
    metric = "error_rate" if labels_only else product.metric
    if metric == "auc" and (absent := _unranked(holdout, answers)):
        return None, absent
    ours, before = (row_losses(metric, holdout.labels, one) for one in (holdout.answers, answers))
    return compare(ours, before), ""


def _unranked(holdout: Holdout, answers: Answers) -> str:
    """Why the champion cannot be compared by auc; "" when it can."""
    if len(set(holdout.labels)) < 2:
        return f"all {len(holdout.labels)} rows that both answer are of one class, which auc cannot judge by"
    if set(answers.classes) != set(holdout.answers.classes):
        return f"the champion's classes are {', '.join(map(str, answers.classes))}, so that auc cannot judge it"
    return ""


def _mismatch(product: "ModelProduct", holdout: Holdout, signature: Signature) -> str | None:
    """How the signature differs from what the model may and can be asked for."""
    never = {product.data.target, product.data.timestamp, *product.data.exclude}
    leaks = [name for name in signature.columns if name in never]
    if leaks:
        return f"its signature takes {', '.join(leaks)}, which is no feature"
    if signature.task != product.data.task or tuple(holdout.rows[0]) != tuple(signature.columns):
        return "its signature differs from the columns it was fitted on"
    return None


def _taken(holdout: Holdout, signature: Signature) -> tuple[Holdout, int]:
    """The holdout's rows that the champion's server takes, and how many it does not."""
    if not signature.limits and not signature.categories:
        return holdout, 0
    needed = {*signature.limits, *signature.categories}
    keep = [not needed <= row.keys() or is_allowed(row, signature) for row in holdout.rows]
    return holdout.part(keep), keep.count(False)


def champion_answers(
    rows: Sequence[dict[str, Any]], champion: TrainedModel, predict: ChampionPredict
) -> tuple[Answers | None, str]:
    """The champion's answers to some rows, or None and why there are none."""
    columns = champion.signature.columns
    missing = [name for name in columns if name not in rows[0]]
    if missing:
        return None, f"the champion needs the column {missing[0]}, which the data no longer has"
    try:
        said = predict([{name: row[name] for name in columns} for row in rows])
    except DeliveryError as error:
        return None, f"the champion did not answer: {error}"
    if len(said.predictions) != len(rows):
        return None, f"the champion gave {len(said.predictions)} answers to {len(rows)} rows"
    if said.probabilities is None:
        return Answers(predictions=said.predictions), ""
    return Answers(
        predictions=said.predictions, probabilities=said.probabilities, classes=champion.signature.classes
    ), ""
