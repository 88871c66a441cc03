"""How many processes answer users: what `MLAUTO_GATEWAY_WORKERS` says, else as many as the cores are good for."""

import os
from collections.abc import Mapping

from mlauto.serving.errors import StateError

__all__ = ["VARIABLE", "workers"]

VARIABLE = "MLAUTO_GATEWAY_WORKERS"
MOST = 64
MOST_BY_CORES = 4
CORES_EACH = 4  # the model servers need most of them


def workers(environment: Mapping[str, str] | None = None, cores: int | None = None) -> int:
    """The number for that environment, by default this process's, and so many cores, by default those it may use.

    Unset, it is a quarter of the cores, but at least 1 and at most 4. Raises `StateError` for what is no number.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE)
    if not text:
        usable = len(os.sched_getaffinity(0)) if cores is None else cores
        return max(1, min(usable // CORES_EACH, MOST_BY_CORES))
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise StateError(f"{VARIABLE}={text[:40]!r} is no whole number from 1 to {MOST}: correct or unset it")
    return int(text)
