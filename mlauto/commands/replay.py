"""`mlauto replay`: a real CSV drives the real loop: batches land in order, traffic and labels follow.

The protocol is test-then-train per batch: each batch is predicted by the version that is live before its labels may
be used; `delay` batches later its labels come back and its file lands. The client counts what is printed at the end.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from rich.console import Console

from mlauto.commands.client import GatewayClient, Outcome, rows_of
from mlauto.commands.history import Plan, attributes_of, cut
from mlauto.commands.loop import Loop
from mlauto.commands.observe import Observer
from mlauto.commands.replay_report import BatchResult, ReplayResult, print_result, progress, write_report
from mlauto.records import Action, Deployment, TrainedModel
from mlauto.settings import Settings
from mlauto.store import Store, atomic_write

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run_replay"]

PRODUCT = "replayed"
ROWS_PER_REQUEST = 50
PATIENCE = 120.0
BUSY = frozenset({Action.RETRAIN, Action.ROLL_BACK, Action.COOL_DOWN})


def run_replay(
    settings: Settings,
    csv: Path,
    *,
    target: str,
    task: str,
    timestamp: str | None = None,
    exclude: Sequence[str] = (),
    batches: int = 50,
    initial: int = 5,
    delay: int = 0,
    most: int | None = None,
    json_path: Path | None = None,
    report: Path | None = None,
    console: Console | None = None,
) -> ReplayResult:
    """Replay `csv` in a scratch installation below `settings.root`; at most `most` batches are predicted, if given.

    Raises `ProductError` when the file does not support what is asked, `MlautoError` when the loop does not move on.
    """
    from mlauto.commands.proposal import read_source

    console = console or Console(highlight=False)
    plan = Plan(
        target=target,
        task=task,
        timestamp=timestamp,
        exclude=tuple(exclude),
        batches=batches,
        initial=initial,
        delay=delay,
    )
    plan.check()
    parts = cut(read_source(csv, timestamp), batches)
    loop = Loop.scratch(settings.root / ".mlauto-replay")
    try:
        result = _Replay(loop, plan, parts[: initial + most] if most else parts, csv.name).run(console)
    finally:
        loop.stop()
    path = report or Path(f"replay-{csv.stem}.html")
    write_report(path, result)
    if json_path is not None:
        atomic_write(json_path, msgspec.json.format(msgspec.json.encode(asdict(result))))
    print_result(console, result, path)
    return result


class _Replay:
    """One replay: what was sent, what came back, and waiting until the loop is done with each batch."""

    def __init__(self, loop: Loop, plan: Plan, parts: Sequence["pd.DataFrame"], name: str) -> None:
        self.loop = loop
        self.plan = plan
        self.parts = parts
        self.name = name
        self.store = Store(loop.settings.home)
        self.observer = Observer(loop.instance, PRODUCT)
        self.answered: dict[int, list[Outcome]] = {}
        self.excluded: Sequence[str] = plan.exclude
        self.requests = self.failed = 0

    def run(self, console: Console) -> ReplayResult:
        """The whole protocol."""
        began = time.monotonic()
        with progress(console) as bar:
            initial = bar.add_task("initial training set", total=self.plan.initial + 1)
            for number in self._prepare():
                bar.update(initial, completed=number)
            live = bar.add_task("live batches", total=len(self.parts) - self.plan.initial)
            results = []
            settings = self.loop.settings
            with GatewayClient(settings.gateway_url, PRODUCT, credentials=settings.credentials) as client:
                for number in range(self.plan.initial, len(self.parts)):
                    results.append(self._batch(client, number))
                    loss = _prequential(results)
                    bar.update(live, advance=1, description=f"live batches, prequential loss {loss:.4g}")
        read, names = self.store.read_record, self.store.record_names(PRODUCT, "models")
        models = [read(PRODUCT, f"models/{name}", TrainedModel) for name in names]
        fitted = [model for model in models if model is not None and model.renewal is None]
        return ReplayResult(
            file=self.name,
            metric=self.plan.metric,
            prequential=_prequential(results),
            trainings=len(fitted) - 1,
            renewals=len(models) - len(fitted),
            rollouts=sum(1 for _ in self.store.record_names(PRODUCT, "deployments")),
            requests=self.requests,
            failed_requests=self.failed,
            quarantined=self._quarantined(),
            seconds=time.monotonic() - began,
            batches=tuple(results),
        )

    def _prepare(self) -> Iterator[int]:
        """Make the product, land the initial batches one by one, and let the first model go live."""
        import pandas as pd

        from mlauto.commands.new import make_repository
        from mlauto.commands.proposal import propose

        plan, settings = self.plan, self.loop.settings
        first = pd.concat(self.parts[: plan.initial])
        proposal = propose(first, target=plan.target, task=plan.task, timestamp=plan.timestamp, exclude=plan.exclude)
        self.excluded = proposal.exclude
        _define(settings, plan, proposal.exclude, first, len(self.parts[0]))
        self.loop.start()
        for number in range(plan.initial):  # without a commit there is nothing to train, so these only gather
            self._land(number)
            yield number + 1
        make_repository(settings.root / "models" / PRODUCT, PRODUCT, proposal)
        self.loop.wait_for("the first model in production", self._production, timeout=PATIENCE)
        yield plan.initial + 1

    def _production(self) -> str | None:
        production = self.store.read_record(PRODUCT, "production", Deployment)
        return production.version if production else None

    def _land(self, number: int) -> None:
        """Drop one batch's file, and wait until Dagster has its verdict and the training set follows."""
        folder = self.loop.settings.root / "landing" / PRODUCT
        folder.mkdir(parents=True, exist_ok=True)
        partial, began = folder / f".batch-{number:03d}.csv.part", time.time()
        self.parts[number].to_csv(partial, index=False)
        os.utime(partial, (began - 60, began - 60))  # complete, and seen as such at first sight
        partial.rename(folder / f"batch-{number:03d}.csv")
        verdict = self.loop.wait_for(
            f"the verdict on batch {number}",
            lambda: self.observer.check("batch", "expectations", after=began),
            timeout=PATIENCE,
        )
        if verdict.passed:
            self.loop.wait_for(
                f"the training set with batch {number}",
                lambda: self.observer.materialized("training_set", after=began),
                timeout=PATIENCE,
            )

    def _batch(self, client: GatewayClient, number: int) -> BatchResult:
        """Predict a batch, then give back the labels and the file of the one that is due, and let the loop react."""
        began = time.monotonic()
        part = self.parts[number]
        truth = part[self.plan.target].tolist()
        dropped = [name for name in (self.plan.target, self.plan.timestamp, *self.excluded) if name]
        features = rows_of(part.drop(columns=dropped))
        outcomes = [client.ask(features[i : i + ROWS_PER_REQUEST]) for i in range(0, len(features), ROWS_PER_REQUEST)]
        self.requests += len(outcomes)
        self.failed += sum(not outcome.ok for outcome in outcomes)
        self.answered[number] = outcomes
        due = number - self.plan.delay
        if due in self.answered:
            self._land(due)  # first: what its labels may lead to is to be trained on this batch too
            self._label(client, due)
            self._settle()
        return BatchResult(
            number=number + 1,
            rows=len(part),
            loss=_loss(self.plan.task, truth, outcomes),
            version=outcomes[-1].version or "none",
            seconds=time.monotonic() - began,
        )

    def _label(self, client: GatewayClient, number: int) -> None:
        truth, at, labels = self.parts[number][self.plan.target].tolist(), 0, {}
        for outcome in self.answered.pop(number):
            found = truth[at : at + outcome.rows]
            if outcome.prediction_id is not None and all(map(_known, found)):
                labels[outcome.prediction_id] = found
            at += outcome.rows
        client.label(labels)

    def _settle(self) -> None:
        """Wait until the live sensor has judged everything that was sent, and what it asked for is done."""
        since = time.time()

        def settled() -> bool:
            seen = self.store.read_record(PRODUCT, "live_tick", dict[str, Any])
            if seen is None or seen["measured"] < since or seen["delivering"] or seen["action"] in BUSY:
                return False
            return not self._active()

        self.loop.wait_for("the live sensor to have nothing left to do", settled, timeout=PATIENCE)

    def _active(self) -> bool:
        from mlauto.orchestration.sensors.work import active

        return active(self.loop.instance, {"mlauto/product": PRODUCT})

    def _quarantined(self) -> int:
        base = self.loop.settings.product_home(PRODUCT) / "quarantine"
        return len(list(base.iterdir())) if base.is_dir() else 0


def _define(settings: Settings, plan: Plan, exclude: Sequence[str], first: "pd.DataFrame", rows: int) -> None:
    """Write the product's YAML and the suite that its first batches propose; judged on windows of one batch."""
    from mlauto.training.batches.quality import propose_suite

    folder = settings.defs / PRODUCT
    folder.mkdir(parents=True)
    suite = propose_suite(first, target=plan.target, timestamp=plan.timestamp)
    (folder / "expectations.json").write_text(json.dumps(suite, indent=2))
    attributes = attributes_of(PRODUCT, plan, exclude, rows)
    document = {"type": "mlauto.ModelProduct", "attributes": attributes}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def _known(label: object) -> bool:
    """Whether a row's truth is there at all: neither None nor NaN."""
    return label is not None and label == label  # noqa: PLR0124 - what NaN is not


def _prequential(results: Sequence[BatchResult]) -> float:
    """Mean loss over all rows of the batches that were answered; NaN when none was."""
    scored = [result for result in results if not math.isnan(result.loss)]
    rows = sum(result.rows for result in scored)
    return sum(result.loss * result.rows for result in scored) / rows if rows else math.nan


def _loss(task: str, truth: Sequence[Any], outcomes: Sequence[Outcome]) -> float:
    """Mean loss of the rows that were answered and whose truth is known; NaN when there is none."""
    losses, at = [], 0
    for outcome in outcomes:
        pairs = zip(truth[at : at + outcome.rows], outcome.predictions, strict=False)
        losses += [abs(y - p) if task == "regression" else float(y != p) for y, p in pairs if _known(y)]
        at += outcome.rows
    return sum(losses) / len(losses) if losses else math.nan
