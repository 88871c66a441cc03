"""The whole graph's shape: keys, dependencies, checks, groups, partitions and pools."""

import dagster as dg
import pytest

from mlauto.orchestration.graph import product_definitions, products_in
from mlauto.product import Code, Data, ModelProduct

PRODUCT = ModelProduct(
    name="demand",
    owners=("team:forecasting",),
    code=Code(repository="models/demand", estimator="demand.model:build"),
    data=Data(landing="landing/demand", target="demand", task="regression"),
)

# asset: (group, upstream, checks with ! for blocking, partitions, pool)
SHAPE = {
    "commit": ("integration", [], [], "demand_commits", None),
    "ci_report": ("integration", ["commit"], ["lint!", "tests!"], "demand_commits", None),
    "verified_commit": ("integration", ["ci_report"], [], None, None),
    "batch": ("training", [], ["expectations!"], "demand_batches", "demand"),
    "training_set": ("training", ["batch"], [], None, "demand"),
    "model": ("training", ["training_set", "verified_commit"], ["not_worse_than_champion!", "valid!"], None, "demand"),
    "image": ("delivery", ["model"], ["golden_predictions!", "unprivileged!"], None, "demand"),
    "test_deployment": ("delivery", ["image"], ["contract!", "latency!", "parity!", "replay!"], None, "demand"),
    "production": ("delivery", ["test_deployment"], ["serving_expected_version!"], None, "demand"),
    "live_metrics": (
        "monitoring",
        ["production"],
        ["data_available", "drift", "performance", "service_level"],
        None,
        None,
    ),
    # an addition to the design's table: old segments become Parquet (docs/decisions/prediction-log.md)
    "prediction_log": ("monitoring", ["production"], [], None, None),
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return dg.Definitions.merge(product_definitions(PRODUCT), dg.Definitions(resources={"platform": "bound later"}))


def test_the_graph_of_a_product_is_exactly_the_designed_one(definitions: dg.Definitions) -> None:
    """Keys, groups, dependencies, checks, partitions and pools equal the committed table."""
    graph = definitions.resolve_asset_graph()
    seen = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        checks = sorted(f"{c.name}{'!' if graph.get(c).blocking else ''}" for c in node.check_keys)
        partitions = node.partitions_def
        pools = sorted(node.pools or ()) if not node.is_external else []
        seen[key.path[-1]] = (
            node.group_name,
            sorted(parent.path[-1] for parent in node.parent_keys),
            checks,
            partitions.name if isinstance(partitions, dg.DynamicPartitionsDefinition) else None,
            pools[0] if pools else None,
        )

    assert seen == SHAPE


def test_every_asset_has_its_product_as_key_prefix_and_its_owners(definitions: dg.Definitions) -> None:
    """Two products can share a code location, and the UI says whose asset it is."""
    specs = list(definitions.resolve_all_asset_specs())

    assert {spec.key.path[0] for spec in specs} == {"demand"}
    assert all(list(spec.owners) == ["team:forecasting"] for spec in specs)


def test_two_products_live_side_by_side() -> None:
    """The factory's definitions merge, and the products can be read back from them."""
    other = PRODUCT.model_copy(update={"name": "churn"})

    merged = dg.Definitions.merge(product_definitions(PRODUCT), product_definitions(other))

    assert products_in(merged) == (other, PRODUCT)
