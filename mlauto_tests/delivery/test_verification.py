"""The test deployment: contract, parity, latency, and what becomes of a version that fails."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto.delivery.image import build_image
from mlauto.delivery.progress import Plan
from mlauto.delivery.replay import LoggedRequest
from mlauto.delivery.rollback import roll_back
from mlauto.delivery.rollout import roll_out
from mlauto.delivery.stages import Way
from mlauto.delivery.verification import verify
from mlauto.errors import DeliveryError, StoreError
from mlauto.records import CheckOutcome, Deployment, Signature, TrainedModel
from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.delivery.conftest import NOW, PRODUCT, SIGNATURE, Delivery, make_model
from mlauto_tests.serving.conftest import COLUMNS, ROW, bundles, free_port

__all__ = ["bundles"]


def outcome(deployment: Deployment, name: str) -> CheckOutcome:
    return next(check for check in deployment.checks if check.name == name)


def test_a_good_version_passes_and_keeps_running(delivery: Delivery, store: Store) -> None:
    """Its process is the one that production will switch to."""
    deployment = delivery.test("1")

    assert [check.name for check in deployment.checks] == ["contract", "parity", "latency"]
    assert all(check.passed for check in deployment.checks)
    assert (deployment.environment, deployment.version, deployment.since) == ("test", "1", NOW)
    assert store.read_record(PRODUCT, "test_deployment", Deployment) == deployment
    assert delivery.runtime.running(PRODUCT) == {"1": "ready"}
    assert delivery.runtime.live(PRODUCT) is None


def test_the_server_is_started_once_overall(delivery: Delivery) -> None:
    """Building left it running, so that the idempotent start costs nothing."""
    image = delivery.image("1")
    before = delivery.runtime.running(PRODUCT)
    delivery.test("1", image)

    assert before == delivery.runtime.running(PRODUCT) == {"1": "ready"}


@pytest.mark.parametrize(
    ("fault", "sentence"), [("lenient", "was answered 0.0"), ("vague", "refused without naming the column")]
)
def test_the_contract(delivery: Delivery, fault: str, sentence: str) -> None:
    """Values that do not fit must be refused, by a sentence that names the column."""
    image = delivery.image("1")
    setattr(delivery.runtime, fault, True)
    deployment = delivery.test("1", image)

    assert not outcome(deployment, "contract").passed
    assert sentence in outcome(deployment, "contract").summary
    assert len(outcome(deployment, "contract").details["problems"]) == 5
    assert delivery.runtime.running(PRODUCT) == {}


def test_the_contract_tries_values_outside_every_limit(delivery: Delivery) -> None:
    """Just below and just above, and a category that there is not; a server that takes them fails by column."""
    image = delivery.image("1")
    signature = dataclasses.replace(
        SIGNATURE,
        limits={"temp": (-10.0, 40.0), "hour": (-(2.0**63), 23.5)},
        categories={"sky": ("clear", "never seen")},
    )
    model = dataclasses.replace(delivery.model("1"), signature=signature)
    careless = verify(PRODUCT, image, model, delivery.runtime, delivery.store, latency_ms=100, now=NOW)
    delivery.runtime.limits = signature
    careful = verify(PRODUCT, delivery.image("1"), model, delivery.runtime, delivery.store, latency_ms=100, now=NOW)
    problems = outcome(careless, "contract").details["problems"]

    assert [problem.partition("=")[0] for problem in problems] == ["temp", "temp", "hour", "sky"]
    assert [problem.partition(" does")[0] for problem in problems[1:]] == [
        "temp=40.00000000000001",
        "hour=24",
        "sky='clearnever seen and none of them'",
    ]
    assert outcome(careful, "contract").passed
    assert outcome(careful, "contract").summary.startswith("9 bad requests were refused by name")


def test_numbered_categories_are_tried_by_the_contract(delivery: Delivery) -> None:
    """One more than the largest."""
    signature = dataclasses.replace(SIGNATURE, categories={"hour": (1, 8, 3)})
    model = dataclasses.replace(delivery.model("1"), signature=signature)
    tried = verify(PRODUCT, delivery.image("1"), model, delivery.runtime, delivery.store, latency_ms=100, now=NOW)

    assert outcome(tried, "contract").details["problems"][0].startswith("hour=9 does not fit")


def test_a_contract_with_another_signature(delivery: Delivery) -> None:
    """A server that does not know a column of the model refuses even good rows."""
    image = delivery.image("1")
    model = delivery.model("1")
    columns = {**model.signature.columns, "wind": "number"}
    other = dataclasses.replace(model, signature=dataclasses.replace(model.signature, columns=columns))
    deployment = verify(PRODUCT, image, other, delivery.runtime, delivery.store, latency_ms=100, now=NOW)

    assert "a good row was refused: column 'wind'" in outcome(deployment, "contract").summary


def test_parity(delivery: Delivery) -> None:
    """A row that is answered otherwise than when it was trained fails the check."""
    image = delivery.image("1")
    delivery.runtime.wrong.add("1")
    deployment = delivery.test("1", image)

    assert not outcome(deployment, "parity").passed
    assert outcome(deployment, "parity").summary == "row 0: predicted 2.0, when it was trained 1.0"
    assert outcome(deployment, "contract").passed
    assert delivery.runtime.running(PRODUCT) == {}


@pytest.mark.parametrize(("slow", "passed", "requests"), [([], True, 50), ([0.5], True, 100), ([0.5, 0.5], False, 100)])
def test_latency(delivery: Delivery, slow: list[float], passed: bool, requests: int) -> None:
    """Measured over one-row requests; a single hiccup is looked at again and decides nothing."""
    image = delivery.image("1")
    # the first requests belong to the contract: five bad ones, which take no time, and a good one
    delivery.runtime.slow = [*slow, 0.001]
    deployment = delivery.test("1", image, latency_ms=50.0)

    assert outcome(deployment, "latency").passed is passed
    assert outcome(deployment, "latency").details["requests"] == requests


def test_requests_of_users_are_asked_again(delivery: Delivery) -> None:
    """One that the candidate refuses fails the deployment, which is stopped; without requests there is no check."""
    image = delivery.image("1")
    good, bad = (LoggedRequest([{"temp": temp}], [1.0], "0") for temp in (2.0, "warm"))
    model = delivery.model("1")
    passed, failed = (
        verify(PRODUCT, image, model, delivery.runtime, delivery.store, latency_ms=100, now=NOW, requests=asked)
        for asked in ([good], [good, bad])
    )

    assert outcome(passed, "replay").passed
    assert not outcome(failed, "replay").passed
    assert outcome(failed, "replay").details["failed"] == 1
    assert delivery.runtime.running(PRODUCT) == {}


def test_candidates_that_are_superseded_are_stopped(delivery: Delivery) -> None:
    """What serves users, and its fallback, go on; an older candidate does not."""
    delivery.release("1")
    delivery.release("2")
    delivery.test("3")
    delivery.test("4")

    assert set(delivery.runtime.running(PRODUCT)) == {"1", "2", "4"}


def test_what_serves_users_is_not_stopped(delivery: Delivery) -> None:
    """Verifying the live version again, with a bad result, reports it and lets it run."""
    delivery.release("1")
    delivery.runtime.wrong.add("1")
    deployment = delivery.test("1", delivery.image("1"))

    assert not outcome(deployment, "parity").passed
    assert delivery.runtime.running(PRODUCT) == {"1": "ready"}
    assert delivery.runtime.live(PRODUCT) == "1"


def test_an_image_that_failed_is_not_deployed(delivery: Delivery) -> None:
    """The sentence says which check it failed, and why."""
    delivery.runtime.wrong.add("1")
    image = delivery.image("1")

    with pytest.raises(DeliveryError, match="golden_predictions: row 0"):
        delivery.test("1", image)


def test_an_image_of_another_model(delivery: Delivery) -> None:
    """Version and key must be the model's."""
    with pytest.raises(DeliveryError, match="the image is of version 1, the model of 2: materialize the image"):
        delivery.test("2", delivery.image("1"))


def test_a_version_that_does_not_start(delivery: Delivery, store: Store) -> None:
    """An error, and no record of a deployment that never was."""
    image = delivery.image("1")
    delivery.runtime.broken["1"] = "no memory"

    with pytest.raises(DeliveryError, match="no memory"):
        delivery.test("1", image)
    assert store.read_record(PRODUCT, "test_deployment", Deployment) is None


def test_a_tampered_artifact(delivery: Delivery, store: Store) -> None:
    """Golden rows are read from the artifact that training wrote, or not at all."""
    image = delivery.image("1")
    (store.tree_path(delivery.model("1").artifact) / "golden.json").write_text("{}")

    with pytest.raises(StoreError, match="changed on disk"):
        verify(PRODUCT, image, delivery.model("1"), delivery.runtime, store, latency_ms=100, now=NOW)


@pytest.fixture
def local(settings: Settings) -> Iterator[LocalRuntime]:
    """Real processes behind a gateway on a free port; ended after the test."""
    runtime = LocalRuntime(dataclasses.replace(settings, gateway_port=free_port()))
    yield runtime
    runtime.shut_down()


def real_model(store: Store, folder: Path, version: str) -> TrainedModel:
    """A model whose artifact is a fitted pipeline with true golden answers."""
    import pandas as pd

    from mlauto.serving.trust import load_model

    rows = [ROW, dict.fromkeys(COLUMNS), {**ROW, "sky": "never seen"}]
    fitted = load_model(folder / "model.skops", ())
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"temp": float, "hour": float, "holiday": float})
    golden = {"rows": rows, "predictions": fitted.predict(frame).tolist(), "probabilities": None}
    model = make_model(
        store, version, golden=golden, trusted=[], signature=Signature(columns=COLUMNS, task="regression")
    )
    content = store.scratch("real")
    for file in store.tree_path(model.artifact).iterdir():
        (content / file.name).write_bytes(file.read_bytes())
    (content / "model.skops").write_bytes((folder / "model.skops").read_bytes())
    return dataclasses.replace(model, artifact=store.put_tree(content))


def test_real_processes_from_image_to_rollback(
    local: LocalRuntime, store: Store, tree: Path, bundles: dict[str, Path]
) -> None:
    """Two real models are built, verified, rolled out and rolled back; the public port says who answers."""
    promoted: list[str] = []

    first, second = (_deploy(version, local, store, tree, bundles, promoted) for version in ("1", "2"))

    assert (first.version, first.fallback) == ("1", None)
    assert (second.version, second.fallback) == ("2", "1")
    assert local.live("bikes") == "2"

    back = roll_back("bikes", local, store, promoted.append, reason="too many errors", now=NOW + 9)

    assert back.version == "1"
    assert local.live("bikes") == "1"
    assert local.running("bikes") == {"1": "ready"}
    assert promoted == ["1", "2", "1"]


def _deploy(
    version: str, local: LocalRuntime, store: Store, tree: Path, bundles: dict[str, Path], promoted: list[str]
) -> Deployment:
    model = real_model(store, bundles[f"bikes-{version}"], version)
    image = build_image("bikes", model, tree, local, store)
    assert all(check.passed for check in image.checks), image.checks
    test = verify("bikes", image, model, local, store, latency_ms=2000.0, now=NOW)
    assert all(check.passed for check in test.checks), test.checks
    assert math.isfinite(outcome(test, "latency").details["p99_ms"])
    assert json.loads((Path(image.reference) / "manifest.json").read_text())["version"] == version
    return roll_out(
        "bikes", image, test, local, store, promoted.append, mode="auto", way=Way(plan=Plan(bake=60.0)), now=NOW
    )
