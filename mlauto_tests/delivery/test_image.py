"""Images: content-addressed, built once, checked by their own predictions."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlauto.delivery.image import build_image, verified_artifact
from mlauto.errors import DeliveryError, StoreError
from mlauto.records import Deployment, Image
from mlauto.store import Store
from mlauto_tests.delivery.conftest import NOW, PRODUCT, ROWS, Delivery


def steps(delivery: Delivery, name: str) -> int:
    return sum(call[0] == name for call in delivery.runtime.calls)


def test_an_image_is_built_checked_and_recorded(delivery: Delivery, store: Store) -> None:
    """Both checks pass, both records are written, the version is left running for its test deployment."""
    image = delivery.image("1")

    assert {check.name: check.passed for check in image.checks} == {"golden_predictions": True, "unprivileged": True}
    assert (image.version, image.key) == ("1", "key-1")
    assert store.read_record(PRODUCT, "images/1", Image) == image
    assert store.read_record(PRODUCT, "image", Image) == image
    assert delivery.runtime.running(PRODUCT) == {"1": "ready"}
    assert list((store.home / "tmp").iterdir()) == []


def test_the_same_key_is_not_built_again(delivery: Delivery, store: Store) -> None:
    """The record is the answer; nothing is built, started or asked."""
    first = delivery.image("1")
    delivery.image("2")
    calls = len(delivery.runtime.calls)

    assert delivery.image("1") == first
    assert len(delivery.runtime.calls) == calls
    assert store.read_record(PRODUCT, "image", Image) == first


def test_another_key_is_another_image(delivery: Delivery) -> None:
    """A version number alone does not make an image."""
    delivery.image("1")
    build_image(PRODUCT, delivery.model("1", key="other"), delivery.tree, delivery.runtime, delivery.store)

    assert steps(delivery, "build") == 2


def test_predictions_that_differ_fail_the_check(delivery: Delivery) -> None:
    """The image is recorded as failed, its process is stopped, and it is tried again when asked again."""
    delivery.runtime.wrong.add("1")
    image = delivery.image("1")

    assert [check.passed for check in image.checks] == [False, True]
    assert image.checks[0].summary == "row 0: predicted 2.0, when it was trained 1.0"
    assert delivery.runtime.running(PRODUCT) == {}

    delivery.runtime.wrong.clear()
    assert all(check.passed for check in delivery.image("1").checks)


def test_a_version_in_use_is_never_stopped(delivery: Delivery, store: Store) -> None:
    """Even when a check on it fails: users are served by it."""
    live = Deployment(environment="production", version="1", image="i", since=NOW)
    store.write_record(PRODUCT, "production", live)
    delivery.runtime.wrong.add("1")
    delivery.image("1")

    assert delivery.runtime.running(PRODUCT) == {"1": "ready"}


def test_secrets_keep_an_image_from_starting(delivery: Delivery, tree: Path) -> None:
    """The finding names the file; the image is not started, and both checks fail."""
    (tree / "deploy.pem").write_text("secret")
    (tree / "out").symlink_to("/etc/hostname")
    image = delivery.image("1")

    assert [check.passed for check in image.checks] == [False, False]
    assert "code/deploy.pem looks like a secret" in image.checks[1].summary
    assert "code/out is a link out" in image.checks[1].summary
    assert steps(delivery, "start") == 0

    (tree / "deploy.pem").unlink()
    (tree / "out").unlink()
    assert all(check.passed for check in delivery.image("1").checks)


def test_many_findings_are_summarised(delivery: Delivery, tree: Path) -> None:
    """Five are named, all are counted."""
    for number in range(9):
        (tree / f"{number}.pkl").touch()
    check = delivery.image("1").checks[1]

    assert check.summary.endswith(", and 4 more")
    assert len(check.details["findings"]) == 9


def test_a_tampered_artifact_is_refused(delivery: Delivery, store: Store) -> None:
    """The digest is compared before anything is read or built."""
    model = delivery.model("1")
    (store.tree_path(model.artifact) / "model.skops").write_bytes(b"evil")

    with pytest.raises(StoreError, match="was changed on disk"):
        build_image(PRODUCT, model, delivery.tree, delivery.runtime, store)
    assert delivery.runtime.calls == []


def test_a_missing_artifact_is_named(delivery: Delivery, store: Store) -> None:
    """With the next step."""
    with pytest.raises(StoreError, match=r"is missing.*materialize the model again"):
        verified_artifact(replace(delivery.model("1"), artifact="f" * 64), store)


def test_a_version_that_does_not_start(delivery: Delivery, store: Store) -> None:
    """An error, not a failed check: nothing was measured, and the next attempt may succeed."""
    delivery.runtime.broken["1"] = "out of memory"

    with pytest.raises(DeliveryError, match="out of memory"):
        delivery.image("1")
    assert store.read_record(PRODUCT, "images/1", Image) is None
    assert list((store.home / "tmp").iterdir()) == []

    delivery.runtime.broken.clear()
    assert delivery.image("1").version == "1"


def test_an_image_that_is_gone_is_built_again(delivery: Delivery) -> None:
    """The record alone is not enough: the runtime must hold what it says."""
    image = delivery.image("1")
    delivery.runtime.images.clear()

    assert delivery.image("1") == image
    assert steps(delivery, "build") == 2
    assert delivery.runtime.holds(PRODUCT, image)


def test_all_golden_rows_are_asked_at_once(delivery: Delivery) -> None:
    """One request: rows one by one are the test deployment's part."""
    image = delivery.image("1")

    assert steps(delivery, "predict") == 1
    assert image.checks[0].details == {"rows": len(ROWS)}
