"""Fits of a backtest that an engine makes: many threads ask for them, one hands them out by joblib, each fit one task.

What comes back is what a fit says. It is kept here: the engine need not share a file system with this machine.
"""

import queue
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlauto.errors import MlautoError, TrainingError
from mlauto.training.backend import parallel
from mlauto.training.backtest.fits import Fits

__all__ = ["HandedFits", "handed"]

ROWS = ("features", "labels")  # sent once; the rest of what a fit needs goes with each question
GATHER_SECONDS = 0.02  # threads that were answered together ask together

Asked = tuple[tuple[Any, ...], Future[Any]]


class HandedFits(Fits):
    """The same fits as those it is made from, but for where they are computed."""

    def __init__(self, fits: Fits) -> None:
        vars(self).update(vars(fits))
        self.state = {name: value for name, value in vars(fits).items() if name not in ROWS}
        self.questions: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self.slots: Future[int] = Future()
        self.serving: Future[None] = Future()

    def _made(self, *question: Any) -> Any:
        asked: Future[Any] = Future()
        self.questions.put((question, asked))
        answer = self.answered(asked)
        if isinstance(answer, str):
            raise TrainingError(answer)
        return answer

    def answered(self, future: Future[Any]) -> Any:
        """Its result. Raises `MlautoError` when there will be none, because the engine failed or was left."""
        wait([future, self.serving], return_when=FIRST_COMPLETED)
        if future.done():
            return future.result()
        error = self.serving.exception()
        if isinstance(error, MlautoError):
            raise error
        first = (str(error).strip().splitlines() or [""])[0]
        why = f"the engine failed ({type(error).__name__}: {first})" if error else "the backtest was stopped"
        raise MlautoError(f"{why}: run it again, it goes on from the fits that are kept") from error

    def serve(self, backend: str, address: str, root: Path) -> None:
        """Answer questions until there is a None among them. Raises what `parallel` does."""
        from joblib import Parallel, delayed, effective_n_jobs

        with parallel(backend, address, root, share=(self.features, self.labels)), Parallel() as engine:
            self.slots.set_result(effective_n_jobs(-1))
            while (first := self.questions.get()) is not None:
                time.sleep(GATHER_SECONDS)
                batch = [first]
                while not self.questions.empty() and (one := self.questions.get()) is not None:
                    batch.append(one)
                answers = engine(
                    delayed(_answer)(self.features, self.labels, self.state, question) for question, _ in batch
                )
                for (_, asked), answer in zip(batch, answers, strict=True):
                    asked.set_result(answer)


@contextmanager
def handed(fits: Fits, backend: str, address: str, root: Path) -> Iterator[HandedFits]:
    """The fits, made by the engine while this lasts; `slots` says how many at a time.

    Raises `TrainingError` naming `training.backend` when the engine cannot be had.
    """
    made = HandedFits(fits)
    with ThreadPoolExecutor(1, thread_name_prefix="engine") as thread:
        made.serving = thread.submit(made.serve, backend, address, root)
        try:
            made.answered(made.slots)
            yield made
        finally:
            made.questions.put(None)


def _answer(features: Any, labels: Any, state: dict[str, Any], question: tuple[Any, ...]) -> Any:
    """On a worker: what one fit says, or what the team's code failed with."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

    fits = Fits.__new__(Fits)
    vars(fits).update(state, features=features, labels=labels)
    with threadpool_limits(1):  # as in the processes of a local backtest
        try:
            return Fits._made(fits, *question)
        except TrainingError as error:
            return str(error)
