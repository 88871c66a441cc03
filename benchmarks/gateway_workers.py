"""The gateway with one process that answers and with two: throughput, CPU for a request, memory.

    python benchmarks/gateway_workers.py [--quick] [--json PATH]

Interleaved rounds (5, or 2 with --quick) of 4 s at 16 connections with one row, the same gateway restarted gracefully
with the other number in between. Two processes gain throughput only where there are cores that neither client nor
model server needs, so that rates and CPU are told without a target; no request may fail, and memory must stay within
what was promised. Exit code 0 only when every target holds.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from rollouts import images
from serving_load import load
from serving_model import NAME, body
from serving_servers import scratch

from mlauto.runtime.base import Route
from mlauto.runtime.gateway_client import GatewayClient
from mlauto.runtime.local import LocalRuntime

SECONDS = 4.0
Samples = defaultdict[int, list[float]]


def cpu(pids: list[int]) -> float:
    """Seconds that those processes have used."""
    texts = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(text[11]) + int(text[12]) for text in texts) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MB of memory, shared pages included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def run(rounds: int) -> tuple[list[tuple[str, float, str, float]], dict[str, float]]:
    """The figures with their targets, and those that are only told."""
    rates, costs, failed, memory, beside = Samples(list), Samples(list), 0, 0.0, 0.0
    with scratch() as (settings, store, runtime):
        runtime.start(NAME, images(store, runtime, 1)[0])
        runtime.switch(NAME, Route("1"))
        url, gateway = f"{settings.gateway_url}/v2/models/{NAME}/invocations", GatewayClient(settings.gateway_home)
        for number in range(rounds):
            for workers in (1, 2) if number % 2 else (2, 1):
                LocalRuntime(dataclasses.replace(settings, gateway_workers=workers)).restart()
                time.sleep(3.0)  # until connections are shared out
                load(url, body(1), connections=16, seconds=1.0)
                pids = gateway.status()["workers"]
                if len(pids) != workers:
                    raise SystemExit(f"{len(pids)} processes answer, not {workers}")
                used = cpu(pids)
                found = load(url, body(1), connections=16, seconds=SECONDS)
                rates[workers].append(found.rate)
                costs[workers].append((cpu(pids) - used) / (found.rate * SECONDS) * 1e6)
                failed += found.failed
                memory = max(memory, resident(pids[0]))
                beside = max([beside, *map(resident, pids[1:])])
                print(f"{workers}: {found.rate:.0f}/s, {costs[workers][-1]:.1f} us", file=sys.stderr)
    return [
        ("failed requests", failed, "<=", 0),
        ("memory of the process that leads, MB", memory, "<=", 100),
        ("memory of the other, MB", beside, "<=", 100),
    ], {
        **{f"requests a second, {workers}": median(found) for workers, found in rates.items()},
        **{f"CPU for a request, us, {workers}": median(found) for workers, found in costs.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    figures, told = run(2 if options.quick else 5)
    table = Table("figure", "measured", "target", "holds")
    holds = [value <= target for _, value, _, target in figures]
    for (name, value, sign, target), good in zip(figures, holds, strict=True):
        table.add_row(name, f"{value:,.2f}", f"{sign} {target:g}", "yes" if good else "NO")
    for name, value in told.items():
        table.add_row(name, f"{value:,.1f}", "", "")
    Console(highlight=False).print(table)
    if options.json:
        found = {name: {"measured": value, "target": f"{sign} {target:g}"} for name, value, sign, target in figures}
        options.json.write_text(json.dumps({"figures": found, "told": told}, indent=2))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
