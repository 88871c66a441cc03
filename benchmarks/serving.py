"""What serving costs: our model server by itself and behind the gateway, against what people use, in one run.

    python benchmarks/serving.py [--quick] [--peers mlflow,ray] [--kinds boosted,forest] [--rounds N] [--seconds S]
                                 [--json PATH] [--markdown] [--charts SVG] [--from PATH]

The same model, the same rows (MLflow's `dataframe_split`, or what the server takes instead), the same client (wrk), one
worker and one thread for numbers each; client and servers share the machine. Ours, mlflow, FastAPI and the echo run
side by side and are loaded in turn, round after round, and medians compared; the other peers, which are busy when
nobody asks them, run one after another. mlflow serves models of all kinds, the other peers those of the first kind.
A closed-loop client with 64 connections waits 1.6 s at a server of 40 requests a second, so that wrk's timeout is 10 s
for all of them. Each server has an environment of its own under .mlauto-bench-serving, made with pip where it is
missing; a peer that cannot be installed or started here is in the table with the reason.
`--markdown` prints the README's table and nothing else; `--from` takes what `--json` wrote instead of measuring.
Exit code 0 only when every target holds.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from serving_environments import environment, megabytes, same
from serving_load import UnavailableError, load, require_wrk
from serving_model import KINDS, bundle, expected, fitted
from serving_peers import MODEL, PEERS, Place, serving
from serving_report import Figure, Found, Outcome, figures, markdown, plain, read, servers_table, targets_table
from serving_servers import CHECKED_ROWS, Server, echo, free_port, memory, ours_alone, ours_behind_gateway, proportional

HERE = Path(__file__).resolve().parents[1] / ".mlauto-bench-serving"
ENVIRONMENTS = HERE / "environments"
GRID = ((1, 1), (1, 16), (32, 16), (1000, 4))  # rows, connections
MORE = ((1, 4), (1, 64))  # for the peer's best, and for the charts
TOGETHER = ("mlflow", "fastapi")  # peers that do nothing while nobody asks them
COMPILED = same("msgspec", "numpy", "uvicorn", "httptools", "uvloop")
FALLBACK = (*COMPILED, *MODEL)


def measured(servers: dict[str, Server], outcome: Outcome, *, number: int, seconds: float) -> None:
    """Load every server at every point of the grid, in turn; one that stops answering is missing from then on."""
    for rows, connections in (*GRID, *MORE):
        for name, server in servers.items():
            if name in outcome.missing:
                continue
            try:
                one = load(server.url, server.form.request(rows), connections=connections, seconds=seconds)
            except UnavailableError as error:
                lose(outcome, name, error)
                continue
            outcome.found[name].load.setdefault((rows, connections), []).append(one)
            print(f"round {number} {name}: {rows} rows x {connections}: {one}", file=sys.stderr)


def lose(outcome: Outcome, name: str, error: UnavailableError) -> None:
    """A peer goes to the missing; without one of ours there is nothing to compare."""
    if name not in PEERS:
        raise error
    print(f"{name}: {error}", file=sys.stderr)
    outcome.missing[name] = str(error)
    outcome.found.pop(name, None)


class Kind:
    """A model of one kind, in the forms in which it is served, in a folder that ends with the block."""

    def __init__(self, kind: str, folder: Path) -> None:
        import skops.io

        model = fitted(kind)
        self.folder, self.model = folder, folder / "model.skops"
        self.wanted = {rows: expected(model, rows) for rows in CHECKED_ROWS}
        skops.io.dump(model, self.model)
        self.compiled = bundle(model, folder / "compiled", HERE / "native", version="1")
        self.plain = bundle(model, folder / "plain", HERE / "native", version="2", compiled=False)

    def ours(self, stack: contextlib.ExitStack, outcome: Outcome) -> dict[str, Server]:
        """Our servers and the echo, until the stack closes."""
        pythons = {
            "alone": environment(ENVIRONMENTS, "compiled", COMPILED),
            "fallback": environment(ENVIRONMENTS, "fallback", FALLBACK),
        }
        enter = stack.enter_context
        servers = {
            "alone": enter(ours_alone(pythons["alone"], self.compiled, self.wanted, HERE / "alone.log")),
            "gateway": enter(ours_behind_gateway(self.compiled, "1", self.folder / "state", self.wanted)),
            "fallback": enter(ours_alone(pythons["fallback"], self.plain, self.wanted, HERE / "fallback.log")),
            "echo": enter(echo(HERE / "echo.log")),
        }
        for name, server in servers.items():
            outcome.found[name] = Found(starts=[server.seconds])
        for name, python in {**pythons, "gateway": pythons["alone"]}.items():
            outcome.found[name].environment = megabytes(python)
        return servers

    def peer(self, name: str, stack: contextlib.ExitStack, outcome: Outcome) -> dict[str, Server]:
        """A peer until the stack closes; none when it is not to be had, which the outcome then says."""
        folder = self.folder / f"{name}{len(list(self.folder.iterdir()))}"
        try:
            python = environment(ENVIRONMENTS, name, PEERS[name].pins)
            place = Place(python, self.model, folder, free_port())
            context = serving(PEERS[name], place, self.wanted, HERE / f"{name}.log")
            server = stack.enter_context(context)
        except UnavailableError as error:
            lose(outcome, name, error)
            return {}
        found = outcome.found.setdefault(name, Found())
        found.starts.append(server.seconds)
        found.environment = megabytes(python)
        return {name: server}


def of_kind(kind: str, peers: list[str], *, rounds: int, seconds: float) -> Outcome:
    """All servers with a model of one kind."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = Kind(kind, Path(folder))
        servers = model.ours(stack, outcome)
        for peer in TOGETHER:
            if peer in peers:
                servers |= model.peer(peer, stack, outcome)
        for number in range(1, rounds + 1):
            measured(servers, outcome, number=number, seconds=seconds)
        for name, server in servers.items():
            if name in outcome.found:
                weigh(server, outcome.found[name])
        for number in range(1, rounds + 1):
            for peer in peers:
                if peer not in TOGETHER and peer not in outcome.missing:
                    apart(model, peer, outcome, number=number, seconds=seconds)
    return outcome


def weigh(server: Server, found: Found) -> None:
    """What the server's processes hold in memory after the load."""
    found.memory, found.proportional = memory(server), proportional(server)


def apart(model: Kind, peer: str, outcome: Outcome, *, number: int, seconds: float) -> None:
    """A round of one peer, which runs for it alone."""
    with contextlib.ExitStack() as stack:
        servers = model.peer(peer, stack, outcome)
        measured(servers, outcome, number=number, seconds=seconds)
        if peer in outcome.found:
            weigh(servers[peer], outcome.found[peer])


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, the boosted trees only")
    parser.add_argument("--peers", default=",".join(PEERS), help="of %(default)s; targets need mlflow")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load at each point, in each round")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    parser.add_argument("--markdown", action="store_true", help="print the README's table and nothing else")
    parser.add_argument("--charts", type=Path, help="draw them into this SVG")
    parser.add_argument("--from", dest="source", type=Path, help="what --json wrote: nothing is measured")
    options = parser.parse_args(arguments)
    options.peers = [name for name in options.peers.split(",") if name]
    options.kinds = options.kinds.split(",")
    if options.quick:
        options.kinds, options.rounds, options.seconds = ["boosted"], 1, 2.0
    for given, known in ((options.peers, PEERS), (options.kinds, KINDS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def measure(options: argparse.Namespace) -> tuple[dict[str, Outcome], str]:
    """Outcomes by kind, and the command that measured them."""
    require_wrk()
    HERE.mkdir(exist_ok=True)
    outcomes = {}
    for place, kind in enumerate(options.kinds):
        peers = options.peers if place == 0 else [name for name in options.peers if name == "mlflow"]
        outcomes[kind] = of_kind(kind, peers, rounds=options.rounds, seconds=options.seconds)
    how = "--quick" if options.quick else f"--rounds {options.rounds} --seconds {options.seconds:g}"
    if not options.quick and options.kinds != list(KINDS):
        how += f" --kinds {','.join(options.kinds)}"
    return outcomes, f"benchmarks/serving.py {how}"


def main() -> int:
    options = options_of()
    outcomes, how = read(options.source) if options.source else measure(options)
    rows: list[Figure] = [row for kind, one in outcomes.items() for row in figures(kind, one.found)]
    console = Console(highlight=False, stderr=options.markdown, width=None if sys.stdout.isatty() else 180)
    console.print(targets_table(rows))
    for kind, outcome in outcomes.items():
        console.print(servers_table(kind, outcome))
    if options.json:
        options.json.write_text(json.dumps(plain(rows, outcomes, how), indent=2))
    if options.charts:
        from serving_charts import draw

        draw(outcomes, options.charts)
    if options.markdown:
        print(markdown(outcomes, how, rows))
    return 0 if all(row.holds for row in rows if row.required) else 1


if __name__ == "__main__":
    raise SystemExit(main())
