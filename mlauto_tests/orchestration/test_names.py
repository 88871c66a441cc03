"""What things are called: people see these names in the UI, runs carry them as tags, and history is found by them."""

import dagster as dg
import pytest

from mlauto.orchestration import names
from mlauto_tests.orchestration.conftest import made_product

PRODUCT = made_product("tides")


def test_assets_and_partitions_begin_with_the_product() -> None:
    """Two products can share a code location."""
    assert names.asset_key(PRODUCT, "model") == dg.AssetKey(["tides", "model"])
    assert names.commit_partitions(PRODUCT).name == "tides_commits"
    assert names.batch_partitions(PRODUCT).name == "tides_batches"


@pytest.mark.parametrize(
    ("first", "wanted"),
    [("model", ["model", "image", "test_deployment", "production"]), ("production", ["production"])],
)
def test_a_delivery_is_the_way_to_production(first: str, wanted: list[str]) -> None:
    """From any of its steps on, in order."""
    assert names.delivery_keys(PRODUCT, first) == [dg.AssetKey(["tides", name]) for name in wanted]


def test_tags_are_ours_and_distinct() -> None:
    """Dagster reserves its own prefix; no two tags mean the same."""
    tags = [getattr(names, name) for name in names.__all__ if name.endswith("_TAG")]

    assert len(set(tags)) == len(tags) == 10
    assert all(tag.startswith("mlauto/") for tag in tags)
