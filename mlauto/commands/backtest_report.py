"""What a backtest showed: a table on the terminal, a Pareto picture, and JSON with every decision and its reason."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from mlauto.commands.history import Plan
from mlauto.store import atomic_write
from mlauto.training.backtest.walk import Outcome
from mlauto.training.weighting import History

__all__ = ["Report", "Row", "draw_pareto", "front", "print_report", "publish", "wide_console", "write_report"]

WIDTH = 120  # a pipe has none, and is taken for 80
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy, or one history retrained every batch. `gap` is to the best history: points, or for mae a share."""

    name: str
    outcome: Outcome
    gap: float

    @classmethod
    def of(cls, name: str, outcome: Outcome, floor: float, metric: str) -> "Row":
        """The row of an outcome, given the loss of the best history."""
        gap = outcome.loss - floor
        return cls(name=name, outcome=outcome, gap=gap if metric == "error_rate" or not floor else gap / floor)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A backtest's settings and rows; `best` names the best of `histories`, known in hindsight only.

    `own` names the policy of the product whose batches these are. Losses are in the metric's own unit: roots for rmse.
    """

    file: str
    model: str
    metric: str
    batches: int
    initial: int
    delay: int
    best: str
    policies: tuple[Row, ...]
    histories: tuple[Row, ...]
    own: str = ""

    @classmethod
    def of(
        cls,
        played: Mapping[str, Outcome],
        fixed: Mapping[History, Outcome],
        plan: Plan,
        *,
        file: str,
        model: str,
        own: str = "",
    ) -> "Report":
        """The report on policies by name, and on the histories that they are measured by."""
        policies = {name: _in_units(outcome, plan.metric) for name, outcome in played.items()}
        histories = {str(history): _in_units(outcome, plan.metric) for history, outcome in fixed.items()}
        best = min(histories, key=lambda name: histories[name].loss)
        floor = histories[best].loss
        return cls(
            file=file,
            model=model,
            metric=plan.metric,
            batches=plan.batches,
            initial=plan.initial,
            delay=plan.delay,
            best=best,
            policies=tuple(Row.of(name, outcome, floor, plan.metric) for name, outcome in policies.items()),
            histories=tuple(Row.of(name, outcome, floor, plan.metric) for name, outcome in histories.items()),
            own=own,
        )

    @property
    def hindsight(self) -> Row:
        """The row of the best history."""
        return next(row for row in self.histories if row.name == self.best)


def _in_units(outcome: Outcome, metric: str) -> Outcome:
    """Mean squared errors as their roots where that is the metric."""
    if metric != "rmse":
        return outcome
    steps = tuple(replace(step, loss=math.sqrt(step.loss)) for step in outcome.steps)
    return replace(outcome, loss=math.sqrt(outcome.loss), steps=steps)


def wide_console() -> Console:
    """The terminal as it is; where there is none, a width at which the table is not wrapped."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, WIDTH))


def print_report(console: Console, report: Report) -> None:
    """Print a row for each policy, best first, and one for the best history."""
    title = f"{report.file}, {report.model}: batches {report.initial + 1} to {report.batches}, labels"
    title += " at once" if report.delay == 0 else f" {report.delay} batches late"
    rate = report.metric == "error_rate"
    heads = ("error rate" if rate else report.metric, "gap, pp" if rate else "gap, %", "trainings", "renewed", "CPU s")
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("policy", no_wrap=True)
    for head in (*heads, "degraded", "regretted", "rolled back", "blocked"):
        table.add_column(head, justify="right")
    for row in sorted(report.policies, key=lambda row: row.outcome.loss):
        found = row.outcome
        counts = (found.degraded, f"{found.regretted} of {found.promotions}", found.rollbacks, found.blocked)
        name = f"{row.name} (the product's)" if row.name == report.own else row.name
        table.add_row(name, *_figures(row, rate), *map(str, counts))
    table.add_row(f"hindsight: {report.best}", *_figures(report.hindsight, rate), style="dim")
    console.print(table)


def _figures(row: Row, rate: bool) -> tuple[str, ...]:
    found = row.outcome
    loss = f"{found.loss:.2%}" if rate else f"{found.loss:.4g}"
    return loss, f"{100 * row.gap:+.2f}", str(found.trainings), str(found.renewals), f"{found.seconds:.1f}"


def publish(report: Report, json_path: Path | None, chart: Path | None, console: Console) -> None:
    """Write and draw it where that was asked for, and print it."""
    if json_path is not None:
        write_report(json_path, report)
    if chart is not None:
        draw_pareto(chart, report)
    print_report(console, report)


def write_report(path: Path, report: Report) -> None:
    """Write everything as JSON. All but the CPU seconds is the same in every run."""
    atomic_write(path, msgspec.json.format(msgspec.json.encode(asdict(report))))


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other beats in both trainings and loss, by trainings."""
    best, kept = float("inf"), []
    for row in sorted(rows, key=lambda row: (row.outcome.trainings, row.outcome.loss)):
        if row.outcome.loss < best:
            kept.append(row)
            best = row.outcome.loss
    return kept


def draw_pareto(path: Path, report: Report) -> None:
    """Draw loss against trainings as an SVG: policies by name, histories in grey, and the policies' Pareto front."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots()
    edge = front(report.policies)
    axes.plot([r.outcome.trainings for r in edge], [r.outcome.loss for r in edge], color="#888888", linewidth=1)
    axes.plot(
        [row.outcome.trainings for row in report.histories],
        [row.outcome.loss for row in report.histories],
        linestyle="",
        marker="x",
        color="#999999",
        label="fixed histories, every batch",
    )
    for number, row in enumerate(report.policies):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot([row.outcome.trainings], [row.outcome.loss], linestyle="", marker="o", color=colour, label=row.name)
    axes.axhline(report.hindsight.outcome.loss, color="#999999", linestyle=":", linewidth=1)
    axes.set(
        title=f"{report.file}, {report.model}, delay {report.delay}; dotted: {report.best}",
        xlabel="trainings",
        ylabel=report.metric.replace("_", " "),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "mlauto", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    atomic_write(path, buffer.getvalue())
