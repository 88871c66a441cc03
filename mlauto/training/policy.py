"""When to train: pure functions of what there is. No clock, no file, no client.

A model's key is the digest of everything that determines it, so "is there anything new" is one comparison.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mlauto.product import ModelProduct
from mlauto.product_training import Policy
from mlauto.records import TrainedModel, TrainingSet
from mlauto.store import digest_of
from mlauto.training.challenge import split
from mlauto.training.retraining import Evidence, Scored, afforded, due
from mlauto.training.weighting import members_of

__all__ = [
    "Decision",
    "Trigger",
    "evidence_of",
    "grown",
    "made_key",
    "model_key",
    "new_batches",
    "on_new_data",
    "renewable",
    "renewed_key",
    "spoiled",
    "why_train",
]

Trigger = Literal["commit", "batch", "incident", "manual"]

FORMAT = 1  # of the artifact that training writes: a higher one makes every product train afresh


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether to make a model, why (or why not), and the key that it would have; `renew`: of old fits."""

    train: bool
    reason: str
    key: str
    renew: bool = False


def model_key(tree: str, training_set: TrainingSet, product: ModelProduct, lock_digest: str) -> str:
    """Digest of what determines a model: code, data and its weights, parameters, dependency versions."""
    data, members = product.data, members_of(product.training)
    parameters = {
        "estimator": product.code.estimator,
        "target": data.target,
        "task": data.task,
        "timestamp": data.timestamp,
        "exclude": sorted(data.exclude),
        "seed": product.training.seed,
        "metric": product.metric,
        # only where there are any: they came later, and a model without them is the one it was
        **({"limits": data.limits} if data.limits else {}),
        **({"categories": data.categories} if data.categories else {}),
        **({"members": [(str(one.history), one.share) for one in members]} if len(members) > 1 else {}),
        **({"search": search.model_dump(mode="json")} if (search := product.training.search) else {}),
    }
    return digest_of(FORMAT, product.name, tree, training_set.digest, parameters, lock_digest)


def new_batches(current: TrainedModel, training_set: TrainingSet) -> int:
    """Batches of `training_set` that came since the newest training."""
    known = current.attempted
    return sum(batch.digest not in known for batch in training_set.batches)


def grown(current: TrainedModel, training_set: TrainingSet) -> float:
    """How many times the rows of the newest training there are now; batches left out count as the others do."""
    known = current.attempted
    fresh = sum(batch.rows for batch in training_set.batches if batch.digest not in known)
    dropped = training_set.dropped * training_set.rows / len(training_set.batches)
    before = training_set.rows - fresh + dropped
    return (before + fresh) / before if before else math.inf


def evidence_of(
    current: TrainedModel, training_set: TrainingSet, *, live: TrainedModel | None, scores: Sequence[Scored]
) -> Evidence:
    """What the policy decides from, given the newest model and the one that is live."""
    return Evidence(
        scores=scores,
        live=live.line if live else None,
        fresh=new_batches(current, training_set),
        grown=grown(current, training_set),
        trainings=current.trainings,
        spoiled=live is not None and spoiled(live, current),
    )


def spoiled(live: TrainedModel, current: TrainedModel) -> bool:
    """Whether the live model's fits are those of the newest training, and were made on batches found strange since."""
    fitted = {batch.digest for batch in live.training_set.batches}
    found = (one.averaged.spoiled for one in (live, current) if one.averaged and one.line == live.line)
    return current.attempted == fitted and not fitted.isdisjoint(batch for spoils in found for batch in spoils)


def why_train(
    *,
    current: TrainedModel | None,
    product: ModelProduct,
    tree: str,
    training_set: TrainingSet,
    lock_digest: str,
    trigger: Trigger,
    live: TrainedModel | None = None,
    scores: Callable[[], Sequence[Scored]] = tuple,
    renew: bool = False,
) -> Decision:
    """Should a model be made now, given the newest one that was (`current`), whether or not it passed its checks.

    New code, parameters or dependencies always train; new data trains as the product's policy says, which looks at the
    `scores` of the batches that have come so far, the newest by the version that is `live`; they are read only then.
    Where it does not train, the fits of the live version may be averaged anew, if the policy does that and the caller
    wants to `renew`.
    """
    key = model_key(tree, training_set, product, lock_digest)
    if current is None:
        return Decision(train=True, reason="first model", key=key)
    own = made_key(current, tree, product, lock_digest)
    known = current.renewal.training_set if current.renewal else current.training_set.digest
    if current.key == own and known == training_set.digest:
        return Decision(train=False, reason=f"nothing changed since version {current.version}", key=key)
    if current.commit.tree != tree:
        return Decision(train=True, reason="new commit", key=key)
    if current.key != own:
        return Decision(train=True, reason="new parameters or dependencies", key=key)
    if {batch.digest for batch in current.training_set.batches} == {batch.digest for batch in training_set.batches}:
        return Decision(train=True, reason="new sample weights", key=key)
    evidence = evidence_of(current, training_set, live=live, scores=scores())
    train, reason = on_new_data(product.training.policy, trigger, evidence)
    if train or live is None or not (renew and evidence.fresh and product.training.policy.renew):
        return Decision(train=train, reason=reason, key=key)
    if made_key(live, tree, product, lock_digest) != live.key or not renewable(live, training_set):
        return Decision(train=False, reason=reason, key=key)
    key = renewed_key(model_key(tree, live.training_set, product, lock_digest), training_set.digest)
    return Decision(train=True, reason=f"{reason}; its fits are averaged anew", key=key, renew=True)


def made_key(model: TrainedModel, tree: str, product: ModelProduct, lock_digest: str) -> str:
    """The key that a model like this one, on its own data, would have now."""
    own = model_key(tree, model.training_set, product, lock_digest)
    return renewed_key(own, model.renewal.training_set) if model.renewal else own


def renewed_key(fits: str, training_set: str) -> str:
    """The key of a model made of fits (their key) by what a training set (its digest) shows of them."""
    return digest_of("renewed", fits, training_set)


def renewable(model: TrainedModel, training_set: TrainingSet) -> bool:
    """Whether it averages fits, and there are enough rows that they never saw to try another average on."""
    return model.averaged is not None and not split(training_set, model.training_set).absent


def on_new_data(policy: Policy, trigger: Trigger, evidence: Evidence) -> tuple[bool, str]:
    """Whether the batches that the newest model was not fitted on are reason to train, and why (not)."""
    fresh = evidence.fresh
    batches = "1 new batch" if fresh == 1 else f"{fresh} new batches"
    if trigger == "manual":
        return True, f"asked for, {batches}"
    if trigger == "incident":
        if not policy.on_degraded:
            return False, "live quality is bad, but the policy forbids retraining on it"
        if not fresh:
            return False, "live quality is bad, but there is no new data to learn from: waiting for the next batch"
        return afforded(policy, evidence, f"live quality, {batches}")
    return due(policy, evidence)
