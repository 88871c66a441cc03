"""Rows that came without a label: they wait in the store, and are trained on once, when their file comes again.

A file is known by its name. When it comes again with other content and still has every row that it had, targets aside,
it is the same file with more labels: only what was not labelled before is new. Other content under an old name is a
file of its own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlauto.records import Batch
from mlauto.store import Store, digest_of
from mlauto.training.batches.frames import joined

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Taken", "Waiting", "keep_frame", "labelled_rows", "remember", "taken"]

STATES = 100  # of one file name: so many files that were overwritten before their labels came can still be told


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What is remembered of a file name: record `waiting/<digest of the name>`.

    `states` are Parquet files in the store, newest last: the file as it came, all rows. `key` is the batch in which it
    came last.
    """

    key: str
    name: str
    states: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A file's rows without the `known` ones, which earlier states of the file had with the same label.

    `states` is what is to be remembered of the file from now on; empty when nothing of it ever waited.
    """

    rows: "pd.DataFrame"
    known: int
    states: tuple[str, ...]


def labelled_rows(frame: "pd.DataFrame", target: str) -> "pd.Series":
    """True for each row that has a label: neither missing nor, for text, blank."""
    import pandas as pd

    column = frame[target]
    there: pd.Series = column.notna()
    if isinstance(column.dtype, pd.StringDtype):
        there &= column.str.strip().ne("").fillna(value=False).astype(bool)
    return there


def taken(store: Store, product: str, name: str, frame: "pd.DataFrame", target: str) -> Taken:
    """What is new in a file that came; its state goes into the store when rows wait, and is remembered later.

    Raises `StoreError` when an earlier state is missing from the store or was changed there.
    """
    import pandas as pd

    waits = not labelled_rows(frame, target).all()
    before = store.read_record(product, _record(name), Waiting)
    rows, others, matched = frame, [], False
    for state in before.states if before else ():
        old = pd.read_parquet(store.verified_file(state))
        if _holds(frame, old, target):
            matched = True
            rows = _without(rows, old[labelled_rows(old, target)])
        else:
            others.append(state)
    states = (*others, keep_frame(store, frame))[-STATES:] if waits or matched else ()
    return Taken(rows=rows, known=len(frame) - len(rows), states=states)


def remember(store: Store, product: str, batch: Batch) -> None:
    """Write down which files of the batch wait; an older batch does not overwrite what a newer one said."""
    for name, states in batch.waiting.items():
        before = store.read_record(product, _record(name), Waiting)
        if before is None or before.key <= batch.key:
            store.write_record(product, _record(name), Waiting(key=batch.key, name=name, states=states))


def keep_frame(store: Store, frame: "pd.DataFrame") -> str:
    """Digest of the frame as Parquet in the store: equal frames, equal digest."""
    scratch = store.scratch("batch")
    parquet = scratch / "batch.parquet"
    try:
        frame.to_parquet(parquet, engine="pyarrow", index=False, compression="zstd")
        return store.put_file(parquet)
    finally:
        parquet.unlink(missing_ok=True)
        scratch.rmdir()


def _record(name: str) -> str:
    digest = digest_of(name)
    return f"waiting/{digest[:2]}/{digest}"


def _holds(frame: "pd.DataFrame", old: "pd.DataFrame", target: str) -> bool:
    """Whether every row of `old` is in `frame`, as often, whatever its target."""
    if set(frame) != set(old):
        return False
    ours, theirs = _numbered(frame.drop(columns=target), old.drop(columns=target))
    return bool(theirs.isin(ours).all())


def _without(frame: "pd.DataFrame", old: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of `frame` without those of `old`, each as often as it is there."""
    ours, theirs = _numbered(frame, old)
    return frame[~ours.isin(theirs)].reset_index(drop=True)


def _numbered(frame: "pd.DataFrame", old: "pd.DataFrame") -> "tuple[pd.MultiIndex, pd.MultiIndex]":
    """A name for each row of both frames: the hash of its values, and how many equal rows came before it."""
    import pandas as pd

    both = joined([frame, old[list(frame)]])  # brings columns to the same kinds: 1 and 1.0 are equal
    hashes = pd.Series(pd.util.hash_pandas_object(both, index=False).to_numpy())
    parts = (hashes[: len(frame)], hashes[len(frame) :])
    first, second = (pd.MultiIndex.from_arrays([part, part.groupby(part).cumcount()]) for part in parts)
    return first, second
