"""The newest watch's record as people read it: what was compared, since when, what is proven, and what came of it."""

from pathlib import Path

from mlauto.delivery.progress import Rollout, Stage
from mlauto.delivery.stages import current_rollout
from mlauto.monitoring.watch.record import read_watch
from mlauto.proof import THRESHOLD, Proof
from mlauto.store import Store

__all__ = ["proof_of", "proof_rows", "watch_path", "watch_sentence", "watch_told"]


def watch_path(store: Store, product: str) -> Path:
    """Where the product's newest watch is remembered."""
    return store.record_path(product, "watch")


def proof_of(store: Store, product: str, rollout: Rollout) -> Proof | None:
    """What was proven of that rollout's version when it was last looked at; None where nothing was compared."""
    watch = read_watch(watch_path(store, product))
    if watch is None or (watch.subject.new, watch.subject.old) != (rollout.version, rollout.champion):
        return None
    began = rollout.began if rollout.under_way else rollout.since  # an end has a time of its own, and keeps the proof
    is_another = (rollout.under_way or rollout.stage is Stage.BAKING) and watch.subject.since != began
    return None if is_another else watch.proof


def watch_sentence(rollout: Rollout, proof: Proof) -> str:
    """The outcome of a watch, or that it goes on, with its evidence."""
    return f"{rollout.outcome(proof)}: {proof.told}"


def watch_told(store: Store, product: str, version: str | None = None) -> str | None:
    """What the newest rollout's comparison on the same rows says; None where there is none, or not of that version."""
    rollout = current_rollout(product, store)
    if rollout is None or version not in {None, rollout.version}:
        return None
    proof = proof_of(store, product, rollout)
    return f"version {rollout.version} {watch_sentence(rollout, proof)}" if proof is not None else None


def proof_rows(rollout: Rollout, proof: Proof) -> list[tuple[object, ...]]:
    """The evidence as the rows of a table."""
    bounds = "none yet" if proof.low is None or proof.high is None else f"{proof.low:.4g} to {proof.high:.4g}"
    return [
        ("outcome", rollout.outcome(proof)),
        ("compared", f"version {proof.new} with version {proof.old}"),
        ("rows that both predicted", proof.rows),
        (f"difference of {proof.metric}", proof.difference),
        ("confidence sequence, 1 % a side", bounds),
        ("difference that is allowed", proof.allowed),
        ("e-value", proof.e_value),
        ("proven from", THRESHOLD),
    ]
