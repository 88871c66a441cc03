"""Charts of throughput and latency from what `benchmarks/serving.py --json` wrote.

python benchmarks/serving_charts.py SERVING.json docs/serving.svg
"""

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

# told apart by people who see few colours, and by their markers
STYLES = {
    "alone": ("our model server", "#0072B2", "o"),
    "gateway": ("through our gateway, logged", "#009E73", "s"),
    "fallback": ("ours with scikit-learn", "#56B4E9", "^"),
    "fastapi": ("FastAPI + pandas + scikit-learn", "#E69F00", "D"),
    "mlflow": ("mlflow models serve", "#D55E00", "v"),
}


def main(source: Path, target: Path, kind: str = "boosted") -> None:
    """Three panels: rate by connections, 99th percentile by connections, rows per second by rows."""
    servers = json.loads(source.read_text())["servers"]
    matplotlib.rcParams.update({"svg.hashsalt": "mlauto", "svg.fonttype": "none", "font.size": 9})
    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for name, (label, colour, marker) in STYLES.items():
        points = {tuple(map(int, key.split("x"))): some for key, some in servers[f"{kind} {name}"]["load"].items()}
        one = sorted(connections for rows, connections in points if rows == 1)
        sizes = sorted(rows for rows, connections in points if connections == 16 or rows == 1000)
        rate = {key: statistics.median(found["rate"] for found in some) for key, some in points.items()}
        p99 = {key: statistics.median(found["p99"] for found in some) for key, some in points.items()}
        style = {"label": label, "color": colour, "marker": marker, "linewidth": 1.5, "markersize": 5}
        panels[0].plot(one, [rate[1, connections] for connections in one], **style)
        panels[1].plot(one, [p99[1, connections] for connections in one], **style)
        panels[2].plot(sizes, [rows * rate[rows, 4 if rows == 1000 else 16] for rows in sizes], **style)
    titles = ("requests/s, 1 row", "p99 ms, 1 row", "rows/s")
    for panel, title, axis in zip(panels, titles, ("connections", "connections", "rows in a request"), strict=True):
        panel.set(title=title, xlabel=axis, xscale="log", yscale="log")
        panel.grid(visible=True, which="major", alpha=0.3)
        ticks = [1, 32, 1000] if axis.startswith("rows") else [1, 4, 16, 64]
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8
    )
    figure.savefig(target, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
