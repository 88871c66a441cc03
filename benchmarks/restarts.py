"""Restarts of the gateway itself under load: a new process takes over with all connections, and no request is lost.

    python benchmarks/restarts.py [--quick] [--json PATH]

20 restarts (5 with --quick), each followed by a switch of the version, while clients send 1,000 requests a second or
more over kept and new connections, and others rest for seconds between two requests of theirs. No client retries:
no request may fail, no kept connection may be closed, every acknowledged prediction must be in the log, and after a
switch has returned no new request may be answered by the version before. Exit code 0 only when every target holds.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from kills import logged
from load import Load
from rich.console import Console
from rich.table import Table
from rollouts import RATE, images
from serving_model import NAME, body, expected, fitted
from serving_servers import ask, scratch

from mlauto.runtime.base import Route
from mlauto.runtime.gateway_client import GatewayClient

PATH = f"/v2/models/{NAME}/invocations"
Figures = list[tuple[str, float, str, float]]


def run(restarts: int) -> tuple[Figures, dict[str, int]]:
    """The figures with their targets, and the failures by reason."""
    with scratch() as (settings, store, runtime):
        for image in images(store, runtime, 2):
            runtime.start(NAME, image)
        runtime.switch(NAME, Route("1", fallback="2"))
        gateway = GatewayClient(settings.gateway_home)
        guardian, wanted = gateway.pid(), expected(fitted("boosted"), 1)
        url, port = f"{settings.gateway_url}{PATH}", settings.gateway_port
        pids, seconds, late = {gateway.status()["pid"]}, [], 0
        with (
            Load(port, PATH, body(1), wanted, rate=RATE) as busy,
            Load(port, PATH, body(1), wanted, rate=8, connections=24, fresh=0) as resting,
        ):
            time.sleep(4.0)  # until everybody has a connection
            for number in range(restarts):
                began = time.monotonic()
                runtime.restart()
                seconds.append(time.monotonic() - began)
                pids.add(gateway.status()["pid"])
                live, other = ("2", "1") if number % 2 == 0 else ("1", "2")
                runtime.switch(NAME, Route(live, fallback=other))
                late += any(runtime.live(NAME) != live or ask(url, body(1)) is None for _ in range(20))
                print(f"{number + 1} of {restarts} restarts, {busy.result.failed} failed", file=sys.stderr)
                time.sleep(1.0)
        results = busy.result, resting.result
        acknowledged = {name for result in results for name in result.ids}
        figures: Figures = [
            ("failed requests", sum(result.failed for result in results), "<=", 0),
            ("requests a second", busy.result.rate, ">=", 1000),
            ("kept connections that were closed", sum(result.closed for result in results), "<=", 0),
            ("acknowledged predictions missing in the log", len(acknowledged - logged(settings)), "<=", 0),
            ("switches with a late answer of the version before", late, "<=", 0),
            ("processes that answered", len(pids), ">=", restarts + 1),
            ("guardians", 1 if gateway.pid() == guardian else 2, "<=", 1),
            ("longest time between two answers, ms", busy.result.longest_gap * 1000, "<=", 250),
            ("longest restart, s", max(seconds), "<=", 10),
        ]
        problems = {reason: count for result in results for reason, count in result.problems.items()}
    return figures, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    figures, problems = run(5 if options.quick else 20)
    holds = [value >= target if sign == ">=" else value <= target for _, value, sign, target in figures]
    table = Table("figure", "measured", "target", "holds")
    for (name, value, sign, target), good in zip(figures, holds, strict=True):
        table.add_row(name, f"{value:,.1f}", f"{sign} {target:,g}", "yes" if good else "NO")
    console = Console(highlight=False)
    console.print(table)
    console.print(problems or "no problem of any kind")
    if options.json:
        found = {name: {"measured": value, "target": f"{sign} {target:g}"} for name, value, sign, target in figures}
        options.json.write_text(json.dumps({"figures": found, "problems": problems}, indent=2))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
