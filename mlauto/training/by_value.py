"""How the team's code gets to an engine's workers: by value, whatever they have installed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["by_value", "dask_backend"]


@contextmanager
def by_value(pickler: Any, root: Path | None) -> Iterator[None]:
    """The modules imported from below `root` are sent, not named, and so is the check of workers."""
    names = {__name__, "mlauto.training.backend"}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if root is not None and file and "site-packages" not in file and Path(file).is_relative_to(root):
            names.add(name)
    modules = [sys.modules[name] for name in sorted(names)]
    for module in modules:
        pickler.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            pickler.unregister_pickle_by_value(module)


def dask_backend(client: Any, share: Sequence[Any]) -> Any:
    """The way of joblib's to Dask, but that functions and estimators travel as cloudpickle writes them.

    Dask tries pickle first, which only names a class: the worker would import whatever it has of that name. `share` is
    sent to all workers once.
    """
    from joblib._dask import DaskDistributedBackend

    class Carrying(DaskDistributedBackend):  # type: ignore[misc] # its base is untyped
        def submit(self, func: Any, callback: Any = None) -> Any:
            func.items = [
                (
                    _ByValue(_Alone(function)),
                    [_carried(one) for one in args],
                    {k: _carried(v) for k, v in named.items()},
                )
                for function, args, named in func.items
            ]
            return super().submit(func, callback)

    return Carrying(client=client, scatter=list(share) or None)


class _Alone:
    """A task by itself: what it would do in parallel is done in a row, or its sums would depend on who came first."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        from joblib import parallel_config

        with parallel_config(backend="sequential"):
            return self.function(*args, **named)


class _ByValue:
    """Anything, on its way: it arrives as itself."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> None:
        """Never called: Dask asks only whether a task's first part could be."""

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        import cloudpickle

        return cloudpickle.loads, (cloudpickle.dumps(self.value),)


def _carried(value: Any) -> Any:
    """Rows go as they are: joblib sends the same ones only once."""
    import numpy as np
    import pandas as pd

    return value if isinstance(value, np.ndarray | pd.DataFrame | pd.Series) else _ByValue(value)
