"""Who asks for what is left of a delivery: one thing at a time, and nothing where all is done."""

import dagster as dg
import pytest

from mlauto.delivery.decisions import Rejection, reject
from mlauto.orchestration import steps
from mlauto.orchestration.names import REASON_TAG, RENEWS_TAG, TRIGGER_TAG
from mlauto.orchestration.sensors.unfinished import average_anew, finish_delivery
from mlauto.orchestration.sensors.work import Tick
from mlauto_tests.orchestration.conftest import World, made_product
from mlauto_tests.orchestration.sensors.test_live import BAD, TRUTH


def left(world: World) -> tuple[bool, list[list[str]]]:
    """Whether something was asked for, and which assets."""
    tick = Tick(instance=world.instance, cursors={})
    asked = finish_delivery(tick, world.platform, world.product)
    return asked, [[key.path[-1] for key in request.asset_selection or ()] for request in tick.requests]


def test_before_and_after_everything(world: World) -> None:
    """Without a model there is nothing to finish."""
    assert left(world) == (False, [])


def test_a_model_that_is_not_in_production_goes_on(released: World) -> None:
    """Its image, its test and production are asked for; of the one that is there, nothing."""
    done = left(released)
    released.train()

    assert done == (False, [])
    assert left(released) == (True, [["image", "test_deployment", "production"]])


@pytest.fixture
def averaging(released: World) -> World:
    """Version 2 is live, and averages several histories."""
    released.products[0] = made_product(training={"retrain": "economy"})
    steps.train_model(released.platform, released.product, "parameters", print)
    steps.build_model_image(released.platform, released.product)
    steps.deploy_to_test(released.platform, released.product)
    steps.release(released.platform, released.product, "run")
    return released


def anew(world: World) -> list[dg.RunRequest]:
    """What is asked for to average old fits."""
    tick = Tick(instance=world.instance, cursors={})
    assert average_anew(tick, world.platform, world.product) == bool(tick.requests)
    return tick.requests


def test_new_labels_that_train_nothing_average_the_fits_anew(averaging: World) -> None:
    """A model and its delivery are asked for, marked as no training; once it is live there is nothing left to ask."""
    fitted = averaging.model()
    before = anew(averaging)
    averaging.gather()

    [request] = anew(averaging)
    finishing = left(averaging)
    averaging.run(request)
    renewed = averaging.model()

    assert before == []
    assert finishing == (False, [])  # nothing that is due without it
    assert [key.path[-1] for key in request.asset_selection or ()] == [
        "model",
        "image",
        "test_deployment",
        "production",
    ]
    assert request.tags[RENEWS_TAG] == fitted.version == "2"
    assert request.tags[REASON_TAG].endswith("; its fits are averaged anew")
    assert (renewed.line, renewed.version, renewed.trainings) == ("2", "3", fitted.trainings)
    production = averaging.production()
    assert production is not None
    assert production.version == "3"
    assert (left(averaging), anew(averaging)) == ((False, []), [])


def test_a_newer_model_goes_first(averaging: World) -> None:
    """One that waits for its delivery or an approval is not overtaken by old fits; one that was given up is."""
    averaging.gather()
    newer = averaging.train()
    waiting = anew(averaging)
    reject(averaging.product.name, Rejection(version=newer.version, to="2", reason="worse", at=0.0), averaging.store)

    assert waiting == []
    assert len(anew(averaging)) == 1


def test_an_incidents_retraining_goes_first(averaging: World) -> None:
    """Where the live check fails and triage wants a new model, old fits are not averaged anew beside it."""
    nothing = averaging.tick("live").run_requests
    averaging.gather()
    renewing = [request.tags.get(RENEWS_TAG) for request in averaging.tick("live").run_requests or ()]
    averaging.serve(TRUTH, BAD)
    failing = [request.tags.get(TRIGGER_TAG) for request in averaging.tick("live").run_requests or ()]

    assert (nothing, renewing, failing) == ([], ["2"], ["incident"])
