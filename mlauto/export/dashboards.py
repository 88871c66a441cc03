"""The dashboards as the JSON that Grafana provisions, built with its library for the version in `ops`."""

from typing import TYPE_CHECKING

from mlauto.export.board_live import LIVE
from mlauto.export.board_models import MODELS
from mlauto.export.panels import CHOSEN, annotation, product_variable, series, stat
from mlauto.export.shown import Board, Shown, of

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

__all__ = ["BOARDS", "MARKS", "dashboard", "dashboards"]

BOARDS = {"mlauto": LIVE, "mlauto-models": MODELS}
MARKS = {  # name -> colour, and when it is there
    "incident open": ("red", f"{of('mlauto_incident_open')} == 1"),
    "new champion": ("blue", f"mlauto_version_champion{{{CHOSEN}}} == 1 unless mlauto_version_champion offset 1m == 1"),
    "rolled back": ("orange", f"increase({of('mlauto_rollbacks_total')}[1m]) > 0"),
}


def dashboards() -> dict[str, str]:
    """File name without `.json` -> the dashboard's text."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return {
        name: JSONEncoder(sort_keys=True, indent=2).encode(dashboard(board)) + "\n" for name, board in BOARDS.items()
    }


def dashboard(board: Board) -> "Dashboard":
    """One board, built."""
    from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

    made = (
        Dashboard(board.title)
        .uid(board.uid)
        .tags(["mlauto"])
        .readonly()
        .refresh("15s")
        .time("now-1h", "now")
        .timezone("browser")
        .version(1)
        .with_variable(product_variable())
    )
    for name, (colour, expr) in MARKS.items():
        made = made.annotation(annotation(name, colour, expr))
    number = 0
    for heading, panels in board.rows.items():
        number += 1
        made = made.with_row(Row(heading).id(number))
        for shown in panels:
            number += 1
            made = made.with_panel(_panel(number, shown))
    return made.build()


def _panel(number: int, shown: Shown) -> "Builder[Panel]":
    build = stat if shown.kind == "stat" else series
    return build(number, shown.title, shown.unit, shown.told, shown.queries, width=shown.width)
