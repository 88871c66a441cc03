"""Who asks for what is left of a delivery: one thing at a time, and nothing where all is done."""

from mlauto.orchestration.sensors.unfinished import finish_delivery
from mlauto.orchestration.sensors.work import Tick
from mlauto_tests.orchestration.conftest import World


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
