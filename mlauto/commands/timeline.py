"""A timeline that a person enjoys reading, and the same as JSON: numbered steps, what was observed in each, a summary.

On a terminal a step shows a spinner (or a bar) while it waits; elsewhere, one plain line when it begins and its facts
when it ends. What is shown is only ever what the caller observed and noted.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mlauto.store import atomic_write

__all__ = ["Step", "StepInProgress", "Timeline"]

MARKS = {"done": "[green]✔[/]", "failed": "[red]✘[/]"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as it ended: `status` is `done` or `failed`; `observed` maps what was looked at to what was seen."""

    number: int
    title: str
    status: str
    seconds: float
    observed: dict[str, Any] = field(default_factory=dict)


class StepInProgress:
    """What a running step is told: what it waits for now, how far it is, what was observed."""

    def __init__(self, title: str, show: Callable[[str, float | None, float | None], None]) -> None:
        self.observed: dict[str, Any] = {}
        self._title = title
        self._show = show

    def waiting(self, what: str) -> None:
        """Say what is being waited for."""
        self._show(f"{self._title} [dim]· {escape(what)}[/]", None, None)

    def progress(self, done: float, total: float, what: str = "") -> None:
        """Show a bar: `done` of `total`."""
        note = f" [dim]· {escape(what)}[/]" if what else ""
        self._show(f"{self._title}{note} [dim]{done:g}/{total:g}[/]", done, total)

    def saw(self, what: str, value: object) -> None:
        """Note an observed fact. `value` must be something that JSON can hold."""
        self.observed[what] = value


class _KnownBar(BarColumn):
    """A bar only where the total is known; the spinner says enough otherwise."""

    def render(self, task: Task) -> Any:
        """The bar, or nothing."""
        return "" if task.total is None else super().render(task)


class Timeline:
    """Runs steps one after the other, prints each as it goes and keeps it.

    An exception inside a step marks that step as failed (its message is the fact `problem`) and goes on to the caller.
    """

    def __init__(
        self, title: str, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title = title
        self.steps: list[Step] = []
        self.summary: dict[str, Any] = {}
        self.console = console or Console(highlight=False)
        self._clock = clock
        self._began = clock()
        self._started = time.time()
        self.console.print(f"[bold]{escape(title)}[/]")

    @property
    def seconds(self) -> float:
        """Seconds since the timeline began."""
        return self._clock() - self._began

    @property
    def passed(self) -> bool:
        """True when there are steps and none failed."""
        return bool(self.steps) and all(step.status == "done" for step in self.steps)

    @contextmanager
    def step(self, title: str) -> Iterator[StepInProgress]:
        """One numbered step; it is done when the block ends without an exception."""
        number = len(self.steps) + 1
        began = self._clock()
        if not self.console.is_terminal:
            self.console.print(f"[{self.seconds:6.1f} s] {number}. {title} ...", markup=False)
        status = "failed"
        with self._progress() as bar:
            running = StepInProgress(escape(title), _shower(bar, escape(title)))
            try:
                yield running
                status = "done"
            finally:
                bar.stop()
                if status == "failed":
                    problem = sys.exception()
                    running.saw("problem", str(problem) or type(problem).__name__)
                ended = Step(
                    number=number,
                    title=title,
                    status=status,
                    seconds=round(self._clock() - began, 3),
                    observed=running.observed,
                )
                self.steps.append(ended)
                self._print(ended)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Print the closing panel."""
        self.summary = dict(summary)
        rows = _facts(self.summary)
        colour = "green" if self.passed else "red"
        headline = "every step was observed" if self.passed else "not every step was observed"
        self.console.print(
            Panel(rows, title=f"[bold]{headline}[/] in {self.seconds:.1f} s", border_style=colour, expand=False)
        )

    def as_dict(self) -> dict[str, Any]:
        """The whole timeline as JSON values."""
        return {
            "title": self.title,
            "started": round(self._started, 3),
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
            "steps": [asdict(step) for step in self.steps],
            "summary": self.summary,
        }

    def write_json(self, path: Path) -> None:
        """Write `as_dict` to `path`, atomically."""
        atomic_write(path, json.dumps(self.as_dict(), indent=2, default=str).encode())

    def _progress(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            _KnownBar(bar_width=24),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def _print(self, step: Step) -> None:
        line = f"{MARKS[step.status]} [bold]{step.number}. {escape(step.title)}[/]  [cyan]{step.seconds:.1f} s[/]"
        self.console.print(line)
        if step.observed:
            self.console.print(_facts(step.observed, indent=4))


def _shower(bar: Progress, title: str) -> Callable[[str, float | None, float | None], None]:
    task: TaskID = bar.add_task(title, total=None)

    def show(description: str, done: float | None, total: float | None) -> None:
        bar.update(task, description=description)
        if total is not None:
            bar.update(task, completed=done, total=total)

    return show


def _facts(observed: Mapping[str, Any], indent: int = 0) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=indent)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in observed.items():
        table.add_row("", escape(what), escape(_text(value)))
    return table


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return str(value)
