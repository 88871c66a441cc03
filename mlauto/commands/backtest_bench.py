"""One process's part of a backtest: the history read from its file, the model to fit, and both ways through it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlauto.commands.backtest_policy import LiveCheck, LivePolicy
from mlauto.commands.history import Plan, attributes_of, edges_of, roles_of
from mlauto.commands.proposal import Proposal, read_source
from mlauto.product import ModelProduct
from mlauto.product_training import Policy
from mlauto.store import digest_of, file_digest
from mlauto.training.backtest.baselines import baseline
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Models
from mlauto.training.backtest.walk import Outcome, simulate
from mlauto.training.deciding import Check, Choice, Decide
from mlauto.training.estimator import build, import_root, seed
from mlauto.training.weighting import History, Member

__all__ = ["Bench", "Job", "Walks"]

LIBRARIES = ("numpy", "pandas", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process needs to make any fit of a run; a model of one's own is imported from below `root`."""

    data: Path
    plan: Plan
    model: str
    root: Path
    cache: Path


class Walks:
    """Both ways through a history: as the live loop would decide on `product`, and by one history throughout."""

    def __init__(self, plan: Plan, product: ModelProduct, fits: Models) -> None:
        self.plan = plan
        self.product = product
        self.fits = fits

    def play(self, policy: Policy, on_batch: Callable[[], None] | None = None) -> Outcome:
        """One policy through the whole history, decided as the live loop decides."""
        product = self.product.model_copy(
            update={"training": self.product.training.model_copy(update={"retrain": policy})}
        )
        decide = LivePolicy(product, self.plan.delay)
        return self._simulate(decide, decide.members, LiveCheck(product), on_batch)

    def fixed(self, history: History) -> Outcome:
        """One history, trained on after every batch, whatever it shows."""
        members = (Member(history=history),)
        return self._simulate(lambda _: Choice(train=True, reason="every batch", members=members), members, None, None)

    def _simulate(
        self, decide: Decide, members: tuple[Member, ...], check: Check | None, on_batch: Callable[[], None] | None
    ) -> Outcome:
        plan = self.plan
        return simulate(
            self.fits,
            decide,
            metric=plan.metric,
            batches=plan.batches,
            initial=plan.initial,
            delay=plan.delay,
            members=members,
            check=check,
            on_batch=on_batch,
        )


class Bench(Walks):
    """A process's own copy of the history, and its way to fits. Raises `MlautoError` for a history that is none."""

    fits: Fits

    def __init__(self, job: Job) -> None:
        plan = job.plan
        frame = read_source(job.data, plan.timestamp)
        self.proposal = roles_of(frame, plan)
        self.edges = edges_of(len(frame), plan.batches)
        target = frame[plan.target]
        labels = target.to_numpy(dtype="float64") if plan.task == "regression" else target.to_numpy()
        dropped = {plan.target, plan.timestamp, *self.proposal.exclude}
        columns = [name for name in frame.columns if name not in dropped]
        roles = (plan.target, plan.task, plan.timestamp, sorted(self.proposal.exclude))
        attributes = attributes_of("backtest", plan, self.proposal.exclude, self.edges[1])
        product = ModelProduct.model_validate(attributes)
        estimator, code = _estimator(job, self.proposal, product.training.seed)
        fits = Fits(
            frame[columns],
            labels,
            edges=self.edges,
            metric=plan.metric,
            estimator=estimator,
            cache=job.cache,
            inputs=digest_of(file_digest(job.data), roles, repr(estimator), code, [version(one) for one in LIBRARIES]),
            sigmas=product.training.limit(new_code=False),
        )
        super().__init__(plan, product, fits)


def _estimator(job: Job, proposal: Proposal, number: int) -> tuple[Any, str]:
    """The unfitted, seeded estimator, and the digest of the team's files that it came from."""
    if ":" not in job.model:
        estimator, code = baseline(job.model, proposal.task, proposal.numbers, proposal.categories), ""
    else:
        root = import_root(job.root).resolve()
        estimator = build(job.model, root)
        code = _code(root)
    seed(estimator, number)
    return estimator, code


def _code(root: Path) -> str:
    """Digest of the files below `root` that were imported, without an environment that happens to be in there."""
    files = {
        Path(name).resolve() for module in list(sys.modules.values()) if (name := getattr(module, "__file__", None))
    }
    ours = sorted(file for file in files if file.is_relative_to(root) and "site-packages" not in file.parts)
    return digest_of([(file.relative_to(root).as_posix(), file_digest(file)) for file in ours if file.is_file()])
