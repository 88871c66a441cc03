"""Which model is live, from the records."""

from mlauto.orchestration.live_model import live_model
from mlauto_tests.orchestration.conftest import World


def test_it_is_the_one_in_production(released: World) -> None:
    """Not a newer one that has not come so far."""
    before = released.model()
    released.train()

    assert live_model(released.store, released.product) == before
    assert released.model().version != before.version


def test_before_a_release_there_is_none(world: World) -> None:
    """Nobody answers yet."""
    assert live_model(world.store, world.product) is None
