"""How late labels are, in batches: what a model that is fitted now has to see ahead."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from mlauto.delivery.history import changes
from mlauto.measured import LiveMetrics
from mlauto.product import ModelProduct
from mlauto.records import Batch
from mlauto.store import Store
from mlauto.training.training_set import accepted_batches

__all__ = ["in_batches", "label_lag"]

ARRIVALS = 11  # the newest batches whose distances count
MOST = 50


def label_lag(store: Store, product: ModelProduct) -> int:
    """Batches that arrive between a prediction and its label, as the live sensor measured the delay last.

    Those count that came since a version first went live: history that was handed over before says nothing of how often
    batches come. 0 before labels were measured, or where fewer than three batches have come.
    """
    metrics = store.read_record(product.name, "live_metrics", LiveMetrics)
    if metrics is None or metrics.label_delay is None:
        return 0
    keys = [batch.key for batch in accepted_batches(store, product.name).batches[-ARRIVALS:]]
    batches = [store.read_record(product.name, f"batches/{key}", Batch) for key in keys]
    served = changes(store, product.name)
    since = served[0].at if served else -math.inf
    arrivals = [batch.arrived for batch in batches if batch is not None and batch.arrived >= since]
    return in_batches(metrics.label_delay.median, arrivals)


def in_batches(seconds: float, arrivals: Sequence[float]) -> int:
    """So many seconds in batches that arrive at such times: whole ones, by their median distance; at most 50."""
    distances = [later - earlier for earlier, later in pairwise(sorted(arrivals))]
    usual = statistics.median(distances) if len(distances) > 1 else 0.0
    return min(MOST, int(seconds / usual)) if usual > 0 else 0
