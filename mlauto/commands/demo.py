"""`mlauto demo`: the whole loop on embedded defaults, headless, and proof that every step of it was observed.

Nothing is asked of the loop's own memory: what counts is Dagster's event log, MLflow's registry, the server's answers
and the files in quarantine.
"""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from mlauto.commands.client import GatewayClient, rows_of
from mlauto.commands.example import FIRST_ROWS, PRODUCT, TARGET, TIMESTAMP, define, land, make_model_repository
from mlauto.commands.loop import Loop
from mlauto.commands.observe import CheckSeen, Materialized, Observer
from mlauto.commands.stream import DemandStream, corrupt
from mlauto.commands.timeline import StepInProgress, Timeline
from mlauto.commands.traffic import Request, Traffic
from mlauto.errors import MlautoError
from mlauto.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Demo", "LiveStream", "run_demo"]

NOT_FEATURES = (TIMESTAMP, TARGET)
BATCH_ROWS = 500
DRIFT_AT = 100_000  # rows before it are the old world; the demo's clock jumps there
RATE = 40.0
RED_TEST = "def test_that_somebody_broke():\n    assert 1 + 1 == 3\n"


class LiveStream:
    """An endless stream of one-row requests with their labels; `jump` moves it to another place in the data."""

    def __init__(self, stream: DemandStream, start: int) -> None:
        self._stream = stream
        self._at = start

    def jump(self, row: int) -> None:
        """Go on from that row, from the next block on."""
        self._at = row

    def __iter__(self) -> Iterator[Request]:
        while True:
            at, self._at = self._at, self._at + 20
            frame = self._stream.frame(at, 20)
            rows = rows_of(frame.drop(columns=list(NOT_FEATURES)))
            for row, label in zip(rows, frame[TARGET].tolist(), strict=True):
                yield Request(rows=[row], labels=[label])


@dataclass
class Demo:
    """One run of the demo: the loop, what looks at it, and what was learned on the way."""

    loop: Loop
    timeline: Timeline
    stream: DemandStream

    def __post_init__(self) -> None:
        self.observer = Observer(self.loop.instance, PRODUCT)
        self.repository = self.loop.settings.root / "models" / PRODUCT

    # -- what the world does --------------------------------------------------------------------------------------

    def commit(self, path: str, content: str, message: str) -> str:
        """Somebody commits a file to the product's model repository; the SHA."""
        (self.repository / path).write_text(content)
        _git(self.repository, "add", "--all")
        _git(self.repository, "commit", "--quiet", "--message", message)
        return _git(self.repository, "rev-parse", "HEAD")

    def land(self, frame: "pd.DataFrame", name: str) -> None:
        """Somebody drops a data file into the landing folder."""
        land(self.loop.settings, frame, name)

    # -- what we see ----------------------------------------------------------------------------------------------

    def see(self, step: StepInProgress, asset: str, *, after: float, timeout: float = 60.0) -> Materialized:
        """Wait for a materialization that is newer than `after`."""
        step.waiting(asset)
        what = f"materialization of {PRODUCT}/{asset}"
        return self.loop.wait_for(what, lambda: self.observer.materialized(asset, after=after), timeout=timeout)

    def see_check(
        self, step: StepInProgress, asset: str, name: str, *, passed: bool, after: float, timeout: float = 60.0
    ) -> CheckSeen:
        """Wait for an evaluation with that outcome that is newer than `after`; the oldest such one."""
        step.waiting(f"check {name}")

        def found() -> CheckSeen | None:
            seen = [c for c in self.observer.checks(asset, name) if c.time > after and c.passed is passed]
            return seen[-1] if seen else None

        wanted = "pass" if passed else "fail"
        return self.loop.wait_for(f"check {name} of {PRODUCT}/{asset} to {wanted}", found, timeout=timeout)

    def stage(self, step: StepInProgress, told: str, *, after: float) -> Materialized:
        """Wait for production to be materialized with the rollout in that stage."""
        step.waiting(told)

        def found() -> Materialized | None:
            seen = self.observer.materialized("production", after=after)
            return seen if seen is not None and str(seen.metadata.get("rollout", "")).startswith(told) else None

        return self.loop.wait_for(told, found, timeout=60.0)

    def live_version(self) -> str | None:
        """The version that the running server names in its metadata."""
        try:
            settings = self.loop.settings
            url = f"{settings.gateway_url}/v2/models/{PRODUCT}"
            answer = httpx.get(url, headers=settings.credentials, timeout=5, trust_env=False)
        except httpx.TransportError:
            return None
        versions = answer.json().get("versions") if answer.is_success else None
        return str(versions[0]) if versions else None

    def champion(self) -> tuple[str, str]:
        """Version and run id behind MLflow's alias `champion`, asked of MLflow itself."""
        from mlflow import MlflowClient

        version = MlflowClient(self.loop.settings.mlflow_uri).get_model_version_by_alias(PRODUCT, "champion")
        return str(version.version), str(version.run_id)

    def is_champion(self, version: str) -> None:
        """Wait until MLflow says so too: it is told right after the gateway."""
        self.loop.wait_for(f"version {version} as MLflow's champion", lambda: self.champion()[0] == version, timeout=10)

    def unchanged(self, step: StepInProgress, version: str, since: float) -> None:
        """Raise unless production is what it was."""
        if self.observer.materialized("production", after=since) is not None:
            raise MlautoError("production was materialized again although nothing good arrived")
        if (live := self.live_version()) != version:
            raise MlautoError(f"the live server answers with version {live}, not {version}")
        step.saw("production unchanged", f"version {version}")


def run_demo(settings: Settings, json_path: Path | None = None) -> bool:
    """Run the demo below `settings.root/.mlauto-demo`; True when every step was observed. Writes JSON if asked to."""
    timeline = Timeline("mlauto: one model's whole life, unattended")
    loop = Loop.scratch(settings.root / ".mlauto-demo")
    try:
        demo = Demo(loop, timeline, DemandStream(seed=7, drift_at=DRIFT_AT))
        _play(demo)
    except MlautoError as error:
        number = len(timeline.steps)
        timeline.finish({"failed step": f"{number}: {error}"})
    finally:
        loop.stop()
        if json_path is not None:
            timeline.write_json(json_path)
    return timeline.passed


def _play(demo: Demo) -> None:
    _first_commit(demo)
    version = _first_model(demo)
    live = LiveStream(demo.stream, FIRST_ROWS)
    settings = demo.loop.settings
    users = GatewayClient(settings.gateway_url, PRODUCT, credentials=settings.credentials)
    with users as client, Traffic(client, live, rate=RATE) as traffic:
        _healthy(demo, traffic, version)
        version = _new_code(demo, traffic, version)
        _red_commit(demo, version)
        _corrupt_file(demo, version)
        seconds, fresh = _drift(demo, live, traffic, version)
        _healthy_again(demo, traffic, fresh)
        tally = traffic.stop()
    tally.require_no_failure()
    demo.timeline.finish(
        {
            "from failing check to better model answering everything": f"{seconds:.1f} s",
            "requests": tally.requests,
            "failed requests": tally.failures,
            "answered by version": tally.by_version,
            "latency p50 / p99": f"{tally.p50_ms:.1f} / {tally.p99_ms:.1f} ms",
        }
    )


def _first_commit(demo: Demo) -> None:
    with demo.timeline.step("A commit arrives: its linters and tests run, it becomes the verified commit") as step:
        began = time.time()
        define(demo.loop.settings)
        make_model_repository(demo.loop.settings, demo.stream)
        sha = _git(demo.repository, "rev-parse", "HEAD")
        demo.loop.start()
        demo.see(step, "ci_report", after=began)
        for name in ("lint", "tests"):
            seen = demo.see_check(step, "ci_report", name, passed=True, after=began)
            step.saw(name, seen.description)
        verified = demo.see(step, "verified_commit", after=began)
        _require(verified.metadata["commit"] == sha, "another commit was verified")
        step.saw("verified commit", f"{sha[:12]} {verified.metadata['subject']}")


def _first_model(demo: Demo) -> str:
    with demo.timeline.step("The first data lands: validated, a model is trained, verified, and goes live") as step:
        began = time.time()
        demo.land(demo.stream.frame(0, FIRST_ROWS), "2025-01.csv")
        step.saw("expectations", demo.see_check(step, "batch", "expectations", passed=True, after=began).description)
        step.saw("training set", f"{demo.see(step, 'training_set', after=began).metadata['dagster/row_count']} rows")
        model = demo.see(step, "model", after=began)
        step.saw("model", f"version {model.metadata['version']}, MAE {model.metadata['mae']:.2f}")
        step.saw("image", demo.see(step, "image", after=began).metadata["digest"].removeprefix("sha256:")[:12])
        for name in ("contract", "parity", "latency"):
            step.saw(name, demo.see_check(step, "test_deployment", name, passed=True, after=began).description)
        version = str(demo.see(step, "production", after=began).metadata["version"])
        _require(demo.live_version() == version, "the live server does not name the released version")
        champion, run_id = demo.champion()
        _require(champion == version, f"MLflow's champion is version {champion}, not {version}")
        step.saw("MLflow", f"champion is version {champion}, run {run_id}")
        step.saw("production", f"version {version} answers on {demo.loop.settings.gateway_url}")
        return version


def _healthy(demo: Demo, traffic: Traffic, version: str) -> None:
    with demo.timeline.step("Users come, their labels follow: the live metrics are healthy") as step:
        began = time.time()
        for name in ("performance", "service_level"):
            seen = demo.see_check(step, "live_metrics", name, passed=True, after=began)
            step.saw(name, seen.description)
        demo.loop.wait_for("a verdict on enough labels", lambda: _healthy_verdict(demo, began, version), timeout=60)
        step.saw("live metrics", _facts(demo.see(step, "live_metrics", after=began).metadata))
        step.saw("requests so far", traffic.tally().requests)


def _healthy_verdict(demo: Demo, after: float, version: str) -> float | None:
    """When it was recorded; its checks follow at once."""
    seen = demo.observer.materialized("live_metrics", after=after)
    good = seen is not None and (seen.metadata["verdict"], seen.metadata["version"]) == ("healthy", version)
    return seen.time if seen is not None and good else None


def _facts(metadata: Any) -> str:
    return f"{metadata['verdict']}: MAE {metadata['mae']:.2f} on {metadata['labelled']} labels"


def _new_code(demo: Demo, traffic: Traffic, version: str) -> str:
    with demo.timeline.step("Better code arrives: its model gets copies of requests, then a share, then all") as step:
        began = time.time()
        model = (demo.repository / PRODUCT / "model.py").read_text()
        demo.commit(f"{PRODUCT}/model.py", f"{model}\n# Reviewed once more.\n", "Review the model")
        newest = str(demo.see(step, "model", after=began).metadata["version"])
        for stage in ("shadow", "canary of 25 %", "baking"):
            seen = demo.stage(step, f"version {newest} {stage}", after=began)
            step.saw(stage, seen.metadata["rollout"].partition(": ")[2])

        def shared() -> bool:
            now = traffic.answering
            return now is not None and now.version == newest and now.requests >= 20

        step.waiting(f"version {newest} answering everything")
        demo.loop.wait_for(f"version {newest} answering everything", shared)
        demo.is_champion(newest)
        tally = traffic.tally()
        tally.require_no_failure()
        step.saw("requests", f"{tally.requests}, {tally.failures} failed; {version} is the fallback")
        return newest


def _red_commit(demo: Demo, version: str) -> None:
    with demo.timeline.step("A red commit arrives: it is stopped at its report") as step:
        began = time.time()
        verified = demo.observer.materialized("verified_commit")
        sha = demo.commit("tests/test_broken.py", RED_TEST, "Break something")
        seen = demo.see_check(step, "ci_report", "tests", passed=False, after=began)
        step.saw("tests", seen.description)
        step.waiting("the run to end")
        runs = demo.loop.wait_for("the end of the red commit's run", lambda: _ended(demo, f"{PRODUCT}/commit/{sha}"))
        step.saw("run", runs)
        _require(demo.observer.materialized("verified_commit") == verified, "the red commit was verified")
        demo.unchanged(step, version, began)


def _ended(demo: Demo, work: str) -> str | None:
    import dagster as dg

    runs = demo.loop.instance.get_runs(dg.RunsFilter(tags={"mlauto/work": work}))
    ended = [run for run in runs if run.is_finished]
    return f"{ended[0].run_id[:8]} {ended[0].status.value.lower()}" if ended else None


def _corrupt_file(demo: Demo, version: str) -> None:
    with demo.timeline.step("A corrupt file arrives: it goes to quarantine, with the reasons") as step:
        began = time.time()
        demo.land(corrupt(demo.stream.frame(FIRST_ROWS, BATCH_ROWS)), "corrupt.csv")
        seen = demo.see_check(step, "batch", "expectations", passed=False, after=began)
        step.saw("expectations", seen.description)
        quarantine = demo.loop.settings.product_home(PRODUCT) / "quarantine"
        files = sorted(path.name for path in quarantine.glob("*/*"))
        _require("reason.json" in files and "corrupt.csv" in files, f"quarantine holds {files}")
        step.saw("quarantine", ", ".join(files))
        demo.unchanged(step, version, began)


def _drift(demo: Demo, live: LiveStream, traffic: Traffic, version: str) -> tuple[float, str]:
    with demo.timeline.step("The world drifts: the live check fails, a fresh model is trained and rolled out") as step:
        began = time.time()
        demo.land(demo.stream.frame(DRIFT_AT, BATCH_ROWS), "2036-05.csv")
        demo.see_check(step, "batch", "expectations", passed=True, after=began)
        demo.see(step, "training_set", after=began)
        live.jump(DRIFT_AT + BATCH_ROWS)
        failing = demo.see_check(step, "live_metrics", "performance", passed=False, after=began)
        step.saw("performance", f"FAILED: {failing.description}")
        model = demo.see(step, "model", after=failing.time)
        fresh = str(model.metadata["version"])
        _require(fresh != version, "the same model was delivered again")
        step.saw("model", f"version {fresh}, MAE {model.metadata['mae']:.2f}: {model.metadata['reason']}")
        demo.see_check(step, "model", "not_worse_than_champion", passed=True, after=failing.time)
        demo.see(step, "production", after=failing.time)

        def answering() -> float | None:
            now = traffic.answering
            return now.since if now is not None and now.version == fresh and now.requests >= 20 else None

        step.waiting(f"version {fresh} answering everything")
        seconds = demo.loop.wait_for(f"version {fresh} answering everything", answering) - failing.time
        _require(demo.live_version() == fresh, "the live server does not name the fresh version")
        demo.is_champion(fresh)
        step.saw("from failing check to better model answering everything", f"{seconds:.1f} s")
        return seconds, fresh


def _healthy_again(demo: Demo, traffic: Traffic, fresh: str) -> None:
    with demo.timeline.step("The check passes again, and not one request failed") as step:
        began = time.time()
        healthy = demo.loop.wait_for("a healthy verdict", lambda: _healthy_verdict(demo, began, fresh))
        seen = demo.see_check(step, "live_metrics", "performance", passed=True, after=healthy - 0.5)
        step.saw("performance", seen.description)
        tally = traffic.tally()
        tally.require_no_failure()
        step.saw("requests", f"{tally.requests}, {tally.failures} failed")


def _require(held: bool, otherwise: str) -> None:
    if not held:
        raise MlautoError(otherwise)


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
