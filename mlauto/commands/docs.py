"""`mlauto docs PRODUCT [BATCH]`: Great Expectations' own Data Docs of one batch, accepted or quarantined."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlauto.commands.products import find_product
from mlauto.errors import DataError
from mlauto.records import Batch
from mlauto.settings import Settings
from mlauto.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["make_docs"]


def make_docs(settings: Settings, product: str, key: str | None, target: Path) -> Path:
    """Validate the batch (default: the newest) once more, write its Data Docs below `target`, return their index.

    Raises `DataError` when there is no such batch, or when nothing of it can be read.
    """
    from mlauto.training.batches.quality import data_docs, load_suite

    found = find_product(settings, product)
    store = Store(settings.home)
    key = key or max(store.record_names(product, "batches"), default=None)
    batch = store.read_record(product, f"batches/{key}", Batch) if key else None
    if batch is None:
        raise DataError(f"{product} has no batch {key or 'yet'}: see mlauto status {product}")
    suite = load_suite(settings.defs / product / found.data.expectations)
    return data_docs(_frame(settings, store, product, batch, found.data.timestamp), suite, target)


def _frame(settings: Settings, store: Store, product: str, batch: Batch, timestamp: str | None) -> "pd.DataFrame":
    """The batch's rows: from the store when it was accepted, else from its files in quarantine."""
    import pandas as pd

    from mlauto.training.batches.frames import joined, read_file

    if batch.digest is not None:
        return pd.read_parquet(store.verified_file(batch.digest))
    folder = settings.product_home(product) / "quarantine" / batch.key
    files = [folder / file.name for file in batch.files if (folder / file.name).is_file()]
    if not files:
        raise DataError(f"the files of batch {batch.key} are no longer in {folder}: land them again")
    return joined([read_file(file, timestamp=timestamp) for file in files])
