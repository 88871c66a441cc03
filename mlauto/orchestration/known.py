"""What a version showed on its holdout beyond one score, written down when it is trained and read at each look."""

from collections.abc import Sequence

import msgspec

from mlauto.monitoring.quality.references import Known, known_of
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel

__all__ = ["ATTACHED", "keep_known", "read_known"]

ATTACHED = "references.json"  # in MLflow: expected scores with their bounds, each segment's, and what estimates


def keep_known(platform: Platform, product: ModelProduct, trained: TrainedModel) -> None:
    """Record it for the version, once, and attach it to its MLflow run; nothing of a model without a kept holdout."""
    from mlauto.monitoring.comparison import Outcome
    from mlauto.monitoring.quality.limits import spread_of
    from mlauto.training.exchange import Holdout, written

    path = platform.store.tree_path(trained.artifact) / "holdout.json"
    if read_known(platform, product, trained.version) is not None or not path.is_file():
        return
    holdout = written(path, Holdout)
    answers = holdout.answers
    odds: Sequence[Sequence[float] | None] = answers.probabilities or [None] * len(holdout.labels)
    outcomes = [Outcome(*row) for row in zip(holdout.labels, answers.predictions, odds, strict=True)]
    columns, spread = product.monitoring.segments, spread_of(trained.scores)
    known = known_of(product.metric, holdout.rows, outcomes, answers.classes, columns, spread=spread)
    attached = {"scores": trained.scores, "known": known}
    platform.registry.attach(trained.run_id, ATTACHED, msgspec.json.encode(attached))
    # last: cut off before, it is done again
    platform.store.write_record(product.name, f"known/{trained.version}", known)


def read_known(platform: Platform, product: ModelProduct, version: str | None) -> Known | None:
    """What was recorded; None for a version of which nothing was."""
    return platform.store.read_record(product.name, f"known/{version or 'none'}", Known)
