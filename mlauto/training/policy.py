"""When to train: pure functions of what there is. No clock, no file, no client.

A model's key is the digest of everything that determines it, so "is there anything new" is one comparison.
"""

from dataclasses import dataclass
from typing import Literal

from mlauto.product import ModelProduct, Policy
from mlauto.records import TrainedModel, TrainingSet
from mlauto.store import digest_of

__all__ = ["Decision", "Trigger", "model_key", "new_batches", "on_new_data", "why_train"]

Trigger = Literal["commit", "batch", "incident", "manual"]

FORMAT = 1  # of the artifact that training writes: a higher one makes every product train afresh


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether to train, why (or why not), and the key of the model that there would be."""

    train: bool
    reason: str
    key: str


def model_key(tree: str, training_set: TrainingSet, product: ModelProduct, lock_digest: str) -> str:
    """Digest of what determines a model: code, data and its weights, parameters, dependency versions."""
    data = product.data
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
        **({"search": search.model_dump(mode="json")} if (search := product.training.search) else {}),
    }
    return digest_of(FORMAT, product.name, tree, training_set.digest, parameters, lock_digest)


def new_batches(current: TrainedModel, training_set: TrainingSet) -> int:
    """Batches of `training_set` that `current` was not fitted on."""
    known = {batch.digest for batch in current.training_set.batches}
    return sum(batch.digest not in known for batch in training_set.batches)


def why_train(
    *,
    current: TrainedModel | None,
    product: ModelProduct,
    tree: str,
    training_set: TrainingSet,
    lock_digest: str,
    trigger: Trigger,
) -> Decision:
    """Should a model be trained now, given the newest one that was (`current`), whether or not it passed its checks.

    New code, parameters or dependencies always train; new data trains as the product's policy says.
    """
    key = model_key(tree, training_set, product, lock_digest)
    if current is None:
        return Decision(train=True, reason="first model", key=key)
    if current.key == key:
        return Decision(train=False, reason=f"nothing changed since version {current.version}", key=key)
    if current.commit.tree != tree:
        return Decision(train=True, reason="new commit", key=key)
    if model_key(tree, current.training_set, product, lock_digest) != current.key:
        return Decision(train=True, reason="new parameters or dependencies", key=key)
    if {batch.digest for batch in current.training_set.batches} == {batch.digest for batch in training_set.batches}:
        return Decision(train=True, reason="new sample weights", key=key)
    train, reason = on_new_data(product.training.policy, trigger, new_batches(current, training_set))
    return Decision(train=train, reason=reason, key=key)


def on_new_data(policy: Policy, trigger: Trigger, fresh: int) -> tuple[bool, str]:
    """Whether `fresh` batches that the newest model was not fitted on are reason to train, and why (not)."""
    batches = "1 new batch" if fresh == 1 else f"{fresh} new batches"
    if trigger == "manual":
        return True, f"asked for, {batches}"
    if trigger == "incident":
        if not policy.on_degraded:
            return False, "live quality is bad, but the policy forbids retraining on it"
        if not fresh:
            return False, "live quality is bad, but there is no new data to learn from: waiting for the next batch"
        return True, f"live quality, {batches}"
    if policy.every_batches is None:
        return False, f"{batches}: the policy waits for live quality to suffer"
    if fresh < policy.every_batches:
        return False, f"{batches}: the policy retrains after {policy.every_batches}"
    return True, batches
