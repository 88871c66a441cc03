"""How the live model does on each batch that arrives, before anything is fitted on it: test, then train.

The record `prequential` holds the newest 1,000 scores, so that deciding costs the same however long history is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlauto.product import ModelProduct
from mlauto.records import BatchWeight, TrainedModel, TrainingSet
from mlauto.store import Store
from mlauto.training.allowed import is_allowed
from mlauto.training.artifact import rows_of
from mlauto.training.challenge import ChampionPredict, champion_answers
from mlauto.training.deciding import Labelled, labelled, sampled, too_near
from mlauto.training.evaluate import batch_metric, row_losses

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BatchScore", "Prequential", "score_arrivals", "scores_of"]

MOST_SCORES = 1000


@dataclass(frozen=True, kw_only=True)
class BatchScore:
    """A batch by its digest: mean loss of the live version, its standard error (None for one row), rows.

    `version` is that whose fits the live one averages, and "" where labels are late, and the batch came too soon after
    theirs to tell of them.
    """

    digest: str
    rows: int
    loss: float
    error: float | None
    version: str


@dataclass(frozen=True, kw_only=True)
class Prequential:
    """The newest scores, oldest first; `total` counts all that there ever were."""

    metric: str = ""
    scores: tuple[BatchScore, ...] = ()
    total: int = 0


def score_arrivals(
    store: Store,
    product: ModelProduct,
    training_set: TrainingSet,
    champion: TrainedModel | None,
    predict: ChampionPredict | None,
    *,
    lag: int = 0,
) -> tuple[str, ...]:
    """Score what of the training set the champion was not fitted on, and was not scored yet; each batch once.

    Labels come `lag` batches late: of what came right after the batches that the champion was fitted on, some is
    `too_near` to tell of it.
    Of a large batch 5,000 rows are asked, evenly spread. Returns a sentence for each batch that could not be scored:
    it is tried again with the next one. Raises `StoreError` when a batch cannot be read.
    """
    if champion is None or predict is None:
        return ()
    before = _record(store, product)
    fitted = {batch.digest for batch in champion.training_set.batches}
    seen = fitted | {score.digest for score in before.scores}
    places = (place for place, batch in enumerate(training_set.batches) if batch.digest in fitted)
    own = too_near(lag) + max(places, default=-1)
    found: list[BatchScore] = []
    problems: list[str] = []
    for place, batch in enumerate(training_set.batches):
        if batch.digest in seen:
            continue
        score = _score(store, product, batch, champion, predict)
        if isinstance(score, BatchScore):
            found.append(score if place > own else replace(score, version=""))
        else:
            problems.append(f"batch {batch.key} was not scored: {score}")
    if found:
        scores = (*before.scores, *found)[-MOST_SCORES:]
        after = Prequential(metric=batch_metric(product.metric), scores=scores, total=before.total + len(found))
        store.write_record(product.name, "prequential", after)
    return tuple(problems)


def scores_of(store: Store, product: ModelProduct) -> Sequence[Labelled]:
    """The scores as a policy sees them, numbered from the first that there ever was."""
    record = _record(store, product)
    first = record.total - len(record.scores)
    return [
        Labelled(
            number=first + place,
            rows=score.rows,
            loss=score.loss,
            error=math.nan if score.error is None else score.error,
            model=score.version,
        )
        for place, score in enumerate(record.scores)
    ]


def _record(store: Store, product: ModelProduct) -> Prequential:
    """The record; scores by another metric than the product's are of no use."""
    record, metric = store.read_record(product.name, "prequential", Prequential), batch_metric(product.metric)
    return record if record is not None and record.metric == metric else Prequential(metric=metric)


def _score(
    store: Store, product: ModelProduct, batch: BatchWeight, champion: TrainedModel, predict: ChampionPredict
) -> BatchScore | str:
    """The champion's score on one batch, or why there is none."""
    import pandas as pd

    frame = pd.read_parquet(store.verified_file(batch.digest))
    usable = _usable(frame.iloc[sampled(len(frame))], product.data.target, champion)
    if usable.empty:
        return "none of its rows has a label and values that the live model takes"
    rows = rows_of(usable.drop(columns=product.data.target))
    answers, absent = champion_answers(rows, champion, predict)
    if answers is None:
        return absent
    if batch_metric(product.metric) == "log_loss" and answers.probabilities is None:
        return "the live model gives no probabilities"
    losses = row_losses(batch_metric(product.metric), usable[product.data.target].tolist(), answers)
    if not np.isfinite(losses).all():
        return "some of the live model's answers are not finite"
    score = labelled(0, losses, champion.version)
    error = None if math.isnan(score.error) else score.error
    return BatchScore(digest=batch.digest, rows=score.rows, loss=score.loss, error=error, version=champion.line)


def _usable(frame: "pd.DataFrame", target: str, champion: TrainedModel) -> "pd.DataFrame":
    """The rows with a label that the champion's server takes."""
    labelled_rows = frame[frame[target].notna()]
    signature = champion.signature
    if not signature.limits and not signature.categories:
        return labelled_rows
    keep = [is_allowed(row, signature) for row in rows_of(labelled_rows)]
    return labelled_rows[keep]
