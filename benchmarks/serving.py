"""What serving costs: our model server by itself and behind the gateway, against what people use, in one run.

    python benchmarks/serving.py [--quick] [--json PATH] [--peer PYTHON] [--kinds boosted,forest,linear] [--rounds N]

The same model, the same requests (MLflow's `dataframe_split`), the same client (wrk), one worker and one thread for
numbers each; client and servers share the machine. All servers are measured round after round, and medians compared.
`--peer` is the Python of an environment with mlflow, fastapi and uvicorn; one is made with pip where it is missing.
Exit code 0 only when every target holds.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from serving_load import Measured, load, require_wrk
from serving_model import KINDS, body, bundle, expected, fitted
from serving_servers import Server, echo, fastapi_peer, memory, mlflow_peer, ours_alone, ours_behind_gateway

HERE = Path(__file__).resolve().parents[1] / ".mlauto-bench-serving"
GRID = ((1, 1), (1, 16), (32, 16), (1000, 4))  # rows, connections
MORE = ((1, 4), (1, 64))  # for the peer's best, and for the charts


@dataclass
class Found:
    """What was measured of one server: by (rows, connections), and its memory and cold start."""

    load: dict[tuple[int, int], list[Measured]] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)
    start: float = 0.0

    def rate(self, rows: int, connections: int) -> float:
        """Median requests per second."""
        return statistics.median(one.rate for one in self.load[rows, connections])

    def p99(self, rows: int, connections: int) -> float:
        """Median of the rounds' 99th percentiles, ms."""
        return statistics.median(one.p99 for one in self.load[rows, connections])

    def best(self, rows: int) -> float:
        """The best rate over all numbers of connections."""
        return max(self.rate(r, c) for r, c in self.load if r == rows)


def peer_python(given: Path | None) -> Path:
    """The peers' own environment, made when there is none."""
    python = given or HERE / "peers" / "bin" / "python"
    if python.exists():
        return python
    import mlflow
    import sklearn

    print("making the peers' environment with pip: some minutes", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", HERE / "peers"], check=True)
    pins = [f"mlflow=={mlflow.__version__}", f"scikit-learn=={sklearn.__version__}", "skops", "fastapi", "uvicorn"]
    subprocess.run([python, "-m", "pip", "install", "-q", *pins, "httptools", "uvloop"], check=True)
    return python


def measured(servers: dict[str, Server], found: dict[str, Found], *, rounds: int, seconds: float) -> None:
    """Load every server at every point of the grid, in turn, round after round."""
    for number in range(rounds):
        for rows, connections in (*GRID, *MORE):
            request = body(rows)
            for name, server in servers.items():
                one = load(server.url, request, connections=connections, seconds=seconds)
                found[name].load.setdefault((rows, connections), []).append(one)
                print(f"round {number + 1} {name}: {rows} rows x {connections}: {one}", file=sys.stderr)
    for name, server in servers.items():
        found[name].memory = memory(server)
        found[name].start = server.seconds


def of_kind(kind: str, python: Path | None, *, rounds: int, seconds: float) -> dict[str, Found]:
    """All servers with a model of one kind."""
    import skops.io

    model, request = fitted(kind), body(1)
    wanted = expected(model, 1)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        skops.io.dump(model, home / "model.skops")
        compiled = bundle(model, home / "compiled", HERE / "native", version="1")
        plain = bundle(model, home / "plain", HERE / "native", version="2", compiled=False)
        log = HERE / "servers.log"
        enter = stack.enter_context
        servers = {
            "alone": enter(ours_alone(compiled, request, wanted, log)),
            "gateway": enter(ours_behind_gateway(compiled, "1", home / "state", request, wanted)),
            "fallback": enter(ours_alone(plain, request, wanted, log)),
        }
        if python is not None:
            servers["mlflow"] = enter(mlflow_peer(python, home / "model.skops", home / "saved", request, wanted, log))
            servers["fastapi"] = enter(fastapi_peer(python, home / "model.skops", request, wanted, log))
            servers["echo"] = enter(echo(request, log))
        found = {name: Found() for name in servers}
        measured(servers, found, rounds=rounds, seconds=seconds)
    return found


def figures(kind: str, found: dict[str, Found]) -> list[tuple[str, float, str, float]]:
    """Name, measured, `>=` or `<=`, target: those of this kind of model."""
    alone, gateway, mlflow = found["alone"], found["gateway"], found["mlflow"]
    rows = [
        ("alone, 1 row x 16: times mlflow", alone.rate(1, 16) / mlflow.rate(1, 16), ">=", 300.0),
        ("alone, 1 row x 16: times mlflow's best", alone.rate(1, 16) / mlflow.best(1), ">=", 150.0),
        ("alone, 1 row x 16: p99 ms", alone.p99(1, 16), "<=", 1.7),
        ("alone, 32 rows x 16: times mlflow", alone.rate(32, 16) / mlflow.rate(32, 16), ">=", 100.0),
        ("alone, 1000 rows x 4: times mlflow", alone.rate(1000, 4) / mlflow.rate(1000, 4), ">=", 8.0),
        ("gateway, 1 row x 16: times mlflow", gateway.rate(1, 16) / mlflow.rate(1, 16), ">=", 150.0),
        ("gateway, 1 row x 1: times mlflow", gateway.rate(1, 1) / mlflow.rate(1, 1), ">=", 25.0),
        ("gateway, 1 row x 16: p99 ms", gateway.p99(1, 16), "<=", 3.0),
        ("alone: memory MB", max(alone.memory), "<=", 70.0),
        ("gateway and its guardian: memory MB", sum(gateway.memory[:-1]), "<=", 100.0),
        ("alone: cold start s", alone.start, "<=", 0.6),
        ("fallback: memory MB", max(found["fallback"].memory), "<=", 250.0),
        ("fallback: cold start s", found["fallback"].start, "<=", 3.0),
        (
            "failed requests",
            float(sum(m.failed for f in found.values() for ms in f.load.values() for m in ms)),
            "<=",
            0,
        ),
        ("stretch: alone, 1 row x 16, of uvicorn's echo", alone.rate(1, 16) / found["echo"].rate(1, 16), ">=", 0.6),
    ]
    return [(f"{kind}: {name}", value, sign, target) for name, value, sign, target in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, the boosted trees only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load at each point, in each round")
    parser.add_argument("--kinds", default=",".join(KINDS))
    options = parser.parse_args()
    require_wrk()
    HERE.mkdir(exist_ok=True)
    python = peer_python(options.peer)
    kinds = ["boosted"] if options.quick else options.kinds.split(",")
    rounds, seconds = (1, 2.0) if options.quick else (options.rounds, options.seconds)
    found = {kind: of_kind(kind, python, rounds=rounds, seconds=seconds) for kind in kinds}
    rows = [row for kind in kinds for row in figures(kind, found[kind])]
    table = Table("figure", "measured", "target", "holds")
    for name, value, sign, target in rows:
        table.add_row(name, f"{value:.2f}", f"{sign} {target:g}", "yes" if _holds(value, sign, target) else "NO")
    console = Console(highlight=False)
    console.print(table)
    for kind in kinds:
        for name, one in found[kind].items():
            rates = ", ".join(f"{r} x {c}: {one.rate(r, c):.0f}/s" for r, c in one.load)
            console.print(f"{kind} {name}: {rates}; memory {[round(m) for m in one.memory]}, start {one.start:.2f} s")
    if options.json:
        options.json.write_text(json.dumps(_plain(rows, found), indent=2))
    required = [row for row in rows if "stretch" not in row[0]]
    return 0 if all(_holds(value, sign, target) for _, value, sign, target in required) else 1


def _holds(value: float, sign: str, target: float) -> bool:
    return value >= target if sign == ">=" else value <= target


def _plain(rows: list[tuple[str, float, str, float]], found: dict[str, dict[str, Found]]) -> dict[str, object]:
    return {
        "figures": {
            name: {"measured": v, "target": f"{sign} {t:g}", "holds": _holds(v, sign, t)} for name, v, sign, t in rows
        },
        "servers": {
            f"{kind} {name}": {
                "memory": one.memory,
                "start": one.start,
                "load": {f"{r}x{c}": [asdict(m) for m in some] for (r, c), some in one.load.items()},
            }
            for kind, servers in found.items()
            for name, one in servers.items()
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
