"""Approvals: who may let what into production."""

import pytest

from mlauto.commands.approve import approve_version
from mlauto.delivery.decisions import Approval, Rejection, approved, reject
from mlauto.errors import DeliveryError, ProductError
from mlauto.records import CheckOutcome, Deployment
from mlauto.settings import Settings
from mlauto.store import Store


@pytest.fixture
def bike(settings: Settings, history: Store) -> Store:
    """A product that waits for approvals; versions 1 and 2 have images, 2 runs in the test environment."""
    write_yaml(settings, "approve")
    deploy_to_test(history, passed=True)
    return history


def write_yaml(settings: Settings, mode: str) -> None:
    """The product's YAML with that delivery mode."""
    path = settings.defs / "bike" / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "type: mlauto.ModelProduct\n"
        "attributes:\n"
        "  name: bike\n"
        "  code: {repository: models/bike, estimator: 'bike.model:build'}\n"
        "  data: {landing: landing/bike, target: target, task: regression}\n"
        f"  delivery: {{mode: {mode}}}\n"
    )


def deploy_to_test(store: Store, *, passed: bool) -> None:
    """Version 2 in the test environment."""
    check = CheckOutcome(name="parity", passed=passed, summary="")
    test = Deployment(environment="test", version="2", image="2" * 64, since=3400.0, checks=(check,))
    store.write_record("bike", "test_deployment", test)


def test_the_newest_verified_version_is_approved(settings: Settings, bike: Store) -> None:
    """Without a version, the one in the test environment; the record says who and when."""
    said = approve_version(settings, "bike")

    assert said.startswith("bike: version 2 is approved")
    assert approved("bike", "2", bike)
    assert not approved("bike", "1", bike)
    record = bike.read_record("bike", "approvals/2", Approval)
    assert record is not None
    assert record.by
    assert record.at > 1.6e9


def test_a_version_may_be_named(settings: Settings, bike: Store) -> None:
    """Exactly that one is approved."""
    approve_version(settings, "bike", "1")

    assert approved("bike", "1", bike)
    assert not approved("bike", "2", bike)


def test_what_did_not_pass_is_not_approved_by_default(settings: Settings, bike: Store) -> None:
    """A failed check in the test environment leaves nothing to approve."""
    deploy_to_test(bike, passed=False)

    with pytest.raises(DeliveryError, match="nothing to approve yet"):
        approve_version(settings, "bike")
    assert not approved("bike", "2", bike)


def test_nothing_in_the_test_environment(settings: Settings, bike: Store) -> None:
    """A new product has nothing to approve."""
    bike.record_path("bike", "test_deployment").unlink()

    with pytest.raises(DeliveryError, match="nothing to approve yet"):
        approve_version(settings, "bike")


def test_a_version_without_an_image(settings: Settings, bike: Store) -> None:
    """The room's own refusal reaches the person."""
    with pytest.raises(DeliveryError, match="version 9 has no image"):
        approve_version(settings, "bike", "9")


def test_a_version_that_was_rolled_back(settings: Settings, bike: Store) -> None:
    """An approval does not undo a rollback."""
    reject("bike", Rejection(version="2", to="1", reason="too slow", at=1.0), bike)

    with pytest.raises(DeliveryError, match="was rolled back"):
        approve_version(settings, "bike")


def test_mode_auto_needs_no_approval(settings: Settings, bike: Store) -> None:
    """Somebody who approves there has misread the YAML, and is told."""
    write_yaml(settings, "auto")

    with pytest.raises(DeliveryError, match="delivery mode is auto"):
        approve_version(settings, "bike")


def test_an_unknown_product(settings: Settings, bike: Store) -> None:
    """The known ones are listed."""
    with pytest.raises(ProductError, match="known: bike"):
        approve_version(settings, "bikes")


def test_a_mode_that_only_suggests_takes_no_approval(settings: Settings, bike: Store) -> None:
    """An approval would change nothing: the sentence says what would."""
    write_yaml(settings, "suggest")

    with pytest.raises(DeliveryError, match="delivery mode is suggest, which rolls nothing out"):
        approve_version(settings, "bike")
    assert not approved("bike", "2", bike)
