"""How fast the loop closes, against the same work as one plain Python script, and where the time goes.

    python benchmarks/loop.py [--quick] [--json PATH] [--runtime docker]

Figures: seconds from the failing evaluation to the better model answering everything (median of 5, or of 1 with
--quick); a cold `dagster asset materialize` of the whole graph, a warm data file -> production, both as ratios to the
cold plain script of the same run; resident memory. Exit code 0 only when every target holds.

With `--runtime docker` commits, trainings and models run in containers: then the seconds and the failed requests.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mlauto.commands.demo import Demo
from mlauto.commands.example import FIRST_ROWS, PRODUCT, define, land, make_model_repository
from mlauto.commands.loop import Loop, dagster_environment
from mlauto.commands.observe import Observer
from mlauto.commands.stream import DemandStream
from mlauto.commands.timeline import Timeline
from mlauto.settings import PACKAGE, Settings

BIN = Path(sys.executable).parent
HERE = Path(__file__).resolve().parent
STEPS = ("batch", "training_set", "model", "image", "test_deployment", "production")


def prepared(root: Path, retrain: str = "economy") -> Loop:
    """A scratch installation with a verified commit and a landed file, nothing running."""
    from mlauto.commands.products import find_product
    from mlauto.orchestration import steps
    from mlauto.orchestration.platform import Platform

    loop, stream = Loop.scratch(root), DemandStream(seed=7)
    define(loop.settings, retrain=retrain)
    make_model_repository(loop.settings, stream)
    land(loop.settings, stream.frame(0, FIRST_ROWS), "first.csv")
    platform, product = Platform.from_settings(loop.settings), find_product(loop.settings, PRODUCT)
    mirror = platform.mirror(product)
    mirror.fetch()
    steps.report_commit(platform, product, str(mirror.head()), lambda _line: None)
    steps.verify_newest_commit(platform, product)
    return loop


def cold_plain(root: Path) -> tuple[float, dict[str, float]]:
    """Wall seconds of the plain script in a new process, and its own account."""
    loop = prepared(root)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / "plain_loop.py"), str(root), PRODUCT],
        env=dagster_environment(loop.settings),
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    loop.stop()
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, json.loads(done.stdout.splitlines()[-1])


def cold_materialize(root: Path) -> float:
    """Wall seconds of `dagster asset materialize` from the batch to production, without a warm process."""
    from mlauto.orchestration.platform import Platform
    from mlauto.training.batches.landing import FolderLanding, pending, plan

    loop = prepared(root)
    store = Platform.from_settings(loop.settings).store
    plan(store, PRODUCT, FolderLanding(root / "landing" / PRODUCT), time.time())
    key = pending(store, PRODUCT)[0]
    loop.instance.add_dynamic_partitions(f"{PRODUCT}_batches", [key])
    command = [str(BIN / "dagster"), "asset", "materialize", "-m", "mlauto.definitions", "--partition", key]
    command += ["--select", ",".join(f"key:{PRODUCT}/{step}" for step in STEPS).replace(",", " or ")]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env=dagster_environment(loop.settings),
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    loop.stop()
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return seconds


def warm_file(root: Path, times: int) -> tuple[list[float], dict[str, float]]:
    """Seconds from a data file's arrival to its model in production, in a running loop; and where the last one went."""
    loop = prepared(root, retrain="every_batch")
    demo = Demo(loop, Timeline("warm"), DemandStream(seed=7))
    observer = Observer(loop.instance, PRODUCT)
    loop.start()
    try:
        loop.wait_for("the first model in production", lambda: observer.materialized("production"), timeout=120)
        seconds, phases = [], {}
        for number in range(times):
            time.sleep(3)  # a file at a random moment of the sensor's beat, not right after its own run
            began = time.time()
            demo.land(demo.stream.frame(FIRST_ROWS + 500 * number, 500), f"batch-{number}.csv")
            loop.wait_for(
                "the new model in production", lambda b=began: observer.materialized("production", after=b), timeout=60
            )
            seen = {step: observer.materialized(step, after=began) for step in STEPS}
            phases = {step: found.time - began for step, found in seen.items() if found}
            seconds.append(phases["production"])
        return seconds, phases
    finally:
        loop.stop()


def reaction(settings: Settings, times: int) -> tuple[list[float], int]:
    """Seconds from the failing evaluation to the better model answering everything, from whole runs of the demo.

    And how many requests failed in all of them.
    """
    seconds, failed = [], 0
    for _ in range(times):
        path = settings.root / ".mlauto-demo.json"
        # a process for each, as users run it: MLflow keeps a deleted database open for as long as a process lives
        if subprocess.run([BIN / "mlauto", "demo", "--json", str(path)], cwd=settings.root, check=False).returncode:
            raise SystemExit(f"the demo failed: see {path}")
        summary = json.loads(path.read_text())["summary"]
        seconds.append(float(summary["from failing check to better model answering everything"].split()[0]))
        failed += int(summary["failed requests"])
    return seconds, failed


def memory(root: Path) -> dict[str, float]:
    """Proportional set size in MB of `dagster dev`, the warm process, the gateway and one model, after one delivery."""
    loop = prepared(root)
    observer = Observer(loop.instance, PRODUCT)
    loop.instance.get_runs(limit=1)
    loop.start(dev=True)
    try:
        loop.wait_for("the first model in production", lambda: observer.materialized("production"), timeout=120)
        time.sleep(5)
        return {f"{pid} {command[-60:]}": proportional(pid) for pid, command in loop.processes().items()}
    finally:
        loop.stop()


def proportional(pid: int) -> float:
    """A process's proportional set size in MB: shared pages are divided among those that share them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runtime", choices=["local", "docker"], default="local")
    options = parser.parse_args()
    times = 1 if options.quick else 5
    os.environ["MLAUTO_RUNTIME"] = options.runtime
    settings = Settings.from_environment()
    return (
        in_containers(settings, times, options.json)
        if options.runtime == "docker"
        else whole(settings, times, options.json)
    )


def in_containers(settings: Settings, times: int, path: Path | None) -> int:
    """The loop itself, on a real engine."""
    reactions, failed = reaction(settings, times)
    figures = [
        ("failing check to better model in containers, median s", statistics.median(reactions), 25.0),
        ("failed requests", float(failed), 0.0),
    ]
    Console(highlight=False).print("reactions:", reactions)
    return told(figures, path, {})


def whole(settings: Settings, times: int, path: Path | None) -> int:
    """All figures of the local runtime."""
    root = settings.root / ".mlauto-bench"
    plain, account = zip(*(cold_plain(root) for _ in range(min(times, 3))), strict=True)
    cold = [cold_materialize(root) for _ in range(min(times, 3))]
    warm, phases = warm_file(root, times)
    used = memory(root)
    reactions, failed = reaction(settings, times)
    base = statistics.median(plain)
    figures = [
        ("failing check to better model, median s", statistics.median(reactions), 15.0),
        ("cold materialize / cold plain script", statistics.median(cold) / base, 1.6),
        ("warm file to production / cold plain script", statistics.median(warm) / base, 0.75),
        ("memory of dagster dev, gateway, one model, MB", sum(used.values()), 1200.0),
        ("failed requests", float(failed), 0.0),
    ]
    console = Console(highlight=False)
    console.print(f"cold plain script {base:.2f} s:", {k: round(v, 2) for k, v in account[0].items()})
    console.print("warm, seconds after the file:", {k: round(v, 2) for k, v in phases.items()})
    console.print("reactions:", reactions, "warm:", [round(s, 2) for s in warm])
    console.print("memory, MB:", {k: round(v) for k, v in used.items()})
    return told(figures, path, {"plain": account[0], "warm": phases})


def told(figures: list[tuple[str, float, float]], path: Path | None, more: dict[str, object]) -> int:
    """Print and keep the figures; 0 when every target holds."""
    table = Table("figure", "measured", "target", "holds")
    for name, measured, target in figures:
        table.add_row(name, f"{measured:.2f}", f"<= {target:g}", "yes" if measured <= target else "NO")
    Console(highlight=False).print(table)
    if path:
        found = {name: {"measured": m, "target": t, "holds": m <= t} for name, m, t in figures}
        path.write_text(json.dumps({"figures": found, **more}, indent=2))
    return 0 if all(measured <= target for _, measured, target in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
