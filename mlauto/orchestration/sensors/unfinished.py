"""Deliveries that were begun and are not done: what is left of them, and who asks for it."""

from mlauto.delivery.decisions import approved, rejected_versions
from mlauto.delivery.reconcile import wanted
from mlauto.orchestration import rollouts
from mlauto.orchestration.live_model import live_model
from mlauto.orchestration.names import DELIVERS_TAG, PRODUCT_TAG, REASON_TAG, RENEWS_TAG, TRIGGER_TAG, delivery_keys
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.sensors.requests import delivery
from mlauto.orchestration.sensors.work import Tick, Work
from mlauto.product import ModelProduct
from mlauto.records import Deployment, Image, TrainedModel, TrainingSet, VerifiedCommit
from mlauto.training.policy import Decision, why_train
from mlauto.training.prequential import scores_of

__all__ = ["average_anew", "finish_delivery"]


def finish_delivery(tick: Tick, platform: Platform, product: ModelProduct) -> bool:
    """Ask for the model that new code or the policy wants, or for what is left of a delivery; True when asked."""
    decision = _decision(platform, product)
    if decision is not None and decision.train and tick.ask(_model(product, decision)):
        return True
    current = platform.store.read_record(product.name, "model", TrainedModel)
    steps = _unfinished(platform, product, current)
    if current is not None and steps:
        name, reason = f"{product.name}/deliver/{current.version}", f"finish version {current.version}"
        if tick.ask(delivery(product, name, reason, steps)):
            return True
    due = rollouts.step_due(platform, product)
    return due is not None and tick.ask(delivery(product, *due, ("production",)))


def average_anew(tick: Tick, platform: Platform, product: ModelProduct) -> bool:
    """Ask for a model of the live version's fits where new labels train nothing; True when asked.

    A newer one that waits for its delivery, or for an approval, goes first.
    """
    store = platform.store
    live, current = live_model(store, product), store.read_record(product.name, "model", TrainedModel)
    if live is None or current is None:
        return False
    given_up = not current.passed or current.version in rejected_versions(product.name, store)
    if current.version != live.version and not given_up:
        return False
    decision = _decision(platform, product, renew=True)
    return decision is not None and decision.renew and tick.ask(_model(product, decision, live.line))


def _decision(platform: Platform, product: ModelProduct, *, renew: bool = False) -> Decision | None:
    """Whether there should be another model now, of old fits only to `renew`; None without code and data."""
    store = platform.store
    verified = store.read_record(product.name, "verified_commit", VerifiedCommit)
    training_set = store.read_record(product.name, "training_set", TrainingSet)
    if verified is None or training_set is None or not training_set.batches:
        return None
    return why_train(
        current=store.read_record(product.name, "model", TrainedModel),
        product=product,
        tree=verified.commit.tree,
        training_set=training_set,
        lock_digest=platform.workshop.environment(),
        trigger="batch",
        live=live_model(store, product),
        scores=lambda: scores_of(store, product),
        renew=renew,
    )


def _model(product: ModelProduct, decision: Decision, line: str = "") -> Work:
    """The model and its way to production."""
    return Work(
        name=f"{product.name}/model/{decision.key[:20]}",
        selection=delivery_keys(product),
        tags={
            PRODUCT_TAG: product.name,
            DELIVERS_TAG: product.name,
            TRIGGER_TAG: "batch",
            REASON_TAG: decision.reason,
            **({RENEWS_TAG: line} if line else {}),
        },
    )


def _unfinished(platform: Platform, product: ModelProduct, current: TrainedModel | None) -> tuple[str, ...]:
    """The steps that are left between the newest model and production."""
    store = platform.store
    production = store.read_record(product.name, "production", Deployment)
    versions = {deployed.version for deployed in (current, production) if deployed is not None}
    return wanted(
        current,
        store.read_record(product.name, "image", Image),
        store.read_record(product.name, "test_deployment", Deployment),
        production,
        rejected=rejected_versions(product.name, store),
        mode=product.delivery.mode,
        approved={version for version in versions if approved(product.name, version, store)},
        held_back=current is not None and rollouts.held_back(platform, product, current.version),
    )
