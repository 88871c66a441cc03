"""What a replay showed, as a table on the terminal and as one HTML file with a plot in it."""

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mlauto.store import atomic_write

__all__ = ["BatchResult", "ReplayResult", "print_result", "progress", "write_report"]

STYLE = "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto}td,th{padding:.2rem .8rem;text-align:right}"


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """One predicted batch: its loss (mean absolute error, or error rate), and the version that answered its end."""

    number: int
    rows: int
    loss: float
    version: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay showed. `prequential` is the mean loss over all rows that were predicted.

    `trainings` leaves out the first model, as a backtest's does.
    """

    file: str
    metric: str
    prequential: float
    trainings: int
    renewals: int
    rollouts: int
    requests: int
    failed_requests: int
    quarantined: int
    seconds: float
    batches: tuple[BatchResult, ...]


def progress(console: Console) -> Progress:
    """A bar that says what is done, how much of it, and for how long."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def print_result(console: Console, result: ReplayResult, report: Path) -> None:
    """Print the figures and where the report is."""
    table = Table(show_header=False, box=None)
    for name, value in _figures(result):
        table.add_row(name, value)
    console.print(table)
    console.print(f"report: {report}")


def write_report(path: Path, result: ReplayResult) -> None:
    """Write the figures, a plot of the loss of each batch with the rollouts, and a table of all batches."""
    figures = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in _figures(result))
    rows = "".join(
        f"<tr><td>{b.number}</td><td>{b.rows}</td><td>{b.loss:.4g}</td><td>{html.escape(b.version)}</td></tr>"
        for b in result.batches
    )
    plot = base64.b64encode(_plot(result)).decode()
    title = html.escape(f"Replay of {result.file}")
    page = (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        f"<table>{figures}</table><img alt='loss of each batch' src='data:image/png;base64,{plot}' style='width:100%'>"
        f"<table><tr><th>batch</th><th>rows</th><th>{html.escape(result.metric)}</th><th>version</th></tr>{rows}</table>"
    )
    atomic_write(path, page.encode())


def _figures(result: ReplayResult) -> list[tuple[str, str]]:
    first, last = result.batches[0].number, result.batches[-1].number
    return [
        ("prequential " + result.metric.replace("_", " "), f"{result.prequential:.4g} (batches {first} to {last})"),
        ("trainings after the first model", str(result.trainings)),
        ("averaged anew, without a training", str(result.renewals)),
        ("rollouts", str(result.rollouts)),
        ("requests", str(result.requests)),
        ("failed requests", str(result.failed_requests)),
        ("quarantined batches", str(result.quarantined)),
        ("seconds", f"{result.seconds:.0f}"),
    ]


def _plot(result: ReplayResult) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    numbers = [batch.number for batch in result.batches]
    axes.plot(numbers, [batch.loss for batch in result.batches], marker=".", color="#1f5fa8")
    for before, after in zip(result.batches, result.batches[1:], strict=False):
        if before.version != after.version:
            axes.axvline(after.number - 0.5, color="#d9822b", linestyle="--", linewidth=1)
    axes.axhline(result.prequential, color="#888888", linewidth=1)
    axes.set_xlabel("batch (dashed: another version answers from here on)")
    axes.set_ylabel(result.metric.replace("_", " "))
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
