"""Which versions can always be started again, and what is forgotten of the others."""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlauto.delivery.decisions import Rejection, reject, rejection
from mlauto.delivery.exclusive import BusyError, exclusive
from mlauto.delivery.progress import Plan
from mlauto.delivery.retention import Pruned, Versions, prune, startable, why_not_startable
from mlauto.delivery.rollback import roll_back
from mlauto.delivery.stages import Way
from mlauto.errors import DeliveryError
from mlauto.records import Deployment, Image, TrainedModel
from mlauto.runtime.base import Route
from mlauto.store import Store
from mlauto.sweep import GRACE, sweep
from mlauto_tests.delivery.conftest import NOW, PRODUCT, Delivery, StrictRuntime


@dataclass
class StoringRuntime(StrictRuntime):
    """Bundles are directories in the store, as on the local runtime: without its bundle no version starts."""

    store: Store = field(default_factory=lambda: Store(Path()))

    def build(self, product: str, version: str, key: str, content: Path) -> Image:
        copy = self.store.scratch("bundle") / "content"
        shutil.copytree(content, copy)
        image = super().build(product, version, key, content)
        assert self.store.put_tree(copy) == image.digest
        copy.parent.rmdir()
        return image

    def start(self, product: str, image: Image) -> None:
        if not self.store.tree_path(image.digest).is_dir():
            raise DeliveryError(f"version {image.version} has no bundle")
        super().start(product, image)


@pytest.fixture
def storing(store: Store, tree: Path) -> Delivery:
    """A product whose bundles lie in the store."""
    return Delivery(store, StoringRuntime(store=store), tree)


def recorded(delivery: Delivery, version: str) -> None:
    """Train a version, and leave the records that training leaves."""
    model = delivery.model(version)
    delivery.store.write_record(PRODUCT, f"fits/{model.key}", model)
    delivery.store.write_record(PRODUCT, f"models/{version}", model)
    delivery.store.write_record(PRODUCT, "model", model)


def images(store: Store) -> list[str]:
    return sorted(store.record_names(PRODUCT, "images"), key=int)


def tidied(delivery: Delivery, keep: int = 2, *running: str) -> Pruned:
    """Prune after the grace period."""
    wanted = {*delivery.runtime.running(PRODUCT), *running}
    return prune(PRODUCT, delivery.store, keep, running=wanted, now=2 * GRACE + 4e9)


def versions(
    known: str, *, deployed: str = "", rejected: str = "", in_use: str = "", production: str | None = None
) -> Versions:
    """Versions as words."""
    parts = (frozenset(words.split()) for words in (known, deployed, rejected, in_use))
    return Versions(**dict(zip(("known", "deployed", "rejected", "in_use"), parts, strict=True)), production=production)


def test_the_newest_good_ones_are_kept() -> None:
    """By number, not by letters; what was rejected, or never got there, is not good."""
    found = versions("7 8 9 10 11 12", deployed="7 8 9 10 12", rejected="10", in_use="12", production="12")

    assert startable(found, 2) == {"12", "9"}
    assert startable(found, 3) == {"12", "9", "8"}
    assert startable(found, 50) == {"12", "9", "8", "7"}


def test_what_is_in_use_is_kept_however_old() -> None:
    """A fallback, a shadow, or the version that somebody named for a rollback."""
    assert startable(versions("1 2 3", deployed="1 2 3", in_use="1", production="3"), 2) == {"1", "2", "3"}


def test_newer_ones_than_production_are_candidates() -> None:
    """Those that wait for an approval, and those that were rolled back, which may be asked for again; so many."""
    found = versions("1 2 3 4 5 6", deployed="1 2 3", rejected="3", in_use="2", production="2")

    assert startable(found, 2) == {"1", "2", "5", "6"}
    assert startable(versions("1 2 3"), 2) == {"2", "3"}


def test_there_is_a_way_back_after_a_rollback_by_hand() -> None:
    """The newest good version before the live one is kept, though newer ones were good, too."""
    found = versions("1 2 3 7 8 9", deployed="1 2 3 7 8 9", rejected="9", in_use="3", production="3")

    assert startable(found, 2) == {"2", "3", "7", "8", "9"}


@pytest.mark.parametrize("seed", range(200))
def test_always(seed: int) -> None:
    """Whatever happened: use, the last good ones and the way back are kept, and no more than a bounded number."""
    chance = random.Random(seed)
    known = [str(n) for n in range(1, chance.randint(2, 40))]
    deployed = {v for v in known if chance.random() < 0.6}
    rejected = {v for v in known if chance.random() < 0.3}
    production = chance.choice(sorted(deployed)) if deployed else None
    in_use = {v for v in known if chance.random() < 0.1} | ({production} if production else set())
    keep = chance.randint(2, 8)
    found = Versions(
        known=frozenset(known),
        deployed=frozenset(deployed),
        rejected=frozenset(rejected),
        in_use=frozenset(in_use),
        production=production,
    )

    kept = startable(found, keep)
    good = sorted(deployed - rejected, key=int)
    before = [v for v in good if production and int(v) < int(production)]
    assert in_use | set(good[-keep:]) | set(before[-1:]) <= kept
    assert len(kept) <= len(in_use) + 2 * keep + 1


def test_of_older_versions_the_trace_is_left(storing: Delivery, store: Store) -> None:
    """Image and profiles go, fits too; which commit, data and run a version came from can still be said."""
    for version in ("1", "2", "3", "4"):
        recorded(storing, version)
        storing.release(version)
        store.write_record(PRODUCT, f"profiles/{version}", {})
        store.write_record(PRODUCT, f"runs/{version}", {"run_id": version})
    for version in ("1", "2"):
        storing.runtime.stop(PRODUCT, version)

    assert tidied(storing) == Pruned(startable=("3", "4"), forgotten=("1", "2"))
    assert images(store) == sorted(store.record_names(PRODUCT, "profiles")) == ["3", "4"]
    assert sorted(store.record_names(PRODUCT, "fits")) == ["key-3", "key-4"]
    assert sorted(store.record_names(PRODUCT, "models")) == ["1", "2", "3", "4"]
    assert sorted(store.record_names(PRODUCT, "runs")) == ["1", "2", "3", "4"]
    assert tidied(storing) == Pruned(startable=("3", "4"), forgotten=())


def test_the_trace_is_bounded(store: Store, delivery: Delivery) -> None:
    """A thousand versions, and the good ones however old."""
    delivery.release("1")
    model = delivery.model("1")
    for version in range(1, 1105):
        path = store.record_path(PRODUCT, f"models/{version}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if version > 1 else "")
    store.write_record(PRODUCT, "models/1", model)
    for version in ("1103", "1104"):
        store.write_record(PRODUCT, f"models/{version}", model)
    tidied(delivery)

    left = sorted(map(int, store.record_names(PRODUCT, "models")))
    assert left == [1, *range(105, 1105)]


def test_a_fit_is_remembered_for_a_while(storing: Delivery, store: Store) -> None:
    """It may be on its way to becoming a version."""
    recorded(storing, "1")
    storing.release("1")
    store.write_record(PRODUCT, "fits/new", storing.model("2"))
    now = store.record_path(PRODUCT, "fits/new").stat().st_mtime

    prune(PRODUCT, store, 2, running=(), now=now + GRACE - 1)
    assert "new" in store.record_names(PRODUCT, "fits")
    prune(PRODUCT, store, 2, running=(), now=now + GRACE + 1)
    assert list(store.record_names(PRODUCT, "fits")) == ["key-1"]


def test_nothing_is_forgotten_during_a_rollout(storing: Delivery, store: Store) -> None:
    """It may be on its way to any version."""
    for version in ("1", "2", "3"):
        storing.release(version)

    with exclusive(PRODUCT, store, wait=0), pytest.raises(BusyError):
        tidied(storing)
    assert images(store) == ["1", "2", "3"]


def test_the_target_of_a_rollback_that_was_cut_short_stays(storing: Delivery, store: Store) -> None:
    """Its decision is on record, and will be carried out."""
    for version in ("1", "2", "3", "4"):
        storing.release(version)
    for version in ("1", "2"):
        storing.runtime.stop(PRODUCT, version)
    reject(PRODUCT, Rejection(version="4", to="1", reason="slow", at=NOW), store)

    assert "1" in tidied(storing).startable


def test_why_a_version_cannot_be_started(storing: Delivery, store: Store) -> None:
    """A rollback to it says what it came from, and which others there are."""
    for version in ("1", "2", "3", "4"):
        recorded(storing, version)
        storing.release(version)
    for version in ("1", "2"):
        storing.runtime.stop(PRODUCT, version)
    tidied(storing)

    with pytest.raises(DeliveryError, match=r"image of version 1 of commit c{12}, MLflow run r, is not there any more"):
        roll_back(PRODUCT, storing.runtime, store, storing.promote, to="1", reason="by hand", now=NOW)
    assert "name one of 3, 4" in why_not_startable(PRODUCT, "1", store)
    assert "version 99 has no image that passed its checks" in why_not_startable(PRODUCT, "99", store)
    assert "version 3 has no image that passed its checks" in why_not_startable(PRODUCT, "3", store)


def _random_life(storing: Delivery, chance: random.Random, keep: int) -> None:
    """Releases, rollbacks, stops and sweeps in any order; after each sweep the last good ones are tried."""
    store, runtime = storing.store, storing.runtime
    newest = 0
    for _ in range(40):
        step = chance.random()
        if step < 0.5 or newest == 0:
            newest += 1
            recorded(storing, str(newest))
            storing.release(str(newest))
        elif step < 0.7:
            production = storing.production()
            earlier = [v for v in images(store) if int(v) < int(production.version) and not _refused(store, v)]
            if earlier:
                roll_back(PRODUCT, runtime, store, storing.promote, reason="by chance", now=NOW)
        else:
            before = set(images(store))
            pruned = prune(PRODUCT, store, keep, running=runtime.running(PRODUCT), now=4e9)
            _swept(store)
            _try_all(storing, keep, before)
            assert set(pruned.forgotten) == before - set(images(store))


def _refused(store: Store, version: str) -> bool:
    return rejection(PRODUCT, version, store) is not None


def _swept(store: Store) -> None:
    """With nothing but what images and their models name, as the records say."""
    named = set()
    for version in images(store):
        image = store.read_record(PRODUCT, f"images/{version}", Image)
        model = store.read_record(PRODUCT, f"models/{version}", TrainedModel)
        named |= {found for found in (image and image.digest, model and model.artifact) if found}
    sweep(store, named, now=store.home.stat().st_mtime + 2 * GRACE + 60)


def _try_all(storing: Delivery, keep: int, before: set[str]) -> None:
    """The last good ones of those that had an image start, and may be switched to; then everything is as before."""
    store, runtime = storing.store, storing.runtime
    route = runtime.routes[PRODUCT]
    deployed = sorted(before.intersection(store.record_names(PRODUCT, "deployments")), key=int)
    for version in [v for v in deployed if not _refused(store, v)][-keep:]:
        image = store.read_record(PRODUCT, f"images/{version}", Image)
        assert image is not None
        ran = version in runtime.running(PRODUCT)
        runtime.start(PRODUCT, image)
        runtime.switch(PRODUCT, Route(version))
        runtime.switch(PRODUCT, route)
        assert store.read_record(PRODUCT, "production", Deployment) is not None
        if not ran:
            runtime.stop(PRODUCT, version)


@pytest.mark.parametrize("seed", range(6))
def test_the_last_good_ones_can_always_be_started(storing: Delivery, seed: int) -> None:
    """Through any sequence of releases, rollbacks and sweeps, from bundles that lie in the store."""
    chance = random.Random(seed)
    keep = chance.randint(2, 4)
    _random_life(storing, chance, keep)
    prune(PRODUCT, storing.store, keep, running=storing.runtime.running(PRODUCT), now=4e9)
    _swept(storing.store)

    assert len(list(storing.store.trees.iterdir())) <= 2 * (3 * keep + 4)


def test_a_rollout_under_way_keeps_both_sides(delivery: Delivery) -> None:
    """The candidate and its champion, whatever runs just now and however few are kept."""
    delivery.release("1")
    delivery.release("2", way=Way(plan=Plan(shadow=10.0)))

    pruned = prune(PRODUCT, delivery.store, 1, running=(), now=NOW)

    assert {"1", "2"} <= set(pruned.startable)
