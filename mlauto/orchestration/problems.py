"""What goes wrong while the loop runs, kept where `mlauto status` finds it: runs and ticks are seen in the UI only."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from mlauto.errors import MlautoError
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import Problem
from mlauto.store import Store

__all__ = ["keeps_problem", "kept_problem"]

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")
LONGEST = 2000


@contextmanager
def kept_problem(store: Store, product: str, where: str) -> Iterator[list[str]]:
    """Record an error of the block, or what it appended to the list, as the problem of this place; else forget it.

    The error goes on. A problem that stays the same is written once, and keeps its time.
    """
    remarks: list[str] = []
    try:
        yield remarks
    except MlautoError as error:
        _keep(store, product, where, str(error))
        raise
    if remarks:
        _keep(store, product, where, "; ".join(remarks))
    else:
        store.record_path(product, f"problems/{where}").unlink(missing_ok=True)


def keeps_problem(where: str) -> Callable[[Callable[Arguments, Made]], Callable[Arguments, Made]]:
    """`kept_problem` around a step: a function whose first arguments, by position, are the platform and the product."""

    def keeping(step: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
        @wraps(step)
        def kept(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
            platform, product = cast("tuple[Platform, ModelProduct]", args[:2])
            with kept_problem(platform.store, product.name, where):
                return step(*args, **kwargs)

        return kept

    return keeping


def _keep(store: Store, product: str, where: str, text: str) -> None:
    name, text = f"problems/{where}", text[:LONGEST]
    known = store.read_record(product, name, Problem)
    if known is None or known.text != text:
        store.write_record(product, name, Problem(where=where, since=time.time(), text=text))
