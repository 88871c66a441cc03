"""`mlauto backtest PRODUCT`: what each retraining policy would have made of a product's own batches, with its own code.

The policies are walked through here, from losses alone; the team's code makes them in its workshop. Which fits a policy
wants depends on what earlier ones showed: each round walks through what is known, notes what is missing, and has all of
that made at once. The answer is that of the walk in which nothing is missing.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from mlauto.commands.backtest import ALWAYS, GRID
from mlauto.commands.backtest_bench import Walks
from mlauto.commands.backtest_policy import NAMED, read_policy
from mlauto.commands.backtest_report import Report, publish, wide_console
from mlauto.commands.history import Plan
from mlauto.commands.replay_report import progress
from mlauto.commands.stored_history import read_history
from mlauto.errors import ProductError
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.product_training import Policy
from mlauto.training.backtest.asked_fits import AskedFits, MissingFitError
from mlauto.training.backtest.fits_maker import Maker
from mlauto.training.backtest.kept import forget_fits
from mlauto.training.backtest.walk import Outcome
from mlauto.training.weighting import History

__all__ = ["policy_name", "run_product_backtest"]

NO_LOSS = {"r2": "rmse or mae", "auc": "log_loss"}  # what has one instead


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
    if product.metric in NO_LOSS:
        raise ProductError(
            f"{product.name}: a backtest cannot judge by monitoring.metric {product.metric}, which single rows do not"
            f" have: set {NO_LOSS[product.metric]} to try policies"
        )
    console = console or wide_console()
    own = policy_name(product)
    named = {text: read_policy(text) for text in dict.fromkeys((*(policies or NAMED), *ALWAYS))}
    named[own] = product.training.policy
    history = read_history(platform, product, initial)
    data, commit = product.data, history.commit
    plan = Plan(
        target=data.target,
        task=data.task,
        timestamp=data.timestamp,
        exclude=data.exclude,
        batches=history.batches,
        initial=initial,
        delay=delay,
        measure=product.metric,
    )
    forget_fits(cache)
    fits = history.fits(product, cache)
    tree = platform.tree(product, commit)
    scratch = platform.store.scratch("backtest")
    try:
        history.frame.to_parquet(scratch / "frame.parquet", index=False)
        run_python = platform.workshop.python(tree)
        maker = Maker(fits, product, tree, scratch / "frame.parquet", platform.store, run_python)
        played, fixed = _Rounds(Walks(plan, product, fits), fits, maker, named).answer(console)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    model = f"{product.code.estimator} at {commit.sha[:8]}"
    report = Report.of(played, fixed, plan, file=product.name, model=model, own=own)
    publish(report, json_path, chart, console)
    return report


def policy_name(product: ModelProduct) -> str:
    """The product's own policy as its YAML has it: a name, or its knobs in one line."""
    retrain = product.training.retrain
    if isinstance(retrain, str):
        return retrain
    return yaml.safe_dump(retrain.model_dump(exclude_unset=True), default_flow_style=True, width=1000).strip()


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
