"""Rollout and rollback: which version answers users. Each may be killed between any two steps and be run again.

A rollback first records that the bad version is rejected, so that no rollout can put it back in between.
"""

from dataclasses import replace

from mlauto.delivery.change import EVENTS, Change, Promote, serving, with_event
from mlauto.delivery.decisions import Rejection, approved, newer, reject, rejection, restore
from mlauto.delivery.exclusive import BusyError, exclusive
from mlauto.delivery.retention import why_not_startable
from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Deployment, Image
from mlauto.runtime.base import Runtime
from mlauto.store import Store

__all__ = ["retire_expired", "roll_back", "roll_out", "serving_expected_version"]

PATIENCE_SECONDS = 10.0
WAIT_SECONDS = 60.0  # for another change of production to end


def roll_out(  # noqa: PLR0917 - what is rolled out, with what, then how
    product: str,
    image: Image,
    test: Deployment,
    runtime: Runtime,
    store: Store,
    registry_promote: Promote,
    *,
    mode: str,
    bake: float,
    now: float,
    patience: float = PATIENCE_SECONDS,
) -> Deployment:
    """Let the verified image answer all users, with the version before it as warm fallback for `bake` seconds.

    Returns production as it is afterwards. A newer version in production, or a mode that waits for an approval, leaves
    it unchanged, and the returned events say so. Raises `DeliveryError` when the image was not verified, was rejected,
    or is not live within `patience` seconds after the switch (then the previous version is switched back), and when
    nothing is in production and an approval is awaited.
    """
    _require_verified(product, image, test)
    with exclusive(product, store, wait=WAIT_SECONDS):
        change = Change(product, runtime, store, registry_promote, now, patience)
        return _roll_out(change, image, mode) or _retire(change, bake) or change.checked()


def retire_expired(product: str, runtime: Runtime, store: Store, *, bake: float, now: float) -> Deployment | None:
    """Stop the fallback once the bake time is over; returns production as it is then, None when nothing was due.

    While a rollout or a rollback is under way nothing is: that one looks after the fallback itself.
    """
    production = store.read_record(product, "production", Deployment)
    if not _expired(production, bake, now):
        return None
    try:
        with exclusive(product, store, wait=0):
            return _retire(Change(product, runtime, store, _promote_nothing, now, 0.0), bake)
    except BusyError:
        return None


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
        _roll_back(change, to, reason)
        return change.checked()


def serving_expected_version(product: str, runtime: Runtime, store: Store) -> CheckOutcome:
    """Whether the version that answers users, asked just now, is the one that the record names."""
    production = store.read_record(product, "production", Deployment)
    return serving(production, runtime.live(product))


def _require_verified(product: str, image: Image, test: Deployment) -> None:
    if (test.version, test.image) != (image.version, image.digest):
        raise DeliveryError(
            f"{product}: the test deployment is of version {test.version}, the image of {image.version}:"
            " materialize test_deployment"
        )
    failed = [check for check in (*image.checks, *test.checks) if not check.passed]
    if failed:
        reasons = "; ".join(f"{check.name}: {check.summary}" for check in failed)
        raise DeliveryError(f"{product}: version {image.version} is not rolled out, it failed {reasons}")


def _roll_out(change: Change, image: Image, mode: str) -> Deployment | None:
    """Let the image answer users, unless something speaks against it: then production as it stays, with a note."""
    product, store = change.product, change.store
    production = store.read_record(product, "production", Deployment)
    if production is not None and not newer(image.version, production.version):
        cut_short = rejection(product, production.version, store)
        if cut_short is not None:
            _roll_back(change, cut_short.to, cut_short.reason)
            return change.checked()
    refused = rejection(product, image.version, store)
    if refused is not None:
        raise DeliveryError(
            f"{product}: version {image.version} was rolled back ({refused.reason}) and does not come back by"
            f" itself: train a new one, or ask for it with mlauto rollback {product} --to {image.version}"
        )
    note = _against(product, image, production, mode, store)
    if note is not None and production is None:
        raise DeliveryError(f"{product}: {note}")
    if note is not None and production is not None:
        check = serving(production, change.runtime.live(product))
        return replace(production, checks=(check,), events=(*production.events, note)[-EVENTS:])
    if not _in_place(image, production) or change.runtime.live(product) != image.version:
        change.put(image, production)
    change.stop_leftovers()
    return None


def _roll_back(change: Change, to: str | None, reason: str) -> None:
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
    change.record(image, None, production, f"version {left} rolled back to {target}: {reason}")
    change.runtime.stop(product, left)


def _retire(change: Change, bake: float) -> Deployment | None:
    """Stop a fallback whose bake time is over; production as it is then, None when nothing was due."""
    production = change.store.read_record(change.product, "production", Deployment)
    if production is None or production.fallback is None or not _expired(production, bake, change.now):
        return None
    change.runtime.stop(change.product, production.fallback)
    text = f"version {production.fallback} retired after {bake:g} s of baking"
    retired = replace(production, fallback=None, events=with_event(production.events, change.now, text))
    change.store.write_record(change.product, "production", retired)
    return change.checked()


def _against(product: str, image: Image, production: Deployment | None, mode: str, store: Store) -> str | None:
    """Why the image does not go to production now, as a sentence; None when nothing speaks against it."""
    if production is not None and newer(production.version, image.version):
        return f"version {image.version} was not rolled out: {production.version} is newer"
    if mode != "auto" and not _in_place(image, production) and not approved(product, image.version, store):
        return f"version {image.version} waits for approval (delivery mode {mode}): mlauto approve {product}"
    return None


def _in_place(image: Image, production: Deployment | None) -> bool:
    return production is not None and (production.version, production.image) == (image.version, image.digest)


def _expired(production: Deployment | None, bake: float, now: float) -> bool:
    return production is not None and production.fallback is not None and now - production.since >= bake


def _promote_nothing(_version: str) -> None:
    """Retiring a fallback leaves the registry's alias where it is."""


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
