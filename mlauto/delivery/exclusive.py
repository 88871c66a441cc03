"""One change of a product's production at a time, whichever processes try: a file lock that dies with its holder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlauto.errors import DeliveryError
from mlauto.store import Store

__all__ = ["BusyError", "exclusive"]

POLL_SECONDS = 0.05


class BusyError(DeliveryError):
    """Another process is changing the product's production."""


@contextmanager
def exclusive(product: str, store: Store, *, wait: float) -> Iterator[None]:
    """Hold the product's production within the block. Raises `BusyError` when others hold it for `wait` seconds."""
    path = store.home / "products" / product / "production.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"{product}: production is being changed by another process: try again when that is done"
                    ) from None
                time.sleep(POLL_SECONDS)
        yield
