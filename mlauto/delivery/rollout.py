"""Rollout: which version answers users, stage by stage. Each call may be killed between any two steps and be run again.

`roll_out` begins the rollout of a verified image or takes it one stage further; `continue_rollout` does so for the one
that is under way, whatever else was verified meanwhile. `delivery.progress` has the stages.
"""

from dataclasses import replace

from mlauto.delivery.change import EVENTS, Change, Promote, serving, with_event
from mlauto.delivery.decisions import approved, newer, rejection
from mlauto.delivery.exclusive import BusyError, exclusive
from mlauto.delivery.progress import Rollout, Stage
from mlauto.delivery.rollback import go_back
from mlauto.delivery.stages import Way, carry_out, close, current_rollout, go_on, start_rollout
from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Deployment, Image, TrainedModel
from mlauto.runtime.base import Runtime
from mlauto.store import Store

__all__ = ["continue_rollout", "retire_expired", "roll_out", "serving_expected_version", "waits_for"]

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
    way: Way,
    now: float,
    patience: float = PATIENCE_SECONDS,
) -> Deployment:
    """Take the verified image one stage further on its way to all users.

    Returns production as it is afterwards. A newer version in production or on its way there, or a mode that waits for
    people, leaves it unchanged, and the returned events say so; so they do where an older one is taken further first
    (`waits_for`). Raises `DeliveryError` when the image was not verified, was rejected, or is not live within
    `patience` seconds after the switch (then the previous version is switched back), and when nothing is in production
    and an approval is awaited.
    """
    _require_verified(product, image, test)
    with exclusive(product, store, wait=WAIT_SECONDS):
        change = Change(product, runtime, store, registry_promote, now, patience)
        return _roll_out(change, image, mode, way) or _retire(change, way.plan.bake, way.outcome) or change.checked()


def continue_rollout(
    product: str,
    runtime: Runtime,
    store: Store,
    registry_promote: Promote,
    *,
    way: Way,
    now: float,
    patience: float = PATIENCE_SECONDS,
) -> Deployment:
    """Take the recorded rollout one stage further, if that is due. Raises `DeliveryError` as `roll_out` does."""
    with exclusive(product, store, wait=WAIT_SECONDS):
        change = Change(product, runtime, store, registry_promote, now, patience)
        rollout = current_rollout(product, store)
        if rollout is not None and (rollout.under_way or not rollout.settled):
            go_on(change, rollout, _image(product, rollout, store), way)
        return _retire(change, way.plan.bake, way.outcome) or change.checked()


def waits_for(product: str, version: str, store: Store, *, mode: str, hurry: bool) -> Rollout | None:
    """The rollout that has to end before that of a newer version may begin; None where it supersedes at once.

    Data may come faster than a rollout takes: if each candidate of one code superseded the one before, none would ever
    reach users. New code, what people approve, and the successor of a degraded champion (`hurry`) do not wait.
    """
    rollout = current_rollout(product, store)
    if mode != "auto" or hurry or rollout is None or not rollout.under_way or not newer(version, rollout.version):
        return None
    image = store.read_record(product, f"images/{rollout.version}", Image)
    if image is None or image.digest != rollout.image:
        return None  # it cannot go on
    mine, theirs = (store.read_record(product, f"models/{one}", TrainedModel) for one in (version, rollout.version))
    same = mine is not None and theirs is not None and mine.commit.tree == theirs.commit.tree
    return rollout if same else None


def retire_expired(
    product: str, runtime: Runtime, store: Store, *, bake: float, now: float, outcome: str = ""
) -> Deployment | None:
    """Stop the fallback once the bake time is over; returns production as it is then, None when nothing was due.

    `outcome` is what its watch came to, for the records.
    While a rollout or a rollback is under way nothing is: that one looks after the fallback itself.
    """
    production = store.read_record(product, "production", Deployment)
    if not _expired(production, bake, now):
        return None
    try:
        with exclusive(product, store, wait=0):
            return _retire(Change(product, runtime, store, _promote_nothing, now, 0.0), bake, outcome)
    except BusyError:
        return None


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


def _roll_out(change: Change, image: Image, mode: str, way: Way) -> Deployment | None:
    """Take the image further, unless something speaks against it: then production as it stays, with a note."""
    product, store = change.product, change.store
    production = store.read_record(product, "production", Deployment)
    if production is not None and not newer(image.version, production.version):
        cut_short = rejection(product, production.version, store)
        if cut_short is not None:
            go_back(change, cut_short.to, cut_short.reason)
            return change.checked()
    rollout = current_rollout(product, store)
    own = rollout if rollout is not None and rollout.version == image.version else None
    refused = rejection(product, image.version, store)
    if refused is not None:
        if own is not None and own.stage is Stage.ABORTED and not own.settled:  # killed before all was done about it
            carry_out(change, own, image, way)
            return change.checked()
        raise DeliveryError(
            f"{product}: version {image.version} was rolled back ({refused.reason}) and does not come back by"
            f" itself: train a new one, or ask for it with mlauto rollback {product} --to {image.version}"
        )
    first = waits_for(product, image.version, store, mode=mode, hurry=way.plan.hurry)
    if first is not None:
        go_on(change, first, _image(product, first, store), way)
        return _noted(change, f"version {image.version} waits until the rollout of {first.version} has ended")
    note = _against(change, image, production, rollout, mode)
    if note is not None:
        return _noted(change, note)
    if _in_place(image, production) and (own is None or own.settled):
        _keep(change, image, production)
        if own is not None and own.stage is Stage.BAKING:
            go_on(change, own, image, way)
    elif own is not None and (own.under_way or not own.settled):
        go_on(change, own, image, way)
    else:
        champion = production.version if production else None
        carry_out(change, start_rollout(change, image, way, champion), image, way)
    return None


def _noted(change: Change, note: str) -> Deployment:
    """Production as it is, with a word on why it is not what was asked for; an error where there is none."""
    production = change.store.read_record(change.product, "production", Deployment)
    if production is None:
        raise DeliveryError(f"{change.product}: {note}")
    check = serving(production, change.runtime.live(change.product))
    return replace(production, checks=(check,), events=(*production.events, note)[-EVENTS:])


def _keep(change: Change, image: Image, production: Deployment | None) -> None:
    """It is in production: have it answer, and nothing else run that is not needed."""
    if change.runtime.live(change.product) != image.version:
        change.put(image, production)
    rollout = current_rollout(change.product, change.store)
    change.stop_leftovers(rollout.version if rollout is not None and rollout.under_way else None)


def _retire(change: Change, bake: float, outcome: str) -> Deployment | None:
    """Stop a fallback whose bake time is over; production as it is then, None when nothing was due."""
    production = change.store.read_record(change.product, "production", Deployment)
    if production is None or production.fallback is None or not _expired(production, bake, change.now):
        return None
    change.runtime.stop(change.product, production.fallback)
    text = f"version {production.fallback} retired after {change.now - production.since:.0f} s of baking"
    text += f": {outcome}" if outcome else ""
    retired = replace(production, fallback=None, events=with_event(production.events, change.now, text))
    change.store.write_record(change.product, "production", retired)
    rollout = current_rollout(change.product, change.store)
    if rollout is not None and rollout.stage is Stage.BAKING and rollout.version == production.version:
        close(change, Stage.PROMOTED, text)
    return change.checked()


def _against(
    change: Change, image: Image, production: Deployment | None, rollout: Rollout | None, mode: str
) -> str | None:
    """Why the image does not go to production now, as a sentence; None when nothing speaks against it."""
    product, version = change.product, image.version
    if production is not None and newer(production.version, version):
        return f"version {version} was not rolled out: {production.version} is newer"
    if _in_place(image, production):
        return None
    if rollout is not None and rollout.under_way and newer(rollout.version, version):
        return f"version {version} was not rolled out: {rollout.version} is newer and on its way"
    if mode == "suggest":
        return f"version {version} is ready for production; delivery mode suggest only says so"
    if mode == "approve" and not approved(product, version, change.store):
        return f"version {version} waits for approval (delivery mode approve): mlauto approve {product}"
    return None


def _in_place(image: Image, production: Deployment | None) -> bool:
    return production is not None and (production.version, production.image) == (image.version, image.digest)


def _image(product: str, rollout: Rollout, store: Store) -> Image:
    image = store.read_record(product, f"images/{rollout.version}", Image)
    if image is None or image.digest != rollout.image:
        raise DeliveryError(f"{product}: the image of version {rollout.version} is gone: materialize {product}/image")
    return image


def _expired(production: Deployment | None, bake: float, now: float) -> bool:
    return production is not None and production.fallback is not None and now - production.since >= bake


def _promote_nothing(_version: str) -> None:
    """Retiring a fallback leaves the registry's alias where it is."""
