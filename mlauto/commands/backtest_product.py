"""`mlauto backtest PRODUCT`: what each retraining policy would have made of a product's own batches, with its own code.

The policies are walked through here, from losses alone; the team's code makes them in its workshop. Which fits a policy
wants depends on what earlier ones showed: each round walks through what is known, notes what is missing, and has all of
that made at once. The answer is that of the walk in which nothing is missing.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from mlauto.commands.backtest import ALWAYS, GRID
from mlauto.commands.backtest_bench import Walks
from mlauto.commands.backtest_policy import NAMED, read_policy
from mlauto.commands.backtest_report import Report, publish, wide_console
from mlauto.commands.history import Plan
from mlauto.commands.replay_report import progress
from mlauto.errors import DataError, ProductError, StoreError, TrainingError
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct, Policy
from mlauto.records import Commit, VerifiedCommit
from mlauto.store import Store, digest_of
from mlauto.training.asked_fits import AskedFits, MissingFitError
from mlauto.training.backtest import Outcome
from mlauto.training.deciding import History
from mlauto.training.fits import forget_fits
from mlauto.training.fits_maker import Maker
from mlauto.training.frames import joined
from mlauto.training.roles import features_of, labels_of
from mlauto.training.training_set import AcceptedBatch, accepted_batches

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["policy_name", "run_product_backtest"]

UNJUDGED = {"r2": "its verdict needs the labels beside the losses: backtest with monitoring.metric rmse or mae"}


def run_product_backtest(
    platform: Platform,
    product: ModelProduct,
    *,
    cache: Path,
    initial: int = 5,
    delay: int = 0,
    policies: Sequence[str] = (),
    json_path: Path | None = None,
    chart: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Play the product's own policy beside `policies` and the histories of the grid, as `run_backtest` does for a file.

    Raises `MlautoError` when there are too few batches, one is missing, no commit was verified, or the code fails.
    """
    console = console or wide_console()
    if product.metric in UNJUDGED:
        raise ProductError(
            f"{product.name}: monitoring.metric {product.metric} is not supported here, {UNJUDGED[product.metric]}"
        )
    own = policy_name(product)
    named = {text: read_policy(text) for text in dict.fromkeys((*(policies or NAMED), *ALWAYS))}
    named[own] = product.training.policy
    batches = _batches(platform.store, product.name, initial)
    commit = _verified(platform.store, product.name).commit
    forget_fits(cache)
    data = product.data
    plan = Plan(
        target=data.target,
        task=data.task,
        timestamp=data.timestamp,
        exclude=data.exclude,
        batches=len(batches),
        initial=initial,
        delay=delay,
        measure=product.metric,
    )
    played, fixed = _answered(platform, product, commit, plan, batches, named, cache, console)
    model = f"{product.code.estimator} at {commit.sha[:8]}"
    report = Report.of(played, fixed, plan, file=product.name, model=model, own=own)
    publish(report, json_path, chart, console)
    return report


def _answered(
    platform: Platform,
    product: ModelProduct,
    commit: Commit,
    plan: Plan,
    batches: Sequence[AcceptedBatch],
    policies: Mapping[str, Policy],
    cache: Path,
    console: Console,
) -> tuple[dict[str, Outcome], dict[History, Outcome]]:
    """What policies and histories come to, with the code of that commit."""
    store, data = platform.store, product.data
    frame, edges = _rows(store, product.name, batches)
    fits = AskedFits(
        features_of(frame, data.target, data.timestamp, *data.exclude),
        labels_of(frame, data.target, data.task),
        edges=edges,
        metric=product.metric,
        cache=cache,
        inputs=_inputs(platform, product, batches, commit.tree),
        sigmas=product.training.not_worse_sigmas,
    )
    tree = platform.tree(product, commit)
    scratch = store.scratch("backtest")
    try:
        frame.to_parquet(scratch / "frame.parquet", index=False)
        maker = Maker(fits, product, tree, scratch / "frame.parquet", store, platform.workshop.python(tree))
        return _Rounds(Walks(plan, product, fits), fits, maker, policies).answer(console)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def policy_name(product: ModelProduct) -> str:
    """The product's own policy as its YAML has it: a name, or its knobs in one line."""
    retrain = product.training.retrain
    if isinstance(retrain, str):
        return retrain
    knobs = retrain.model_dump(exclude_unset=True)
    return yaml.safe_dump(knobs, default_flow_style=True, width=1000).strip()


def _batches(store: Store, name: str, initial: int) -> tuple[AcceptedBatch, ...]:
    batches = accepted_batches(store, name).batches
    if not batches:
        raise DataError(f"{name} has no accepted batch yet: put data files into its landing folder")
    if len(batches) <= initial:
        fewer = f"use --initial {len(batches) - 1} or fewer, or " if len(batches) > 1 else ""
        raise DataError(
            f"{name} has {len(batches)} accepted batches, and --initial {initial} leaves nothing to predict:"
            f" {fewer}let more data land"
        )
    return batches


def _verified(store: Store, name: str) -> VerifiedCommit:
    verified = store.read_record(name, "verified_commit", VerifiedCommit)
    if verified is None:
        raise TrainingError(
            f"{name}: no verified commit yet: let `mlauto dev` run, or materialize {name}/verified_commit"
        )
    return verified


def _rows(store: Store, name: str, batches: Sequence[AcceptedBatch]) -> "tuple[pd.DataFrame, tuple[int, ...]]":
    """All rows as training sees them, and where each batch begins and the last one ends."""
    import pandas as pd

    frames = []
    for batch in batches:
        try:
            frames.append(pd.read_parquet(store.verified_file(batch.digest)))
        except StoreError as error:
            raise StoreError(f"batch {batch.key} of {name} cannot be read: {error}") from error
    return joined(frames), (0, *accumulate(map(len, frames)))


def _inputs(platform: Platform, product: ModelProduct, batches: Sequence[AcceptedBatch], tree: str) -> str:
    """Digest of what determines a fit beside its part of the history."""
    data = product.data
    roles = (data.target, data.task, data.timestamp, sorted(data.exclude))
    code = (product.code.estimator, tree, product.training.seed)
    return digest_of("stored", [batch.digest for batch in batches], roles, code, platform.workshop.environment())


@dataclass
class _Rounds:
    walks: Walks
    fits: AskedFits
    maker: Maker
    policies: Mapping[str, Policy]

    def answer(self, console: Console) -> tuple[dict[str, Outcome], dict[History, Outcome]]:
        """Walk and make, until nothing is missing; each round makes at least one fit that was missing."""
        with progress(console) as bar:
            shown, total = bar.add_task("fits", total=None), 0
            while True:
                fixed = self._fixed()
                played = self._played()
                missing, self.fits.missing = self.fits.missing, {}
                if not missing:
                    return played, fixed
                total += len(missing)
                bar.update(shown, total=total)
                self.maker.make(list(missing.values()), lambda: bar.advance(shown))

    def _fixed(self) -> dict[History, Outcome]:
        """The grid's; that of the product's own history asks for what most policies need."""
        self.fits.blind = True
        histories = dict.fromkeys((*GRID, History(half_life=self.walks.product.training.half_life)))
        found = {history: self.walks.fixed(history) for history in histories}
        self.fits.blind = False
        return {history: found[history] for history in GRID}

    def _played(self) -> dict[str, Outcome]:
        played = {}
        for name, policy in self.policies.items():
            with suppress(MissingFitError):
                played[name] = self.walks.play(policy)
        return played
