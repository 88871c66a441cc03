"""`mlauto backtest`: what each retraining policy would have made of a file's history, beside the best fixed history.

Fits are what costs: they are shared among policies, made by as many processes as there are cores, and kept, so that a
run that was interrupted, or one with another policy or another delay, goes on from what is there.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from mlauto.commands.backtest_bench import Bench, Job
from mlauto.commands.backtest_policy import NAMED, read_policy
from mlauto.commands.backtest_report import Report, publish, wide_console
from mlauto.commands.history import Plan
from mlauto.commands.replay_report import progress
from mlauto.errors import MlautoError, TrainingError
from mlauto.product_training import Policy
from mlauto.training.backtest.handed import handed
from mlauto.training.backtest.kept import forget_fits
from mlauto.training.backtest.models import Model
from mlauto.training.backtest.walk import Outcome
from mlauto.training.estimator import import_root
from mlauto.training.weighting import History, Member

__all__ = ["ALWAYS", "GRID", "run_backtest"]

# retrained every batch: the histories that the best fixed one is looked for among
GRID = (
    History(),
    History(half_life=1.0),
    History(half_life=2.5),
    History(half_life=5.0),
    History(half_life=10.0),
    History(window=1),
    History(window=5),
)
ALWAYS = ("never", "every_batch")
LOCAL = ("local", "")
POLL = 0.2
STOPPED = -(1 << 30)  # a counter below zero ends a policy that is under way, after its batch


def run_backtest(
    data: Path,
    plan: Plan,
    *,
    cache: Path,
    model: str = "hgb",
    policies: Sequence[str] = (),
    root: Path | None = None,
    engine: tuple[str, str] = LOCAL,
    json_path: Path | None = None,
    chart: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Play `policies` (default: all that have a name), `never` and `every_batch`, and every history of the grid.

    `cache` keeps the fits; `root` is where a model of one's own is imported from (default: this directory); `engine` is
    a `training.backend` and its address: what makes the fits. Raises `MlautoError` when the file is no usable history,
    a policy or the model is none, a worker process dies, or the engine cannot be had.
    """
    console = console or wide_console()
    named = {text: read_policy(text) for text in dict.fromkeys((*(policies or NAMED), *ALWAYS))}
    forget_fits(cache)
    job = Job(data=data, plan=plan, model=model, root=root or Path.cwd(), cache=cache)
    bench = Bench(job)
    played = _play_all(job, bench, named, engine, console)
    fixed = {history: bench.fixed(history) for history in GRID}
    report = Report.of(played, fixed, plan, file=data.name, model=model)
    publish(report, json_path, chart, console)
    return report


def _play_all(
    job: Job, bench: Bench, policies: dict[str, Policy], engine: tuple[str, str], console: Console
) -> dict[str, Outcome]:
    """All policies' outcomes; when it returns, the fits of the grid are in the cache too."""
    plan = job.plan
    last = max(plan.initial, plan.batches - plan.delay)
    models = [
        Model(batches=n, members=(Member(history=history),))
        for n in range(last, plan.initial - 1, -1)
        for history in GRID
    ]
    total = len(models) + len(policies) * (plan.batches - plan.initial)
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run OpenMP hangs
    done = context.Value("i", 0)
    workers = _processes(job, done, context) if engine == LOCAL else _threads(job, bench, done, engine, len(policies))
    with workers as pool, progress(console) as bar:
        shown = bar.add_task("fits and decisions", total=total)
        outcomes = {name: pool.submit(_play, policy) for name, policy in policies.items()}
        fits = [pool.submit(_fit, model) for model in models]
        try:
            _await([*outcomes.values(), *fits], lambda: bar.update(shown, completed=done.value))
        except BrokenProcessPool as error:
            raise MlautoError("a worker process died, perhaps for want of memory: run it again, it goes on") from error
        finally:
            done.value = STOPPED
            pool.shutdown(wait=True, cancel_futures=True)
        return {name: future.result() for name, future in outcomes.items()}


@contextmanager
def _processes(job: Job, done: Any, context: Any) -> Iterator[Executor]:
    """As many as there are cores: each makes the fits that it needs."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_begin, initargs=(job, done)) as pool:
        yield pool


@contextmanager
def _threads(job: Job, bench: Bench, done: Any, engine: tuple[str, str], policies: int) -> Iterator[Executor]:
    """Enough to keep the engine busy: they decide here, and wait for their fits."""
    here = bench.fits
    with handed(here, *engine, import_root(job.root).resolve()) as fits:
        bench.fits = fits
        _BENCH[:] = [(bench, done)]
        with ThreadPoolExecutor(policies + 2 * fits.slots.result()) as pool:
            yield pool
    bench.fits = here


def _await(futures: Sequence[Future[Any]], seen: Callable[[], None]) -> None:
    """Wait until all are done, or raise what the first that failed raised."""
    left = set(futures)
    while left:
        ready, left = wait(left, timeout=POLL, return_when=FIRST_EXCEPTION)
        seen()
        for future in ready:
            future.result()


_BENCH: list[tuple[Bench, Any]] = []  # this worker's own, and the counter that all share


def _begin(job: Job, done: Any) -> None:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all, and the command ends its workers itself
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes are what is parallel
    bench = Bench(job)
    threadpool_limits(1)  # for libraries that had read another value when they were loaded
    _BENCH[:] = [(bench, done)]


def _play(policy: Policy) -> Outcome:
    [(bench, done)] = _BENCH
    return bench.play(policy, lambda: _count(done))


def _fit(model: Model) -> None:
    [(bench, done)] = _BENCH
    with suppress(TrainingError):  # said where it matters: by the way through the history that needs this fit
        bench.fits.fit(model)
    _count(done)


def _count(done: Any) -> None:
    with done.get_lock():
        if done.value < 0:
            raise MlautoError("the backtest was stopped")
        done.value += 1
