"""Panels and annotations as Grafana's own library builds them, in the way that all of ours look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mlauto.export.provisioning import SOURCE

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, QueryVariable
    from grafana_foundation_sdk.builders.prometheus import Dataquery
    from grafana_foundation_sdk.builders.stat import Panel as Stat
    from grafana_foundation_sdk.builders.timeseries import Panel as Series
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

__all__ = ["CHOSEN", "Query", "annotation", "product_variable", "series", "stat"]

CHOSEN = 'product=~"$product"'  # the products that are chosen at the top
HEIGHT, WIDTH = 8, 12


class Query(NamedTuple):
    """A PromQL expression, and how its series are called."""

    expr: str
    legend: str = "{{product}}"


def series(number: int, title: str, unit: str, told: str, queries: Sequence[Query], *, width: int = WIDTH) -> "Series":
    """Lines over time; `told` says what a person reads from them."""
    from grafana_foundation_sdk.builders import common, timeseries
    from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, SortOrder, TooltipDisplayMode

    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = (
        timeseries.Panel()
        .id(number)
        .title(title)
        .description(told)
        .datasource(_source())
        .unit(unit)
        .height(HEIGHT)
        .span(width)
        .legend(legend.show_legend(show_legend=True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for query in _targets(queries):
        panel = panel.with_target(query)
    return panel


def stat(number: int, title: str, unit: str, told: str, queries: Sequence[Query], *, width: int = WIDTH) -> "Stat":
    """The newest figures, large."""
    from grafana_foundation_sdk.builders import common
    from grafana_foundation_sdk.builders import stat as builder

    panel = (
        builder.Panel()
        .id(number)
        .title(title)
        .description(told)
        .datasource(_source())
        .unit(unit)
        .height(HEIGHT // 2)
        .span(width)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for query in _targets(queries):
        panel = panel.with_target(query)
    return panel


def product_variable() -> "QueryVariable":
    """The choice of products at the top of a dashboard."""
    from grafana_foundation_sdk.builders.dashboard import QueryVariable
    from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

    return (
        QueryVariable("product")
        .label("Product")
        .datasource(_source())
        .query({"query": "label_values(mlauto_version_ready, product)", "refId": "product"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all"))
    )


def annotation(name: str, colour: str, expr: str) -> "AnnotationQuery":
    """Marks on every panel for as long as the expression has a result."""
    from grafana_foundation_sdk.builders.dashboard import AnnotationQuery

    return AnnotationQuery().name(name).datasource(_source()).enable(enable=True).icon_color(colour).expr(expr)


def _source() -> "DataSourceRef":
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    return DataSourceRef(type_val="prometheus", uid=SOURCE)


def _targets(queries: Sequence[Query]) -> "list[Dataquery]":
    from grafana_foundation_sdk.builders.prometheus import Dataquery

    return [
        Dataquery().datasource(_source()).ref_id(letter).expr(query.expr).legend_format(query.legend)
        for letter, query in zip("ABCDEFGH"[: len(queries)], queries, strict=True)
    ]
