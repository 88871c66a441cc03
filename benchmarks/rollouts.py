"""Rollouts and rollbacks under load, and what they cost users: nothing, if every target holds.

    python benchmarks/rollouts.py [--quick] [--json PATH]

50 rollouts and 10 forced rollbacks (5 and 1 with --quick) of compiled models through `mlauto.delivery` on the local
runtime, while clients send 1,000 requests a second or more over kept and new connections, without retries. Every reply
must be 200 with the right predictions. Exit code 0 only when every target holds.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from load import Load, Result
from rich.console import Console
from rich.table import Table
from serving_model import NAME, body, bundle, expected, fitted
from serving_servers import scratch

from mlauto.delivery.rollout import roll_back, roll_out
from mlauto.records import Deployment, Image
from mlauto.runtime.local import LocalRuntime
from mlauto.store import Store

RATE = 1100.0


def images(store: Store, runtime: LocalRuntime, count: int) -> list[Image]:
    """One image for each version, all with the same model: every version must answer alike."""
    model = fitted("boosted")
    made = []
    for version in range(1, count + 1):
        content = store.scratch("bench") / "bundle"
        bundle(model, content, store.home / "native", version=str(version))
        image = runtime.build(NAME, str(version), str(version), content)
        store.write_record(NAME, f"images/{version}", image)
        made.append(image)
    return made


def promoted(_version: str) -> None:
    """There is no registry in this benchmark."""


def changes(store: Store, runtime: LocalRuntime, made: list[Image], *, per_rollback: int, seconds: float) -> int:
    """Roll each image out in turn, and back after every few; the number of rollbacks."""
    rollbacks = 0
    for number, image in enumerate(made[1:], 1):
        due = time.monotonic() + seconds
        test = Deployment(environment="test", version=image.version, image=image.digest, since=time.time())
        roll_out(NAME, image, test, runtime, store, promoted, mode="auto", bake=3600.0, now=time.time())
        if number % per_rollback == 0:
            time.sleep(seconds / 2)
            roll_back(NAME, runtime, store, promoted, reason="benchmark", now=time.time())
            rollbacks += 1
        print(f"{number} of {len(made) - 1} rollouts, {rollbacks} rollbacks", file=sys.stderr)
        time.sleep(max(0.0, due - time.monotonic()))
    return rollbacks


def run(rollouts: int, per_rollback: int, seconds: float) -> tuple[Result, int]:
    """The load's result, and the number of rollbacks."""
    with scratch() as (settings, store, runtime):
        made = images(store, runtime, rollouts + 1)
        first = Deployment(environment="test", version="1", image=made[0].digest, since=time.time())
        roll_out(NAME, made[0], first, runtime, store, promoted, mode="auto", bake=3600.0, now=time.time())
        wanted = expected(fitted("boosted"), 1)
        load = Load(settings.gateway_port, f"/v2/models/{NAME}/invocations", body(1), wanted, rate=RATE)
        with load:
            rollbacks = changes(store, runtime, made, per_rollback=per_rollback, seconds=seconds)
        return load.result, rollbacks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rollouts, seconds, requests = (5, 2.0, 8_000) if options.quick else (50, 3.8, 200_000)
    result, rollbacks = run(rollouts, 5, seconds)
    rows: list[tuple[str, float, str, float]] = [
        ("failed requests", result.failed, "<=", 0),
        ("requests", result.requests, ">=", requests),
        ("requests a second", result.rate, ">=", 1000),
        ("rollouts", rollouts, ">=", 5 if options.quick else 50),
        ("rollbacks", rollbacks, ">=", 1 if options.quick else 10),
        ("versions that answered", len(result.versions), ">=", rollouts),
    ]
    holds = [value >= target if sign == ">=" else value <= target for _, value, sign, target in rows]
    table = Table("figure", "measured", "target", "holds")
    for (name, value, sign, target), good in zip(rows, holds, strict=True):
        table.add_row(name, f"{value:,.0f}", f"{sign} {target:,g}", "yes" if good else "NO")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"p99 {result.p99():.1f} ms, longest time without an answer {result.longest_gap * 1000:.0f} ms")
    console.print(dict(result.problems) or "no problem of any kind")
    if options.json:
        figures = {name: {"measured": v, "target": f"{sign} {t:g}"} for name, v, sign, t in rows}
        options.json.write_text(json.dumps({"figures": figures, "problems": dict(result.problems)}, indent=2))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
