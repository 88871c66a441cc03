"""Carries the stages of a rollout out. Each may be killed between any two steps and be done again from its record.

A stage is recorded before anything is done about it, and marked as settled when all of it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlauto.delivery.change import Change, with_event
from mlauto.delivery.decisions import Rejection, reject, rejection
from mlauto.delivery.history import Served, note
from mlauto.delivery.judge import Limits
from mlauto.delivery.progress import Plan, Rollout, Stage, aborted, begun, ended, following
from mlauto.errors import DeliveryError
from mlauto.proof import RolloutEvidence
from mlauto.records import Deployment, Image
from mlauto.runtime.base import Route, Runtime
from mlauto.store import Store

__all__ = [
    "Gather",
    "Way",
    "carry_out",
    "close",
    "current_rollout",
    "give_up",
    "go_on",
    "is_due",
    "nothing_gathered",
    "route_wanted",
    "start_rollout",
]

Gather = Callable[[Rollout], RolloutEvidence | None]


def nothing_gathered(_rollout: Rollout) -> None:
    """No evidence can be had: nothing moves on by itself."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a product's candidates go to all users: the stages, what they are judged by, where the evidence is from.

    `outcome`: what the watch over the newest promotion has come to, as a sentence, where there is one.
    """

    plan: Plan = field(default_factory=Plan)
    limits: Limits = field(default_factory=Limits)
    gather: Gather = nothing_gathered
    outcome: str = ""


def current_rollout(product: str, store: Store) -> Rollout | None:
    """The product's newest rollout, under way or ended."""
    return store.read_record(product, "rollout", Rollout)


def is_due(product: str, runtime: Runtime, store: Store, way: Way, *, now: float) -> tuple[Rollout, str] | None:
    """The rollout, and what is to be done about it; None where nothing is.

    That is `settle` for a stage that was recorded only, the name of the stage that follows, or `route` for a route that
    was lost.
    """
    rollout = current_rollout(product, store)
    if rollout is None:
        return None
    if not rollout.settled:
        return rollout, "settle"
    if rollout.stage is Stage.BAKING:
        return None if _is_copied(product, rollout, runtime, store, way.plan) else (rollout, "route")
    if not rollout.under_way:
        return None
    after = following(rollout, way.plan, way.gather(rollout), way.limits, now=now)
    if after is not rollout:
        return rollout, after.stage.value
    return None if _in_route(product, rollout, runtime) else (rollout, "route")


def start_rollout(change: Change, image: Image, way: Way, champion: str | None) -> Rollout:
    """Record a new rollout's first stage, in place of any other that is under way."""
    before = current_rollout(change.product, change.store)
    return _recorded(change, begun(image.version, image.digest, champion, way.plan, now=change.now, before=before))


def go_on(change: Change, rollout: Rollout, image: Image, way: Way) -> Rollout:
    """Record the next stage if it is due, and carry out what is recorded; the rollout as it is then."""
    if rollout.settled and rollout.stage is Stage.BAKING:
        if _is_copied(change.product, rollout, change.runtime, change.store, way.plan):
            return rollout
        rollout = _recorded(change, replace(rollout, settled=False))
    elif rollout.settled:
        after = following(rollout, way.plan, way.gather(rollout), way.limits, now=change.now)
        if after is rollout and _in_route(change.product, rollout, change.runtime):
            return rollout
        rollout = _recorded(change, after if after is not rollout else replace(rollout, settled=False))
    return carry_out(change, rollout, image, way)


def carry_out(change: Change, rollout: Rollout, image: Image, way: Way) -> Rollout:
    """Do what the recorded stage asks for, which may have been done in part, and settle it.

    A candidate that does not start any more is aborted. Raises `DeliveryError` when the gateway does not follow.
    """
    if rollout.under_way:
        try:
            change.runtime.start(change.product, image)
        except DeliveryError as error:
            return give_up(change, aborted(rollout, f"it does not start any more: {error}", now=change.now))
    if rollout.stage is Stage.ABORTED:
        return give_up(change, rollout)
    if rollout.under_way:
        _beside_champion(change, rollout)
    elif rollout.stage is Stage.BAKING:
        rollout = _to_all(change, rollout, image, way.plan)
    return _recorded(change, replace(rollout, settled=True))


def close(change: Change, stage: Stage, why: str) -> Rollout | None:
    """Record that the rollout ended without anything to carry out; None where none is under way or watched."""
    rollout = current_rollout(change.product, change.store)
    if rollout is None or not (rollout.under_way or rollout.stage is Stage.BAKING):
        return None
    return _recorded(change, ended(rollout, stage, why, now=change.now))


def route_wanted(rollout: Rollout, champion: str, fallback: str | None) -> Route:
    """Who answers in a stage beside the champion. Copies go on during a canary: they are what pairs the two."""
    shadow = rollout.version if rollout.shadowed else None
    if rollout.stage is Stage.CANARY:
        return Route(champion, fallback, rollout.version, rollout.percent, shadow)
    return Route(champion, fallback, shadow=rollout.version)


def _recorded(change: Change, rollout: Rollout) -> Rollout:
    change.store.write_record(change.product, "rollout", rollout)
    return rollout


def _in_route(product: str, rollout: Rollout, runtime: Runtime) -> bool:
    """Whether the candidate has just the part in the route that its stage gives it."""
    route = runtime.route(product)
    if route is None:
        return False
    wanted = route_wanted(rollout, route.champion, route.fallback)
    return (route.canary, route.percent, route.shadow) == (wanted.canary, wanted.percent, wanted.shadow)


def _is_copied(product: str, rollout: Rollout, runtime: Runtime, store: Store, plan: Plan) -> bool:
    """Whether the former champion gets the copies that it is to get, so far as the promoted version answers at all."""
    production = store.read_record(product, "production", Deployment)
    route = runtime.route(product)
    if production is None or route is None or not rollout.shadowed or plan.bake <= 0:
        return True
    if production.fallback is None or {production.version, route.champion} != {rollout.version}:
        return True
    return route.shadow == production.fallback


def _beside_champion(change: Change, rollout: Rollout) -> None:
    """The champion answers, the candidate gets its share or its copies."""
    production, champion = _in_production(change)
    change.runtime.start(change.product, champion)  # it may have died, and the route names it
    route = route_wanted(rollout, production.version, _spare(change, production))
    _routed(change, route)
    _tell(change, rollout, production)
    served = Served(
        at=change.now,
        champion=route.champion,
        canary=route.canary,
        percent=route.percent,
        shadow=route.shadow,
        why=rollout.told,
    )
    note(change.store, change.product, served)
    change.stop_leftovers(rollout.version)


def _to_all(change: Change, rollout: Rollout, image: Image, plan: Plan) -> Rollout:
    """The candidate answers everybody; the champion stays warm behind it, and is asked copies for comparison."""
    product, store = change.product, change.store
    production = store.read_record(product, "production", Deployment)
    if production is not None and rollout.why:
        _tell(change, rollout, production)
        production = store.read_record(product, "production", Deployment)
    in_place = production is not None and (production.version, production.image) == (image.version, image.digest)
    if not in_place or change.runtime.live(product) != image.version:
        change.put(image, production)
    production = store.read_record(product, "production", Deployment)
    change.stop_leftovers()
    if production is None or production.fallback is None:
        return replace(rollout, stage=Stage.PROMOTED)
    if rollout.shadowed and plan.bake > 0:
        former = store.read_record(product, f"images/{production.fallback}", Image)
        if former is not None:
            change.runtime.start(product, former)  # it may have died, and the route names it
        _routed(change, Route(production.version, production.fallback, shadow=production.fallback))
    return rollout


def give_up(change: Change, rollout: Rollout) -> Rollout:
    """Record an aborted rollout and carry it out.

    The candidate is rejected first, so that nothing brings it back in between; then it leaves the route and is stopped.
    """
    _recorded(change, rollout)
    production, _ = _in_production(change)
    rejected = Rejection(version=rollout.version, to=production.version, reason=rollout.why, at=rollout.since)
    reject(change.product, rejected, change.store)
    route = change.runtime.route(change.product)
    if route is not None and rollout.version in route.named():
        _routed(change, route.without(rollout.version))
    _tell(change, rollout, production)
    note(change.store, change.product, Served(at=change.now, champion=production.version, why=rollout.told))
    change.runtime.stop(change.product, rollout.version)
    return _recorded(change, replace(rollout, settled=True))


def _routed(change: Change, route: Route) -> None:
    """Switch, and prove it by asking the gateway."""
    change.runtime.switch(change.product, route)
    found = change.runtime.route(change.product)
    if found != route:
        raise DeliveryError(f"{change.product}: the gateway was told {route} and has {found}: see its log")


def _in_production(change: Change) -> tuple[Deployment, Image]:
    production = change.store.read_record(change.product, "production", Deployment)
    image = change.store.read_record(change.product, f"images/{production.version}", Image) if production else None
    if production is None or image is None:
        raise DeliveryError(f"{change.product}: nothing is in production any more: materialize image and production")
    return production, image


def _spare(change: Change, production: Deployment) -> str | None:
    """The fallback where it can stand behind the champion."""
    fallback = production.fallback
    if fallback is None or rejection(change.product, fallback, change.store) is not None:
        return None
    return fallback if change.runtime.running(change.product).get(fallback) == "ready" else None


def _tell(change: Change, rollout: Rollout, production: Deployment) -> None:
    """The stage as an event on production, once."""
    events = with_event(production.events, rollout.since, rollout.told)
    if events[-1] not in production.events:
        change.store.write_record(change.product, "production", replace(production, events=events))
