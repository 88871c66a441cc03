"""What is removed after a delivery: disk use stays flat, and nothing that any record needs is taken away."""

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from mlauto.errors import DeliveryError
from mlauto.monitoring.incidents import Incident
from mlauto.orchestration.names import delivery_keys
from mlauto.orchestration.steps import roll_back_release
from mlauto.orchestration.tidy import referenced, tidy_up
from mlauto.records import Action, Batch, Deployment, Image, Problem, Validation
from mlauto.runtime.base import Route
from mlauto.runtime.boxes import BOX_LABEL, box
from mlauto.runtime.docker_workshop import DockerWorkshop
from mlauto.runtime.engine import HOME_LABEL, ContainerSpec
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.store import Store
from mlauto.sweep import GRACE, LEFT_BEHIND
from mlauto.training.batches.landing import PlannedBatch
from mlauto.training.batches.waiting import remember
from mlauto_tests.orchestration.conftest import World, made_product

LATER = 2 * GRACE
FAR_OFF = """
from sklearn.dummy import DummyRegressor


def build():
    return DummyRegressor(strategy="constant", constant=1e6)
"""


def tidied(world: World, after: float = LATER) -> list[str]:
    """What tidying says, so many seconds from now."""
    said: list[str] = []
    tidy_up(world.platform, world.product, said.append, time.time() + after)
    return said


def used(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def stored(store: Store, content: str) -> str:
    """A directory of 20 kB in the store; its digest."""
    folder = store.scratch("made")
    (folder / "file").write_text(content.ljust(20_000))
    return store.put_tree(folder)


def deliver(world: World, version: str, *, rejected: bool = False) -> None:
    """A version's whole life up to production, as records and directories; the one before is its fallback."""
    store, name = world.store, world.product.name
    model = world.train(key=f"key {version}", artifact=stored(store, f"artifact {version}"))
    assert model.version == version
    store.write_record(name, f"fits/{model.key}", replace(model, version="", run_id=""))
    digest = stored(store, f"bundle {version}")
    image = Image(kind="fake", digest=digest, reference="", version=version, key=model.key)
    for record in ("image", f"images/{version}"):
        store.write_record(name, record, image)
    for folder in ("profiles", "references", "known", "runs"):
        store.write_record(name, f"{folder}/{version}", {})
    before = world.production()
    assert before is not None
    deployed = Deployment(environment="production", version=version, image=digest, since=1.0, fallback=before.version)
    store.write_record(name, "test_deployment", replace(deployed, environment="test"))
    world.runtime.start(name, image)
    if rejected:
        store.write_record(name, f"rejected/{version}", {})
        world.runtime.stop(name, version)
        return
    store.write_record(name, "production", deployed)
    store.write_record(name, f"deployments/{version}", deployed)
    world.runtime.switch(name, Route(version, before.version))
    for old in set(world.runtime.running(name)) - {version, before.version}:
        world.runtime.stop(name, old)


def test_disk_use_stays_flat_over_a_hundred_versions(released: World) -> None:
    """The store holds as much after 100 as after 20; of each older version about its small record is left."""
    sizes = {}
    for number in range(2, 101):
        deliver(released, str(number))
        tidied(released)
        sizes[number] = (used(released.settings.home / "store"), used(released.settings.home))

    assert sizes[100][0] == pytest.approx(sizes[20][0], abs=200)
    assert sizes[100][1] - sizes[20][1] < 80 * 3000
    assert sorted(released.store.record_names("tides", "images"), key=int) == ["96", "97", "98", "99", "100"]
    assert len(list(released.store.trees.iterdir())) == 10
    assert list((released.settings.home / "tmp").iterdir()) == []


def test_rejected_versions_do_not_grow_either(released: World) -> None:
    """However often a candidate is rolled back, what is live stays, and a few of the newest."""
    deliver(released, "2")
    for number in range(3, 40):
        deliver(released, str(number), rejected=True)
        tidied(released)

    kept = sorted(released.store.record_names("tides", "images"), key=int)
    assert kept == ["1", "2", "35", "36", "37", "38", "39"]
    assert len(list(released.store.trees.iterdir())) == 13  # version 1 has no bundle in the store


def test_it_says_what_it_did(released: World) -> None:
    """Once; there is nothing to say the second time, or before the grace period is over."""
    for number in range(2, 9):
        deliver(released, str(number))
    [first] = tidied(released, after=0.0)

    assert first == "version 1, 2, 3 can no longer be started; removed: 1"
    assert len(list(released.store.trees.iterdir())) == 15
    [second] = tidied(released)
    assert second == "0.2 MB freed (5 directories, 0 files, 0 leftovers)"  # 4 of 20 kB, and a real model
    assert tidied(released) == []


def test_the_data_of_kept_versions_stays(released: World) -> None:
    """Whatever a training set may use again, and what the versions that can be started were fitted on."""
    released.gather()
    before = {path.name for path in released.store.objects.rglob("*") if path.is_file()}
    loose = released.settings.root / "loose"
    loose.write_text("nobody's")
    digest = released.store.put_file(loose)

    [said] = tidied(released)

    assert "1 files" in said
    assert {path.name for path in released.store.objects.rglob("*") if path.is_file()} == before
    assert digest not in before


def test_rows_that_wait_for_labels_stay(released: World) -> None:
    """Their file's states are named by a record of their own, and are nobody's once that is gone."""
    loose = released.settings.root / "loose"
    loose.write_text("rows without labels")
    digest = released.store.put_file(loose)
    waiting = Batch(
        key="k",
        files=(),
        rows=0,
        digest=None,
        validation=Validation(passed=True, evaluated=0),
        arrived=1.0,
        waiting={"a.csv": (digest,)},
    )
    remember(released.store, "tides", waiting)

    assert tidied(released) == []
    [record] = released.store.record_path("tides", "waiting").with_suffix("").rglob("*.json")
    record.unlink()
    assert len(tidied(released)) == 1


def test_a_batch_that_is_not_in_the_index_yet_stays(released: World) -> None:
    """Killed between its record and the index it is entered later: its plan is still there."""
    loose = released.settings.root / "loose"
    loose.write_text("a batch")
    digest = released.store.put_file(loose)
    released.store.write_record("tides", "batches/k", {"digest": digest})
    released.store.write_record("tides", "batches_planned/k", PlannedBatch(key="k", files=(), arrived=1.0))

    assert tidied(released) == []
    released.store.record_path("tides", "batches_planned/k").unlink()
    assert len(tidied(released)) == 1


def test_other_products_keep_theirs(released: World) -> None:
    """Also one that is no longer defined: its records speak for it."""
    deliver(released, "2")
    model = released.model()
    image = released.store.read_record("tides", "images/2", Image)
    released.store.write_record("gone", "models/9", replace(model, artifact=stored(released.store, "other artifact")))
    released.store.write_record("gone", "images/9", replace(image, digest=stored(released.store, "other bundle")))
    before = len(list(released.store.trees.iterdir()))

    assert tidied(released) == []
    assert len(list(released.store.trees.iterdir())) == before


def test_what_the_gateway_would_start_stays(released: World) -> None:
    """Its state names bundles by their path; it comes back with them after a reboot."""
    digest = stored(released.store, "a bundle")
    state = released.settings.gateway_home / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text(f'{{"products": {{"tides": {{"versions": {{"9": {{"bundle": "/x/{digest}"}}}}}}}}}}')

    assert tidied(released) == []
    assert digest in referenced(released.settings.home)
    state.unlink()
    assert len(tidied(released)) == 1


def test_a_record_that_this_code_does_not_know_counts(released: World) -> None:
    """A digest that anything names is needed; what is a history of what once was is not."""
    one, other = stored(released.store, "one"), stored(released.store, "other")
    released.store.write_record("tides", "rollouts/current", {"image": one})
    released.store.write_record("tides", "deployments/77", {"image": other})

    assert one in referenced(released.settings.home)
    assert other not in referenced(released.settings.home)


def test_nothing_is_referenced_where_nothing_is(world: World) -> None:
    """An installation of which nothing exists yet."""
    assert referenced(world.settings.home) == set()
    assert tidied(world) == []


def test_without_a_gateway_versions_are_left_alone(released: World) -> None:
    """It is not known what runs; what nobody needs goes nevertheless."""
    for number in range(2, 9):
        deliver(released, str(number))
    released.runtime.routes.clear()
    stored(released.store, "nobody's")

    assert tidied(released) == ["0.0 MB freed (1 directories, 0 files, 0 leftovers)"]
    assert len(list(released.store.record_names("tides", "images"))) == 8


def test_the_version_of_an_open_incident_stays(released: World) -> None:
    """When retraining was in vain it is what users get back."""
    for number in range(2, 9):
        deliver(released, str(number))
    incident = Incident(opened=1.0, version="1", cause="worse", action=Action.RETRAIN, attempts=1)
    released.store.write_record("tides", "incident", incident)

    assert tidied(released, after=0.0) == ["version 2, 3 can no longer be started"]


def test_logs_of_forgotten_versions_go(released: World) -> None:
    """A day later; those of other products are not looked at."""
    logs = released.settings.gateway_home / "logs"
    logs.mkdir(parents=True)
    for name in ("tides-1.log", "tides-77.log", "other-77.log"):
        (logs / name).write_text("said")

    tidied(released)
    assert len(list(logs.iterdir())) == 3
    tidied(released, after=LEFT_BEHIND + 60)
    assert sorted(path.name for path in logs.iterdir()) == ["other-77.log", "tides-1.log"]


def test_what_goes_wrong_is_said_and_kept(released: World) -> None:
    """A delivery does not fail because of it; the problem is forgotten once all is well."""
    fit = released.store.record_path("tides", "fits/broken")
    fit.write_text("{")

    [said] = tidied(released)
    problem = released.store.read_record("tides", "problems/retention", Problem)

    assert said.startswith("not everything was tidied up:")
    assert problem is not None
    assert "broken.json is not a valid TrainedModel" in problem.text
    fit.unlink()
    assert tidied(released) == []
    assert released.store.read_record("tides", "problems/retention", Problem) is None


def test_what_the_file_system_refuses_is_a_problem_too(released: World) -> None:
    """Named with the state directory; the records are in order, so it is found the next time."""
    (released.settings.home / "tmp").rmdir()
    (released.settings.home / "tmp").write_text("a file where a folder should be")
    released.store.put_file(released.settings.home / "tmp")

    assert "cannot be tidied up" in tidied(released)[0]
    (released.settings.home / "tmp").unlink()
    assert len(tidied(released)) == 1


def test_containers_of_killed_jobs_go(released: World) -> None:
    """By whatever workshop the platform has; one whose maker lives stays, and an engine that is down is a problem."""
    engine, home = FakeEngine(), released.settings.home
    image = engine.put("workshop:1")
    workshop = DockerWorkshop(engine, SimpleNamespace(get=engine.image, dependencies_key=str), home)
    released.platform = replace(released.platform, workshop=workshop)
    with box(home) as living:
        for name, folder in (("checks", home / "tmp" / "job-gone"), ("training", living)):
            labels = {HOME_LABEL: str(home), BOX_LABEL: str(folder)}
            engine.create(ContainerSpec(name=name, image=image.id, command=["x"], user="1:1", labels=labels))

        assert tidied(released) == ["removed: container checks"]
        assert tidied(released) == []
        assert [state.name for state in engine.containers({})] == ["training"]

    engine.down = "no engine answers"
    assert tidied(released) == ["not everything was tidied up: no engine answers"]
    problem = released.store.read_record("tides", "problems/retention", Problem)
    assert problem is not None
    assert problem.text == "no engine answers"


def test_a_delivery_tidies_up_after_itself(released: World) -> None:
    """The run of a release forgets what is too old for `delivery.keep`; a rollback there says what it was."""
    released.products[:] = [made_product(delivery={"keep": 2, "bake": "0s"})]
    for _ in range(3):
        released.train()
        assert released.run(dg.RunRequest(asset_selection=delivery_keys(released.product, "image"))).success

    assert sorted(released.store.record_names("tides", "images")) == ["3", "4"]
    assert sorted(released.store.record_names("tides", "models")) == ["1", "2", "3", "4"]
    with pytest.raises(DeliveryError, match="the image of version 1 of commit"):
        roll_back_release(released.platform, released.product, "by hand", to="1")


def test_a_training_that_goes_no_further_tidies_up_itself(released: World) -> None:
    """No production step follows that would."""
    origin = released.commit("Worse than a mean", **{"src/tide/model.py": FAR_OFF})
    stray = stored(released.store, "nobody's")
    os.utime(released.store.tree_path(stray), (1.0, 1.0))
    released.loop("commits")
    released.loop("live")

    model = released.model()
    assert model.commit.sha == origin
    assert not model.passed
    assert not released.store.tree_path(stray).exists()


def test_fits_that_no_backtest_uses_go(released: World) -> None:
    """A product that is delivered again and again does not keep the fits of a backtest of last year."""
    folder = released.settings.home / "backtest" / "00"
    folder.mkdir(parents=True)
    for name, used_at in (("old", 1.0), ("young", time.time())):
        (folder / f"{name}.npz").write_bytes(b"losses")
        os.utime(folder / f"{name}.npz", (used_at, used_at))

    tidied(released)

    assert [path.name for path in folder.iterdir()] == ["young.npz"]
