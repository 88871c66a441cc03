"""Who asks for what is left of a delivery: one thing at a time, and nothing where all is done."""

from mlauto.orchestration import steps
from mlauto.orchestration.names import REASON_TAG, RENEWS_TAG
from mlauto.orchestration.sensors.unfinished import finish_delivery
from mlauto.orchestration.sensors.work import Tick
from mlauto_tests.orchestration.conftest import World, made_product


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


def test_new_labels_that_train_nothing_average_the_fits_anew(released: World) -> None:
    """A model and its delivery are asked for, marked as no training; once it is live there is nothing left to ask."""
    released.products[0] = made_product(training={"retrain": "economy"})
    steps.train_model(released.platform, released.product, "parameters", print)
    fitted = released.model()
    steps.build_model_image(released.platform, released.product)
    steps.deploy_to_test(released.platform, released.product)
    steps.release(released.platform, released.product, "run")
    done = left(released)
    released.gather()

    tick = Tick(instance=released.instance, cursors={})
    assert finish_delivery(tick, released.platform, released.product)
    [request] = tick.requests
    released.run(request)
    renewed = released.model()

    assert done == (False, [])
    assert [key.path[-1] for key in request.asset_selection or ()] == [
        "model",
        "image",
        "test_deployment",
        "production",
    ]
    assert request.tags[RENEWS_TAG] == fitted.version
    assert request.tags[REASON_TAG].endswith("; its fits are averaged anew")
    assert (renewed.line, renewed.version, renewed.trainings) == (fitted.version, "3", fitted.trainings)
    production = released.production()
    assert production is not None
    assert production.version == "3"
    assert left(released) == (False, [])
