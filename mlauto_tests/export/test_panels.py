"""Panels as Grafana's own library builds them."""

import json
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from mlauto.export.panels import Query, annotation, product_variable, series, stat
from mlauto.export.provisioning import SOURCE


def as_json(built: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(JSONEncoder().encode(built))
    return found


def test_lines_have_title_unit_and_a_letter_for_each_query() -> None:
    """In the order given, all of the one data source."""
    panel = as_json(series(3, "Requests", "reqps", "All.", [Query("a", "A {{x}}"), Query("b")]).build())

    assert (panel["id"], panel["title"], panel["description"], panel["type"]) == (3, "Requests", "All.", "timeseries")
    assert panel["fieldConfig"]["defaults"]["unit"] == "reqps"
    assert [(one["refId"], one["expr"]) for one in panel["targets"]] == [("A", "a"), ("B", "b")]
    assert [one["legendFormat"] for one in panel["targets"]] == ["A {{x}}", "{{product}}"]
    assert {one["datasource"]["uid"] for one in (panel, *panel["targets"])} == {SOURCE}
    assert panel["gridPos"]["w"] == 12


def test_a_figure_shows_the_newest_value() -> None:
    """Half as high as lines are."""
    panel = as_json(stat(4, "Verdict", "none", "Now.", [Query("a")], width=8).build())

    assert panel["type"] == "stat"
    assert panel["options"]["reduceOptions"]["calcs"] == ["lastNotNull"]
    assert (panel["gridPos"]["w"], panel["gridPos"]["h"]) == (8, 4)


def test_the_variable_offers_the_products_that_are_served() -> None:
    """All of them at first, several if wanted."""
    found = as_json(product_variable().build())

    assert found["name"] == "product"
    assert found["query"] == {"query": "label_values(mlauto_version_ready, product)", "refId": "product"}
    assert (found["multi"], found["includeAll"], found["allValue"]) == (True, True, ".*")
    assert found["current"]["value"] == "$__all"


def test_an_annotation_is_a_query() -> None:
    """Shown from the start."""
    found = as_json(annotation("incident", "red", "x == 1").build())

    assert (found["name"], found["iconColor"], found["expr"], found["enable"]) == ("incident", "red", "x == 1", True)
    assert found["datasource"] == {"type": "prometheus", "uid": SOURCE}
