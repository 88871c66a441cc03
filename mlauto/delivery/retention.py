"""Which versions of a product can always be started again, and what is forgotten of the others.

A version that can be started has its record `images/<version>`: what that names stays in the store. Of older ones the
small records stay for long, so that a prediction can be traced back to its commit, its data and its MLflow run.
"""

from collections.abc import Collection
from dataclasses import dataclass

from mlauto.delivery.decisions import newer, rejected_versions, rejection
from mlauto.delivery.exclusive import exclusive
from mlauto.delivery.progress import Stage
from mlauto.delivery.stages import current_rollout
from mlauto.records import Deployment, Image, TrainedModel
from mlauto.store import Store
from mlauto.sweep import GRACE

__all__ = ["Pruned", "Versions", "prune", "startable", "why_not_startable"]

TRACED = 1000  # newest versions of which the small records stay
STARTING = ("images", "profiles", "references", "known")  # folders of records that are of use with a version that runs
TRACING = ("models", "runs", "approvals", "rejected")
FITS = "fits"


@dataclass(frozen=True, kw_only=True)
class Versions:
    """What the records say of a product's versions; `in_use` are those that run, or that newest records name."""

    known: frozenset[str]
    deployed: frozenset[str]
    rejected: frozenset[str]
    in_use: frozenset[str]
    production: str | None


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The versions that can be started, and those that no longer can, oldest first."""

    startable: tuple[str, ...]
    forgotten: tuple[str, ...]


def startable(versions: Versions, keep: int) -> frozenset[str]:
    """What is in use, the `keep` newest that were good in production, and as many that are newer than what is there.

    Good is what was in production and was not rejected. The newest good one before production is always among them:
    a rollback goes there. Newer ones are candidates, and what was rolled back and may be asked for again.
    """
    good = sorted(versions.deployed - versions.rejected, key=int)
    production = versions.production
    ahead = sorted((v for v in versions.known if production is None or newer(v, production)), key=int)
    before = [v for v in good if production is not None and newer(production, v)]
    return versions.in_use.union(good[-keep:], ahead[-keep:], before[-1:])


def prune(product: str, store: Store, keep: int, *, running: Collection[str], now: float) -> Pruned:
    """Forget what is only of use with a version that can be started, of all others.

    `running` are versions that run, or that somebody will ask for. Raises `BusyError` while a rollout or a rollback is
    under way, which may be on its way to any of them, and `StoreError` for a record that does not parse.
    """
    with exclusive(product, store, wait=0):
        versions = _versions(product, store, running)
        kept = startable(versions, keep)
        forgotten = set(_numbers(product, store, "images")) - kept
        for folder in STARTING:
            _forget(product, store, folder, set(_numbers(product, store, folder)) - kept)
        for folder in TRACING:
            _forget(product, store, folder, set(_numbers(product, store, folder)[:-TRACED]) - kept)
        models = (store.read_record(product, f"models/{version}", TrainedModel) for version in kept)
        _forget_fits(product, store, {model.artifact for model in models if model is not None}, now)
        return Pruned(startable=tuple(sorted(kept, key=int)), forgotten=tuple(sorted(forgotten, key=int)))


def why_not_startable(product: str, version: str, store: Store) -> str:
    """Why a version has no sound image, and what to do, as a sentence."""
    model = store.read_record(product, f"models/{version}", TrainedModel)
    deployed = store.read_record(product, f"deployments/{version}", Deployment)
    if store.read_record(product, f"images/{version}", Image) is not None or (model is None and deployed is None):
        return f"{product}: version {version} has no image that passed its checks: name another"
    others = ", ".join(_numbers(product, store, "images")) or "none"
    origin = f" of commit {model.commit.sha[:12]}, MLflow run {model.run_id}," if model else ""
    return (
        f"{product}: the image of version {version}{origin} is not there any more, or was never built"
        f" (delivery.keep says how many are kept): name one of {others}, or let that commit be trained again"
    )


def _versions(product: str, store: Store, running: Collection[str]) -> Versions:
    production = store.read_record(product, "production", Deployment)
    test = store.read_record(product, "test_deployment", Deployment)
    image = store.read_record(product, "image", Image)
    model = store.read_record(product, "model", TrainedModel)
    named = {newest.version for newest in (production, test, image, model) if newest is not None}
    if production is not None:
        begun = rejection(product, production.version, store)
        named |= {version for version in (production.fallback, begun and begun.to) if version}
    rollout = current_rollout(product, store)
    if rollout is not None and (rollout.under_way or rollout.stage is Stage.BAKING or not rollout.settled):
        named |= {version for version in (rollout.version, rollout.champion) if version}
    known = {version for folder in ("models", "images") for version in _numbers(product, store, folder)}
    return Versions(
        known=frozenset(known),
        deployed=frozenset(_numbers(product, store, "deployments")),
        rejected=frozenset(rejected_versions(product, store)),
        in_use=frozenset(filter(str.isdecimal, {*named, *running})),
        production=production.version if production else None,
    )


def _numbers(product: str, store: Store, folder: str) -> list[str]:
    """The versions that have a record in the folder, oldest first."""
    return sorted(filter(str.isdecimal, store.record_names(product, folder)), key=int)


def _forget(product: str, store: Store, folder: str, names: Collection[str]) -> None:
    for name in names:
        store.record_path(product, f"{folder}/{name}").unlink(missing_ok=True)


def _forget_fits(product: str, store: Store, artifacts: Collection[str], now: float) -> None:
    """What a key was fitted to is remembered as long as the version that came of it can be started, and a while."""
    for key in list(store.record_names(product, FITS)):
        path = store.record_path(product, f"{FITS}/{key}")
        fit = store.read_record(product, f"{FITS}/{key}", TrainedModel)
        if fit is not None and fit.artifact not in artifacts and path.stat().st_mtime < now - GRACE:
            path.unlink(missing_ok=True)
