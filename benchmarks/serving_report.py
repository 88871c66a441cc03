"""What the serving benchmark found: figures against their targets, a table of all servers, JSON, the README's table."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from serving_load import Measured
from serving_peers import PEERS

LABELS = {
    "alone": "**our model server**",
    "gateway": "**through our gateway**, logged and measured",
    "fallback": "ours with scikit-learn, for what cannot be compiled",
    **{name: peer.label for name, peer in PEERS.items()},
    "echo": "uvicorn, which sends the same JSON back",
}
POINTS = {(1, 16): "1 row x 16", (32, 16): "32 rows x 16", (1000, 4): "1000 rows x 4"}  # rows, connections
HEAD = ["server", *POINTS.values(), "p99 at 16", "p50 / p99 at 1", "memory", "cold start", "environment"]


@dataclass
class Found:
    """What was measured of one server: by (rows, connections), cold starts, and in MB its environment and memory.

    `memory` is resident in each process; in `proportional`, their sum, shared pages count once.
    """

    load: dict[tuple[int, int], list[Measured]] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    environment: float | None = None
    proportional: float = 0.0

    def rate(self, rows: int, connections: int) -> float:
        """Median requests per second."""
        return statistics.median(one.rate for one in self.load[rows, connections])

    def p50(self, rows: int, connections: int) -> float:
        """Median of the rounds' medians, ms."""
        return statistics.median(one.p50 for one in self.load[rows, connections])

    def p99(self, rows: int, connections: int) -> float:
        """Median of the rounds' 99th percentiles, ms."""
        return statistics.median(one.p99 for one in self.load[rows, connections])

    def best(self, rows: int) -> float:
        """The best rate over all numbers of connections."""
        return max(self.rate(r, c) for r, c in self.load if r == rows)

    @property
    def start(self) -> float:
        """Median seconds to the first correct answer."""
        return statistics.median(self.starts)

    @property
    def failed(self) -> int:
        """Requests that failed, over all loads."""
        return sum(one.failed for some in self.load.values() for one in some)


@dataclass
class Outcome:
    """All servers with a model of one kind, and those that could not be measured, with the reasons."""

    found: dict[str, Found] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure and its target; None where it could not be measured, which does not hold."""

    name: str
    value: float | None
    sign: str
    target: float

    @property
    def holds(self) -> bool:
        """Whether it was measured and reaches its target."""
        if self.value is None:
            return False
        return self.value >= self.target if self.sign == ">=" else self.value <= self.target

    @property
    def required(self) -> bool:
        """A stretch is shown, and does not decide."""
        return "stretch" not in self.name


def figures(kind: str, found: dict[str, Found]) -> list[Figure]:
    """The figures of this kind of model."""
    alone, gateway, fallback, mlflow = found["alone"], found["gateway"], found["fallback"], found.get("mlflow")

    def times(one: Found, rows: int, connections: int) -> float | None:
        return one.rate(rows, connections) / mlflow.rate(rows, connections) if mlflow else None

    best = alone.rate(1, 16) / mlflow.best(1) if mlflow else None
    rows = [
        ("alone, 1 row x 16: times mlflow", times(alone, 1, 16), ">=", 300.0),
        ("alone, 1 row x 16: times mlflow's best", best, ">=", 150.0),
        ("alone, 1 row x 16: p99 ms", alone.p99(1, 16), "<=", 1.7),
        ("alone, 32 rows x 16: times mlflow", times(alone, 32, 16), ">=", 100.0),
        ("alone, 1000 rows x 4: times mlflow", times(alone, 1000, 4), ">=", 8.0),
        ("gateway, 1 row x 16: times mlflow", times(gateway, 1, 16), ">=", 150.0),
        ("gateway, 1 row x 1: times mlflow", times(gateway, 1, 1), ">=", 25.0),
        ("gateway, 1 row x 16: p99 ms", gateway.p99(1, 16), "<=", 3.0),
        ("alone: memory MB", max(alone.memory), "<=", 70.0),
        ("gateway and its guardian: memory MB", sum(gateway.memory[:-1]), "<=", 100.0),
        ("alone: cold start s", alone.start, "<=", 0.6),
        ("fallback: memory MB", max(fallback.memory), "<=", 250.0),
        ("fallback: cold start s", fallback.start, "<=", 3.0),
        ("failed requests of ours", float(alone.failed + gateway.failed + fallback.failed), "<=", 0.0),
        ("stretch: alone, 1 row x 16, of uvicorn's echo", alone.rate(1, 16) / found["echo"].rate(1, 16), ">=", 0.6),
    ]
    return [Figure(f"{kind}: {name}", *others) for name, *others in rows]


def targets_table(rows: list[Figure]) -> Table:
    """Every figure, its target, and whether it holds."""
    table = Table("figure", "measured", "target", "holds")
    for row in rows:
        measured = "not measured" if row.value is None else f"{row.value:.2f}"
        table.add_row(row.name, measured, f"{row.sign} {row.target:g}", "yes" if row.holds else "NO")
    return table


def servers_table(kind: str, outcome: Outcome) -> Table:
    """A row for each server, also for those that could not be measured."""
    table = Table(*HEAD, title=kind)
    for row in cells(outcome):
        table.add_row(*(cell.replace("**", "").replace("`", "") for cell in row))
    return table


def cells(outcome: Outcome) -> list[list[str]]:
    """The rows of the table of servers: those of ours, then the peers from slow to fast, then the missing and why."""
    found, mlflow = outcome.found, outcome.found.get("mlflow")
    peers = sorted((name for name in found if name in PEERS), key=lambda name: found[name].rate(1, 16))
    ours = [name for name in found if name not in PEERS]
    lines = []
    for name in [*peers, *ours]:
        one = found[name]
        compared = None if mlflow is None or name in ("mlflow", "echo") else mlflow
        rates = [_rate(one, compared, point) for point in POINTS]
        latencies = [_ms(one.p99(1, 16)), f"{_ms(one.p50(1, 1))} / {_ms(one.p99(1, 1))}"]
        disk = "" if one.environment is None else f"{one.environment:.0f} MB"
        failed = f" ({one.failed} requests failed)" if one.failed else ""
        weight = ["", "", ""] if name == "echo" else [f"{one.proportional:.0f} MB", f"{one.start:.1f} s", disk]
        lines.append([LABELS[name] + failed, *rates, *latencies, *weight])
    blanks = [""] * (len(HEAD) - 2)
    return lines + [[LABELS[name], f"not measured: {why}", *blanks] for name, why in outcome.missing.items()]


def _rate(one: Found, other: Found | None, point: tuple[int, int]) -> str:
    rate = f"{one.rate(*point):,.0f}/s"
    if other is None:
        return rate
    times = one.rate(*point) / other.rate(*point)
    return f"{rate}, {times:.0f} times" if times >= 10 else f"{rate}, {times:.1f} times"


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def markdown(outcomes: dict[str, Outcome], how: str, targets: list[Figure]) -> str:
    """The README's table: the first kind's servers; in a sentence each the other kinds, and what was not reached."""
    kind, outcome = next(iter(outcomes.items()))
    head = [f"{kind} model: requests", *HEAD[1:]]
    rows = [head, ["---"] * len(HEAD), *cells(outcome)]
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    others = [
        f"{name} {_rate(one.found['alone'], one.found.get('mlflow'), (1, 16))}"
        for name, one in list(outcomes.items())[1:]
    ]
    said = f"\nOur model server with other models, 1 row x 16: {'; '.join(others)}." if others else ""
    short = [f"{row.name} {row.sign} {row.target:g}" for row in targets if row.required and not row.holds]
    said += f"\nNot reached in this run: {'; '.join(short)}." if short else "\nAll targets hold."
    return "\n".join([*lines, "", f"One run of `{how}`: trust the ratios (*times* is to MLflow).{said}"])


def plain(rows: list[Figure], outcomes: dict[str, Outcome], how: str) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "how": how,
        "figures": {
            row.name: {"measured": row.value, "target": f"{row.sign} {row.target:g}", "holds": row.holds}
            for row in rows
        },
        "servers": {
            f"{kind} {name}": {
                "memory": one.memory,
                "start": one.start,
                "starts": one.starts,
                "environment": one.environment,
                "proportional": one.proportional,
                "load": {f"{r}x{c}": [asdict(m) for m in some] for (r, c), some in one.load.items()},
            }
            for kind, outcome in outcomes.items()
            for name, one in outcome.found.items()
        },
        "missing": {
            f"{kind} {name}": why for kind, outcome in outcomes.items() for name, why in outcome.missing.items()
        },
    }


def read(path: Path) -> tuple[dict[str, Outcome], str]:
    """What `plain` wrote: the outcomes by kind, and how they were measured."""
    told = json.loads(path.read_text())
    outcomes: dict[str, Outcome] = {}
    for key, one in told["servers"].items():
        kind, name = key.split()
        load = {
            (int(point.split("x")[0]), int(point.split("x")[1])): [Measured(**some) for some in measured]
            for point, measured in one["load"].items()
        }
        found = Found(load, one["memory"], one["starts"], one["environment"], one["proportional"])
        outcomes.setdefault(kind, Outcome()).found[name] = found
    for key, why in told["missing"].items():
        kind, name = key.split()
        outcomes[kind].missing[name] = why
    return outcomes, told["how"]
