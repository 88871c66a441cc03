"""Charts of throughput and latency: what `benchmarks/serving.py --charts SVG` draws of what it measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from serving_report import Found, Outcome

# told apart by people who see few colours, and by their markers; ours have thick lines
STYLES: dict[str, tuple[str, str, str]] = {
    "alone": ("our model server", "#0072B2", "o"),
    "gateway": ("through our gateway, logged", "#009E73", "s"),
    "fallback": ("ours with scikit-learn", "#56B4E9", "^"),
    "litserve": ("LitServe", "#CC79A7", "P"),
    "mlserver": ("MLServer", "#7A5195", "X"),
    "bentoml": ("BentoML", "#8C6D31", "d"),
    "fastapi": ("FastAPI + pandas", "#E69F00", "D"),
    "ray": ("Ray Serve", "#999999", "*"),
    "mlflow": ("mlflow models serve", "#D55E00", "v"),
    "echo": ("uvicorn's echo", "#000000", ""),
}
OURS = ("alone", "gateway")


def draw(outcomes: dict[str, Outcome], target: Path) -> None:
    """Three panels of the first kind's servers: rate and 99th percentile by connections, rows per second by rows."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    found = next(iter(outcomes.values())).found
    matplotlib.rcParams.update({"svg.hashsalt": "mlauto", "svg.fonttype": "none", "font.size": 9})
    figure, panels = pyplot.subplots(1, 3, figsize=(11, 4.2), layout="constrained", facecolor="white")
    for name in STYLES:
        if name in found:
            lines(panels, name, found[name])
    titles = ("requests/s, 1 row", "p99 ms, 1 row", "rows/s")
    for panel, title, axis in zip(
        panels,
        titles,
        ("connections", "connections", "rows (16 connections; 4 at 1000 rows)"),
        strict=True,
    ):
        panel.set(title=title, xlabel=axis, xscale="log", yscale="log")
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        ticks = [1, 32, 1000] if axis.startswith("rows") else [1, 4, 16, 64]
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        panel.minorticks_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})


def lines(panels: Any, name: str, one: Found) -> None:
    """A server's line in each panel."""
    label, colour, marker = STYLES[name]
    style: dict[str, Any] = {"label": label, "color": colour, "marker": marker, "markersize": 5}
    style |= {"linewidth": 2.2, "zorder": 3} if name in OURS else {"linewidth": 1.2}
    if name == "echo":
        style |= {"linestyle": ":", "linewidth": 1.0}
    connections = sorted(c for rows, c in one.load if rows == 1)
    sizes = sorted((rows, c) for rows, c in one.load if (rows, c) in {(1, 16), (32, 16), (1000, 4)})
    measures: tuple[Callable[[int, int], float], ...] = (one.rate, one.p99)
    for panel, measure in zip(panels, measures, strict=False):
        panel.plot(connections, [measure(1, c) for c in connections], **style)
    panels[2].plot([rows for rows, _ in sizes], [rows * one.rate(rows, c) for rows, c in sizes], **style)
