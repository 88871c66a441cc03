"""Rollback: the previous good version answers users again, and a candidate that is on its way is given up.

A rollback first records that the bad version is rejected, so that no rollout can put it back in between. Each call may
be killed between any two steps and be run again.
"""

from mlauto.delivery.change import Change, Promote
from mlauto.delivery.decisions import Rejection, newer, reject, rejection, restore
from mlauto.delivery.exclusive import exclusive
from mlauto.delivery.progress import Stage, aborted
from mlauto.delivery.retention import why_not_startable
from mlauto.delivery.stages import close, current_rollout, give_up
from mlauto.errors import DeliveryError
from mlauto.records import Deployment, Image
from mlauto.runtime.base import Runtime
from mlauto.store import Store

__all__ = ["abort", "go_back", "roll_back"]

PATIENCE_SECONDS = 10.0
WAIT_SECONDS = 60.0  # for another change of production to end


def roll_back(
    product: str,
    runtime: Runtime,
    store: Store,
    registry_promote: Promote,
    *,
    to: str | None = None,
    reason: str,
    now: float,
    patience: float = PATIENCE_SECONDS,
) -> Deployment:
    """Let the previous good version (or `to`) answer users again, proven by asking the public address.

    The version that it replaces is rejected, if it is the newer one, and stopped. Raises `DeliveryError` when nothing
    is in production, there is no good version, or it does not come to life: production then keeps what it had.
    """
    with exclusive(product, store, wait=WAIT_SECONDS):
        change = Change(product, runtime, store, registry_promote, now, patience)
        go_back(change, to, reason)
        return change.checked()


def abort(
    product: str, runtime: Runtime, store: Store, registry_promote: Promote, *, reason: str, now: float
) -> Deployment | None:
    """Give up the candidate that runs beside the champion, which goes on; None where none does."""
    with exclusive(product, store, wait=WAIT_SECONDS):
        change = Change(product, runtime, store, registry_promote, now, PATIENCE_SECONDS)
        rollout = current_rollout(product, store)
        if rollout is None or not rollout.under_way:
            return None
        give_up(change, aborted(rollout, reason, now=now))
        return change.checked()


def go_back(change: Change, to: str | None, reason: str) -> None:
    """Start the target, reject what it replaces, then switch, prove, promote, record and stop the other."""
    product, store = change.product, change.store
    production = store.read_record(product, "production", Deployment)
    if production is None:
        raise DeliveryError(f"{product}: nothing is in production, so there is nothing to roll back")
    left = production.version
    begun = rejection(product, left, store)
    target = to or (begun.to if begun else None) or _previous_good(product, production, store)
    if target == left:
        raise DeliveryError(f"{product}: version {target} is in production already")
    image = _sound_image(product, target, store)
    if image is None:
        raise DeliveryError(why_not_startable(product, target, store))
    change.runtime.start(product, image)
    if newer(left, target):
        reject(product, Rejection(version=left, to=target, reason=reason, at=change.now), store)
    restore(product, target, store)
    change.switch(target, None, left)
    change.promote(target)
    _end_rollout(change, left, target, reason)
    change.record(image, None, production, f"version {left} rolled back to {target}: {reason}", back=True)
    change.runtime.stop(product, left)


def _end_rollout(change: Change, left: str, target: str, reason: str) -> None:
    """What was baking is rolled back; a candidate beside it has lost its champion and begins anew, if at all."""
    rollout = current_rollout(change.product, change.store)
    if rollout is not None and rollout.under_way:
        close(change, Stage.SUPERSEDED, f"rollback to version {target}: {reason}")
        if rollout.version != target:
            change.runtime.stop(change.product, rollout.version)
    elif rollout is not None and rollout.version == left:
        close(change, Stage.ROLLED_BACK, reason)


def _previous_good(product: str, production: Deployment, store: Store) -> str:
    """The fallback, or else the newest older version that was in production, was not rejected and has its image."""
    earlier = [v for v in store.record_names(product, "deployments") if newer(production.version, v)]
    candidates = [production.fallback] if production.fallback else []
    for version in (*candidates, *sorted(earlier, key=int, reverse=True)):
        if rejection(product, version, store) is None and _sound_image(product, version, store) is not None:
            return version
    raise DeliveryError(
        f"{product}: no earlier version than {production.version} was good in production: name one with --to,"
        " or train a new model"
    )


def _sound_image(product: str, version: str, store: Store) -> Image | None:
    image = store.read_record(product, f"images/{version}", Image)
    return image if image is not None and all(check.passed for check in image.checks) else None
