"""The pieces of work that the live sensor asks for: their names, steps and tags."""

from mlauto.orchestration.live import Retrainings
from mlauto.orchestration.names import DELIVERS_TAG, INCIDENT_TAG, REASON_TAG, ROLLBACK_TAG, ROLLBACK_TO_TAG
from mlauto.orchestration.sensors.requests import delivery, retraining, rollback
from mlauto.records import Deployment
from mlauto_tests.orchestration.conftest import made_product

PRODUCT = made_product()
LIVE = Deployment(environment="production", version="7", image="d", since=1.0)


def test_retrainings_are_counted() -> None:
    """One whose run was lost keeps its name; the reason fits into a tag."""
    first = retraining(PRODUCT, "tides/1.0", Retrainings(attempts=1), "c" * 500)
    lost = retraining(PRODUCT, "tides/1.0", Retrainings(attempts=1, lost="tides/1.0/retraining/001"), "c")

    assert first.name == "tides/1.0/retraining/002"
    assert [key.path[-1] for key in first.selection] == ["model", "image", "test_deployment", "production"]
    assert first.tags[INCIDENT_TAG] == "tides/1.0"
    assert len(first.tags[REASON_TAG]) == 250
    assert lost.name == "tides/1.0/retraining/001"


def test_a_rollback_names_its_target_where_there_is_one() -> None:
    """Production alone, by the version that is left."""
    work = rollback(PRODUCT, LIVE, "slow", "5")

    assert (work.name, [key.path[-1] for key in work.selection]) == ("tides/rollback/7", ["production"])
    assert (work.tags[ROLLBACK_TAG], work.tags[ROLLBACK_TO_TAG]) == ("slow", "5")
    assert ROLLBACK_TO_TAG not in rollback(PRODUCT, LIVE, "slow", None).tags


def test_what_is_left_of_a_delivery() -> None:
    """Just the steps given, as a delivery of the product."""
    work = delivery(PRODUCT, "tides/deliver/7", "finish", ("image", "production"))

    assert [key.path[-1] for key in work.selection] == ["image", "production"]
    assert (work.name, work.tags[DELIVERS_TAG], work.tags[REASON_TAG]) == ("tides/deliver/7", "tides", "finish")
