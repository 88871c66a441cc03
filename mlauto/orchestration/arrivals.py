"""Arrivals of data that came to nothing, for whoever has to know: triage, and people."""

from mlauto.records import Batch
from mlauto.store import Store

__all__ = ["quarantined_last", "why_quarantined"]

REASONS = 3


def quarantined_last(store: Store, product: str) -> str:
    """Why the newest batch is in quarantine; "" where it is not. Raises `DataError` as `ingest.quarantined` does."""
    from mlauto.training.batches.ingest import quarantined
    from mlauto.training.training_set import accepted_batches

    newest = quarantined(store, product, limit=1)
    accepted = accepted_batches(store, product).batches
    if not newest or (accepted and accepted[-1].key > newest[0].key):
        return ""
    return f"batch {newest[0].key} is in quarantine ({why_quarantined(newest[0])})"


def why_quarantined(batch: Batch) -> str:
    """The first reasons why a batch was not accepted."""
    reasons = [f"{failed.column or 'table'}: {failed.expectation}" for failed in batch.validation.failures]
    if batch.validation.problem:
        reasons.insert(0, batch.validation.problem)
    return "; ".join(reasons[:REASONS]) or "see reason.json"
