"""What each asset does, without Dagster: idempotent, and with a sentence when something is missing."""

import shutil

import pytest

from mlauto.errors import DataError, DeliveryError, ProductError, SourceError, StoreError, TrainingError
from mlauto.integration.tracking import read_report
from mlauto.monitoring.drift.profile import Profile
from mlauto.orchestration import steps
from mlauto.records import Batch, CheckOutcome, Deployment, TrainedModel, VerifiedCommit
from mlauto.training.batches.landing import FolderLanding, pending, plan
from mlauto_tests.orchestration.conftest import World, rows


def quiet(line: str) -> None:
    """A log that nobody reads."""


def fetched(world: World) -> str:
    """A repository with one commit, mirrored; the SHA."""
    origin = world.repository()
    world.platform.mirror(world.product).fetch()
    return origin.git("rev-parse", "HEAD")


def test_a_commit_is_tested_once(world: World) -> None:
    """The second time the report is read, also when the repository is gone."""
    sha = fetched(world)
    lines: list[str] = []

    first = steps.report_commit(world.platform, world.product, sha, lines.append)
    shutil.rmtree(world.settings.product_home("tides") / "mirror.git")
    again = steps.report_commit(world.platform, world.product, sha, quiet)

    assert first.passed
    assert again == first == read_report(world.store, "tides", sha)
    assert [result.command for result in first.results] == ["python -m compileall -q ."]


def test_a_tree_that_is_refused_is_a_red_report(world: World) -> None:
    """A link that leaves the tree is the commit's own fault, for good."""
    origin = world.repository()
    (origin.path / "passwords").symlink_to("/etc/passwd")
    sha = origin.commit("A link to nowhere good")
    world.platform.mirror(world.product).fetch()

    report = steps.report_commit(world.platform, world.product, sha, quiet)

    assert not report.passed
    assert "passwords" in report.results[0].output
    assert read_report(world.store, "tides", sha) == report


def test_a_mirror_that_fails_is_no_verdict_on_the_commit(world: World) -> None:
    """The commit is asked for again later: nothing is recorded."""
    sha = fetched(world)
    folder = world.settings.product_home("tides") / "trees"
    folder.write_text("a file where a folder should be")

    with pytest.raises((SourceError, OSError)):
        steps.report_commit(world.platform, world.product, sha, quiet)

    assert read_report(world.store, "tides", sha) is None


def test_the_verified_commit_needs_a_green_one(world: World) -> None:
    """Before there is one the sentence names the branch; afterwards it is recorded."""
    sha = fetched(world)
    with pytest.raises(TrainingError, match="tides: no commit on main has passed its checks yet"):
        steps.verify_newest_commit(world.platform, world.product)

    steps.report_commit(world.platform, world.product, sha, quiet)
    verified = steps.verify_newest_commit(world.platform, world.product)

    assert verified.commit.sha == sha
    assert world.store.read_record("tides", "verified_commit", VerifiedCommit) == verified


def planned(world: World) -> str:
    """The key of the batch that the landed files make."""
    folder = world.settings.resolve("landing/tides")
    plan(world.store, "tides", FolderLanding(folder), 2_000_000_000.0)
    return pending(world.store, "tides")[-1]


def test_a_batch_is_taken_by_the_products_suite(world: World) -> None:
    """The suite lies beside the product's YAML; a missing one decides nothing and names the file."""
    world.land(rows(30), "a.csv")
    key = planned(world)
    suite = world.settings.defs / "tides" / "expectations.json"
    text = suite.read_text()
    suite.unlink()
    with pytest.raises(ProductError, match=r"defs/tides/expectations\.json"):
        steps.take_batch(world.platform, world.product, key)
    suite.write_text(text)

    batch = steps.take_batch(world.platform, world.product, key)
    training_set = steps.assemble_training_set(world.platform, world.product, quiet)

    assert batch.outcome == "accepted"
    assert world.store.read_record("tides", f"batches/{key}", Batch) == batch
    assert [part.key for part in training_set.batches] == [key]


def test_a_training_set_needs_data(world: World) -> None:
    """The sentence says where to put it."""
    with pytest.raises(DataError, match="landing folder"):
        steps.assemble_training_set(world.platform, world.product, quiet)


def test_a_model_needs_a_commit_and_data(world: World) -> None:
    """Each missing thing is named, with what to materialize."""
    with pytest.raises(TrainingError, match="tides: no verified commit yet: materialize tides/verified_commit first"):
        steps.train_model(world.platform, world.product, "by hand", quiet)

    sha = fetched(world)
    steps.report_commit(world.platform, world.product, sha, quiet)
    steps.verify_newest_commit(world.platform, world.product)
    with pytest.raises(TrainingError, match="tides: no training set yet: land a data file"):
        steps.train_model(world.platform, world.product, "by hand", quiet)


def test_the_same_inputs_give_the_model_that_is_there(released: World) -> None:
    """No second fit, no second version; how the rows were distributed is on record for it."""
    before = released.model()

    again = steps.train_model(released.platform, released.product, "by hand", quiet)

    assert again == before
    assert len(released.registry.registrations["tides"]) == 1
    profile = released.store.read_record("tides", "profiles/1", Profile)
    assert profile is not None
    assert set(profile.columns) == {"x", "hour"}


def test_a_challenger_is_compared_with_what_the_live_champion_says(released: World) -> None:
    """New data makes a new version; the champion's own process was asked about the newest rows, and started for it."""
    released.gather()
    released.runtime.calls.clear()
    lines: list[str] = []

    model = steps.train_model(released.platform, released.product, "new data", lines.append)

    assert (model.version, model.reason) == ("2", "new data")
    assert released.runtime.calls[:2] == [("start", "tides", "1"), ("predict", "tides", "1")]
    [check] = [check for check in model.checks if check.name == "not_worse_than_champion"]
    assert check.passed
    assert "not compared" not in check.summary
    assert any("fitting" in line for line in lines)


def test_a_champion_without_an_image_is_said(released: World) -> None:
    """What it would have answered cannot be known then."""
    released.gather()
    released.store.record_path("tides", "images/1").unlink()

    with pytest.raises(DeliveryError, match="tides: version 1 has no image: materialize tides/image"):
        steps.train_model(released.platform, released.product, "new data", quiet)


def test_delivery_needs_a_model(world: World) -> None:
    """Each step names what is to be materialized first."""
    for step in (steps.build_model_image, steps.deploy_to_test):
        with pytest.raises(DeliveryError, match="tides: no model yet: materialize tides/model"):
            step(world.platform, world.product)
    with pytest.raises(DeliveryError, match="no model yet"):
        steps.release(world.platform, world.product, "run")
    with pytest.raises(DeliveryError, match="nothing is in production"):
        steps.roll_back_release(world.platform, world.product, "a reason")


def test_a_model_that_failed_a_check_is_not_delivered(released: World) -> None:
    """Whoever asks by hand is told which check it was."""
    released.train(checks=(CheckOutcome(name="valid", passed=False, summary="not finite"),))

    with pytest.raises(DeliveryError, match="tides: model 2 failed valid and is not delivered"):
        steps.build_model_image(released.platform, released.product)


def test_a_release_needs_its_own_verification(released: World) -> None:
    """The test deployment of another version does not count; step by step it works, and the run is noted."""
    released.train()
    with pytest.raises(DeliveryError, match="version 2 was not verified: materialize test_deployment"):
        steps.release(released.platform, released.product, "run-7")
    with pytest.raises(DeliveryError, match="version 2 has no image"):
        steps.deploy_to_test(released.platform, released.product)

    image = steps.build_model_image(released.platform, released.product)
    test = steps.deploy_to_test(released.platform, released.product)
    production = steps.release(released.platform, released.product, "run-7")

    assert image.version == test.version == production.version == "2"
    assert production.fallback == "1"
    assert released.runtime.live("tides") == "2"
    assert released.registry.champion("tides") == "2"
    assert released.store.read_record("tides", "runs/2", dict[str, str]) == {"run_id": "run-7"}
    steps.release(released.platform, released.product, "a run that finds it live")
    assert released.store.read_record("tides", "runs/2", dict[str, str]) == {"run_id": "run-7"}


def test_a_rollback_is_proven_and_promoted(released: World) -> None:
    """The version before answers, the registry says so, and a further one finds nothing to go back to."""
    test_a_release_needs_its_own_verification(released)

    back = steps.roll_back_release(released.platform, released.product, "it was slow")

    assert back.version == released.runtime.live("tides") == released.registry.champion("tides") == "1"
    assert "it was slow" in back.events[-1]
    assert released.store.read_record("tides", "production", Deployment) == back
    with pytest.raises(DeliveryError, match="no earlier version than 1"):
        steps.roll_back_release(released.platform, released.product, "again")


def test_a_version_may_be_named_for_a_rollback(released: World) -> None:
    """Also forward again, to one that was rejected."""
    test_a_rollback_is_proven_and_promoted(released)

    forward = steps.roll_back_release(released.platform, released.product, "it was not it", to="2")

    assert forward.version == released.runtime.live("tides") == "2"


def test_a_record_that_is_damaged_names_its_file(released: World) -> None:
    """No step goes on from half a record."""
    path = released.store.record_path("tides", "model")
    path.write_text("{")

    with pytest.raises(StoreError, match=r"model\.json is not a valid TrainedModel"):
        steps.build_model_image(released.platform, released.product)
    released.store.write_record("tides", "model", stored(released, "1"))
    assert steps.build_model_image(released.platform, released.product).version == "1"


def stored(world: World, version: str) -> TrainedModel:
    """The record of one version."""
    found = world.store.read_record("tides", f"models/{version}", TrainedModel)
    assert found is not None
    return found
