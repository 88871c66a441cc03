"""Rollouts and rollbacks under load, and what they cost users: nothing, if every target holds.

    python benchmarks/rollouts.py [--quick] [--json PATH]

50 rollouts and 10 forced rollbacks (5 and 1 with --quick) of compiled models through `mlauto.delivery` on the local
runtime, while clients send 1,000 requests a second or more over kept and new connections, without retries. Each rollout
goes by all its stages (copies, 10 %, 50 %, all), judged on the prediction log; every other rollback gives up a canary,
the others undo what went live. Every reply must be 200 with the right predictions. Exit code 0 only when every target
holds.
"""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from load import Load, Result
from rich.console import Console
from rich.table import Table
from serving_model import NAME, body, bundle, expected, fitted
from serving_servers import scratch

from mlauto.delivery.progress import Plan, Rollout, Stage
from mlauto.delivery.rollback import abort, roll_back
from mlauto.delivery.rollout import continue_rollout, roll_out
from mlauto.delivery.stages import Way, current_rollout
from mlauto.monitoring.evidence import gather_evidence
from mlauto.proof import RolloutEvidence
from mlauto.records import Deployment, Image
from mlauto.runtime.local import LocalRuntime
from mlauto.store import Store

RATE = 1100.0
PLAN = Plan(shadow=0.3, canary=(10.0, 50.0), step=0.3, bake=3600.0)
POLL_SECONDS = 0.05


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


@dataclass
class Delivery:
    """Rollouts of one product on a real gateway."""

    store: Store
    runtime: LocalRuntime
    stages: Counter[str] = field(default_factory=Counter)

    def gather(self, rollout: Rollout) -> RolloutEvidence:
        """What users' traffic shows of the candidate."""
        log = self.store.home / "products" / NAME / "predictions"
        champion = rollout.champion or rollout.version
        return gather_evidence(
            log,
            candidate=rollout.version,
            champion=champion,
            since=rollout.began,
            now=time.time(),
            metric="error_rate",
        )

    def begin(self, image: Image) -> None:
        """The first stage."""
        test = Deployment(environment="test", version=image.version, image=image.digest, since=time.time())
        way = Way(plan=PLAN, gather=self.gather)
        roll_out(NAME, image, test, self.runtime, self.store, promoted, mode="auto", way=way, now=time.time())
        self.seen()

    def seen(self) -> Stage | None:
        """Count the stage that the rollout is in, and return it."""
        rollout = current_rollout(NAME, self.store)
        if rollout is None:
            return None
        name = f"{rollout.version} {rollout.stage} {rollout.percent:g}"
        self.stages[name] = 1
        return rollout.stage

    def go_on(self, *, until: Stage) -> None:
        """Stage after stage, as each lasts its time. Raises `SystemExit` when the rollout ends otherwise."""
        way = Way(plan=PLAN, gather=self.gather)
        while (stage := self.seen()) is not until:
            if stage not in {Stage.SHADOW, Stage.CANARY}:
                raise SystemExit(f"a good candidate was not rolled out: {current_rollout(NAME, self.store)}")
            time.sleep(POLL_SECONDS)
            continue_rollout(NAME, self.runtime, self.store, promoted, way=way, now=time.time())

    def all_stages(self) -> int:
        """Stages that were seen, over all rollouts."""
        return len(self.stages)


def changes(delivery: Delivery, made: list[Image], *, per_rollback: int, seconds: float) -> int:
    """Roll each image out in turn, and one back after every few; the number of rollbacks."""
    rollbacks = 0
    for number, image in enumerate(made[1:], 1):
        due = time.monotonic() + seconds
        delivery.begin(image)
        back = number % per_rollback == 0
        if back and rollbacks % 2:  # a canary is given up
            delivery.go_on(until=Stage.CANARY)
            abort(NAME, delivery.runtime, delivery.store, promoted, reason="benchmark", now=time.time())
        else:
            delivery.go_on(until=Stage.BAKING)
        if back and not rollbacks % 2:
            time.sleep(0.3)
            roll_back(NAME, delivery.runtime, delivery.store, promoted, reason="benchmark", now=time.time())
        rollbacks += back
        print(f"{number} of {len(made) - 1} rollouts, {rollbacks} rollbacks", file=sys.stderr)
        time.sleep(max(0.0, due - time.monotonic()))
    return rollbacks


def run(rollouts: int, per_rollback: int, seconds: float) -> tuple[Result, int, int]:
    """The load's result, the number of rollbacks, and that of stages."""
    with scratch() as (settings, store, runtime):
        made = images(store, runtime, rollouts + 1)
        delivery = Delivery(store, runtime)
        delivery.begin(made[0])
        wanted = expected(fitted("boosted"), 1)
        load = Load(settings.gateway_port, f"/v2/models/{NAME}/invocations", body(1), wanted, rate=RATE)
        with load:
            rollbacks = changes(delivery, made, per_rollback=per_rollback, seconds=seconds)
        return load.result, rollbacks, delivery.all_stages()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rollouts, seconds, requests = (5, 2.0, 8_000) if options.quick else (50, 3.8, 200_000)
    result, rollbacks, stages = run(rollouts, 5, seconds)
    rows: list[tuple[str, float, str, float]] = [
        ("failed requests", result.failed, "<=", 0),
        ("requests", result.requests, ">=", requests),
        ("requests a second", result.rate, ">=", 1000),
        ("rollouts", rollouts, ">=", 5 if options.quick else 50),
        ("rollbacks", rollbacks, ">=", 1 if options.quick else 10),
        ("stages", stages, ">=", 3.7 * rollouts),
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
