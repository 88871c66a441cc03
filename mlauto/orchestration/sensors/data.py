"""The data sensor: new files make a batch; a batch without outcome is asked for; so is a stale training set."""

import time
from collections.abc import Sequence

import dagster as dg

from mlauto.orchestration.names import (
    DELIVERS_TAG,
    PRODUCT_TAG,
    REASON_TAG,
    TRIGGER_TAG,
    WORK_TAG,
    asset_key,
    batch_partitions,
    delivery_keys,
)
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import kept_problem
from mlauto.orchestration.sensors.work import Tick, Work, active, each_product
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel, TrainingSet, VerifiedCommit
from mlauto.training.batches.landing import FolderLanding, pending, plan
from mlauto.training.policy import new_batches
from mlauto.training.training_set import accepted_batches

__all__ = ["data_sensor"]

ASKED_PER_TICK = 5
PARTITIONS_KEPT = 2000


def data_sensor(products: Sequence[ModelProduct], platform: Platform) -> dg.SensorDefinition:
    """One sensor for the landing folders of all products."""

    def look(tick: Tick, product: ModelProduct) -> None:
        with kept_problem(platform.store, product.name, "data"):
            _tick(tick, platform, product)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return each_product(context, products, look)

    return dg.SensorDefinition(
        name="data",
        evaluation_fn=evaluate,
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=platform.settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New data files: each arrival is validated and added to the training set.",
    )


def _tick(tick: Tick, platform: Platform, product: ModelProduct) -> None:
    store = platform.store
    found = plan(store, product.name, FolderLanding(platform.settings.resolve(product.data.landing)), time.time())
    if found.waiting:
        tick.notes.append(f"{product.name}: {found.waiting} files are still being written")
    unsettled = pending(store, product.name)
    # open: asked for, and not yet in Dagster's log; settled batches stay until their materialization is seen
    memory = tick.cursors.setdefault(product.name, {})
    known = [str(key) for key in _list(memory.get("open"))]
    batches = sorted({*known, *unsettled})
    still_open = [key for key in batches if key in unsettled or not _materialized(tick, product, key)]
    memory["open"] = still_open
    _register(tick, product, [key for key in still_open if key not in known])
    given_up = [str(key) for key in _list(memory.get("given_up")) if key in still_open]
    waiting = [key for key in still_open if key not in given_up][:ASKED_PER_TICK]
    # what batches lead to is done once: by a delivery under way, or else by the last of those that come together
    # their runs are looked at first: one that ends meanwhile must not be both a delivery under way and a lost batch
    idle = [key for key in waiting if not active(tick.instance, {WORK_TAG: _name(product, key)})]
    tick.notes += [f"{_name(product, key)}: in progress" for key in waiting if key not in idle]
    busy = bool(idle) and active(tick.instance, {DELIVERS_TAG: product.name})
    for key in idle:
        last = key == idle[-1] and not busy
        training = _training(platform, product, len(waiting)) if last else []
        selection = [asset_key(product, "batch"), asset_key(product, "training_set"), *training]
        delivers = {DELIVERS_TAG: product.name} if training else {}
        work = Work(
            name=_name(product, key),
            selection=selection,
            partition=key,
            tags={PRODUCT_TAG: product.name, TRIGGER_TAG: "batch", REASON_TAG: f"batch {key}", **delivers},
        )
        if tick.exhausted(work):  # it must not stand in the way of later ones
            given_up.append(key)
        else:
            tick.ask(work)
    memory["given_up"] = given_up
    if given_up:
        tick.notes.append(
            f"{product.name}: gave up on {len(given_up)} batches, first {given_up[0]}: see its failed runs, then"
            f" materialize that partition of {product.name}/batch by hand"
        )
    if not waiting:
        _training_set_is_current(tick, platform, product)


def _name(product: ModelProduct, key: str) -> str:
    return f"{product.name}/batch/{key}"


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _materialized(tick: Tick, product: ModelProduct, key: str) -> bool:
    wanted = dg.AssetRecordsFilter(asset_key=asset_key(product, "batch"), asset_partitions=[key])
    return bool(tick.instance.fetch_materializations(wanted, limit=1).records)


def _register(tick: Tick, product: ModelProduct, new: Sequence[str]) -> None:
    """Add partitions, and drop the oldest: storage is never asked about thousands of them at once."""
    if not new:
        return
    partitions = batch_partitions(product)
    tick.partitions.append(partitions.build_add_request(list(new)))
    existing = sorted(tick.instance.get_dynamic_partitions(f"{product.name}_batches"))
    if len(existing) > PARTITIONS_KEPT:
        tick.partitions.append(partitions.build_delete_request(existing[: len(existing) - PARTITIONS_KEPT]))


def _training(platform: Platform, product: ModelProduct, arriving: int) -> list[dg.AssetKey]:
    """The steps from model to production, if so many arriving batches should make a new model by the policy."""
    if platform.store.read_record(product.name, "verified_commit", VerifiedCommit) is None:
        return []
    current = platform.store.read_record(product.name, "model", TrainedModel)
    if current is None:
        return delivery_keys(product)
    training_set = platform.store.read_record(product.name, "training_set", TrainingSet)
    every = product.training.policy.every_batches
    fresh = arriving + (new_batches(current, training_set) if training_set else 0)
    return delivery_keys(product) if every is not None and fresh >= every else []


def _training_set_is_current(tick: Tick, platform: Platform, product: ModelProduct) -> None:
    """Ask for the training set when its run was lost after the batch was accepted."""
    accepted = accepted_batches(platform.store, product.name).batches
    training_set = platform.store.read_record(product.name, "training_set", TrainingSet)
    stale = accepted and (training_set is None or training_set.batches[-1].key != accepted[-1].key)
    if stale and not active(tick.instance, {PRODUCT_TAG: product.name}):  # a run may be just about to do it
        work = Work(
            name=f"{product.name}/training_set/{accepted[-1].key}",
            selection=[asset_key(product, "training_set")],
            tags={PRODUCT_TAG: product.name, TRIGGER_TAG: "batch"},
        )
        tick.ask(work)
