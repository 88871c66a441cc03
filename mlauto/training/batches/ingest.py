"""From landed files to a batch: read, type, keep, validate, record; what cannot be used goes to quarantine.

Every step may be repeated: a process killed between any two of them is followed by one that ends in the same state. The
steps are ordered for that: content first, then the outcome's record, then what is derived from it, and the plan last.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlauto.errors import DataError
from mlauto.product import Data, ModelProduct
from mlauto.records import Batch, SourceFile, Validation
from mlauto.store import Store, atomic_write, file_digest
from mlauto.training.batches.frames import kinds_of, read_file
from mlauto.training.batches.intake import Intake, intake, newest_time, ordered
from mlauto.training.batches.landing import LandedFile, Landing, PlannedBatch, forget, planned, settle
from mlauto.training.batches.waiting import keep_frame, remember
from mlauto.training.training_set import accept, accepted_batches

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Origin", "ingest", "quarantined"]

REASON = "reason.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a content was first accepted: the record `files/<digest>`."""

    key: str
    name: str


@dataclass(frozen=True, kw_only=True)
class _Arrival:
    """The files of a plan that could be read as planned, split by whether their content is new."""

    files: tuple[SourceFile, ...]
    new: tuple[LandedFile, ...]
    duplicates: tuple[str, ...]
    problem: str | None


def ingest(
    product: ModelProduct,
    key: str,
    *,
    store: Store,
    landing: Landing,
    validate: "Callable[[pd.DataFrame], Validation]",
) -> Batch:
    """The outcome of the planned batch `key`, recorded as `batches/<key>`; the same outcome however often it is asked.

    Accepted: typed Parquet in the store, by digest, rows in order of the product's timestamp, and an entry in the index
    of accepted batches. Not accepted: the files are in `quarantine/<key>/` with `reason.json` (the batch as JSON)
    beside them. Rows without a label wait in the store until their file comes again with more of them; a batch without
    any is `waiting`. Content that was accepted before is not trained on again; a batch of nothing else is a
    `duplicate`. The files of both stay. A file that is gone or has changed since it was planned is left out: changed,
    it arrives as another batch.

    Raises `DataError` when the batch was never planned or a file changes under the reader, and whatever `validate`
    raises about itself, such as `ProductError` for a suite that is no use: then nothing is decided, and nothing moves.
    """
    batch = store.read_record(product.name, f"batches/{key}", Batch)
    if batch is None:
        plan = planned(store, product.name, key)
        batch = _begun_quarantine(store, product.name, key) or _examined(product, plan, store, landing, validate)
        if batch.outcome == "quarantined":
            _quarantine(store, product.name, batch, plan, landing)
        store.write_record(product.name, f"batches/{key}", batch)
    if batch.digest is not None:
        _enter(store, product, batch, batch.digest)
    remember(store, product.name, batch)
    settle(store, product.name, key)
    return batch


def quarantined(store: Store, product: str, limit: int = 20) -> tuple[Batch, ...]:
    """The newest batches in quarantine, newest first. Raises `DataError` naming a reason.json that does not parse."""
    folder = _quarantine_home(store, product)
    keys = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else []
    found = (_begun_quarantine(store, product, key) for key in keys[:limit])
    return tuple(batch for batch in found if batch is not None)


def _examined(
    product: ModelProduct,
    plan: PlannedBatch,
    store: Store,
    landing: Landing,
    validate: "Callable[[pd.DataFrame], Validation]",
) -> Batch:
    """The batch with its verdict; its data is in the store when that is good. Nothing else has happened yet."""
    arrival = _arrival(product.name, plan, store, landing)
    batch = Batch(
        key=plan.key,
        files=arrival.files,
        rows=0,
        digest=None,
        validation=Validation(passed=False, evaluated=0, problem=arrival.problem),
        arrived=plan.arrived,
        duplicates=arrival.duplicates,
    )
    if arrival.problem:
        return batch
    index = accepted_batches(store, product.name)
    frames, problem = {}, None
    try:
        frames = _read(product.data, arrival.new, index.kinds, landing)
    except DataError as error:
        problem = str(error)
    _unchanged(arrival.new, landing)
    if problem is not None:
        return replace(batch, validation=replace(batch.validation, problem=problem))
    seen = ordered(frames, index.kinds, product.data.timestamp)
    validation = _complete(validate(seen), seen, product.data)
    batch = replace(batch, rows=len(seen), validation=validation)
    if not validation.passed:
        return batch
    found = intake(store, product.name, frames, product.data, kinds=index.kinds, latest=index.latest)
    return _taken(batch, found, store)


def _taken(batch: Batch, found: Intake, store: Store) -> Batch:
    """The valid batch with what training takes of it: accepted, waiting for labels, or nothing new."""
    batch = replace(
        batch,
        rows=len(found.rows),
        digest=keep_frame(store, found.rows) if len(found.rows) else None,
        duplicates=batch.duplicates + found.repeated,
        unlabelled=found.unlabelled,
        waiting=found.waiting,
        warnings=found.warnings,
    )
    problem = None
    if batch.outcome == "duplicate":
        problem = f"nothing new: no row of {found.repeated[0]} got a label since it came last"
    elif batch.outcome == "waiting":
        problem = f"no new row has a label yet: {found.unlabelled:,} wait, and nothing is trained on"
    elif batch.outcome == "quarantined":
        return replace(batch, validation=replace(batch.validation, passed=False, problem="there are no rows in it"))
    return replace(batch, validation=replace(batch.validation, problem=problem)) if problem else batch


def _arrival(product: str, plan: PlannedBatch, store: Store, landing: Landing) -> _Arrival:
    """What of the plan is there as planned, and what of that is new."""
    files, new, origins = [], [], {}
    seen: dict[str, str] = {}
    for file in plan.files:
        if landing.look(file.name) != file:
            continue
        try:
            digest = file_digest(landing.fetch(file.name))
        except FileNotFoundError:
            continue
        files.append(SourceFile(name=file.name, digest=digest, size=file.size))
        origin = store.read_record(product, _origin_name(digest), Origin)
        if origin is not None and origin.key != plan.key:
            origins[file.name] = f"{origin.name} of batch {origin.key}"
        elif digest in seen:
            origins[file.name] = f"{seen[digest]} beside it"
        else:
            seen[digest] = file.name
            new.append(file)
    problem = None
    if not files:
        problem = "its files were removed or changed before they were read; what changed arrives as another batch"
    elif not new:
        name, origin_text = next(iter(origins.items()))
        problem = f"nothing new: {name} has the same content as {origin_text}, so it is not trained on again"
    return _Arrival(files=tuple(files), new=tuple(new), duplicates=tuple(origins), problem=problem)


def _read(
    data: Data, files: tuple[LandedFile, ...], kinds: Mapping[str, str], landing: Landing
) -> "dict[str, pd.DataFrame]":
    """The files as typed frames, by name."""
    timestamp = data.timestamp or ""
    return {file.name: read_file(landing.fetch(file.name), kinds=kinds, timestamp=timestamp) for file in files}


def _unchanged(files: tuple[LandedFile, ...], landing: Landing) -> None:
    """Nothing may be decided on a file that was still being written: the next attempt leaves it out."""
    for file in files:
        if landing.look(file.name) != file:
            raise DataError(f"{file.name} changed while it was read: write under a temporary name, then rename")


def _complete(validation: Validation, frame: "pd.DataFrame", data: Data) -> Validation:
    """The suite's verdict, and ours: without target and timestamp a batch is no use even if the suite is content."""
    for column, field in ((data.target, "data.target"), (data.timestamp, "data.timestamp")):
        if validation.passed and column is not None and column not in frame:
            problem = f"no column {column!r} ({field} of the product); there are: {', '.join(map(str, frame))}"
            return replace(validation, passed=False, problem=problem)
    return validation


def _enter(store: Store, product: ModelProduct, batch: Batch, digest: str) -> None:
    """What follows from an accepted batch: the index, and where each content was first seen."""
    import pandas as pd

    frame = pd.read_parquet(store.verified_file(digest))
    accept(store, product.name, batch, kinds_of(frame), newest_time(frame, product.data.timestamp))
    for file in batch.files:
        if file.name not in batch.duplicates:
            store.write_record(product.name, _origin_name(file.digest), Origin(key=batch.key, name=file.name))


def _quarantine(store: Store, product: str, batch: Batch, plan: PlannedBatch, landing: Landing) -> None:
    """The reason first, then the files; what is moved already stays moved."""
    folder = _quarantine_home(store, product) / batch.key
    atomic_write(folder / REASON, msgspec.json.format(msgspec.json.encode(batch)))
    taken = {file.name for file in batch.files}
    moved = [file for file in plan.files if file.name in taken]
    for file in moved:
        if landing.look(file.name) == file:
            landing.withdraw(file.name, folder / file.name)
    forget(store, product, batch.key, moved)


def _begun_quarantine(store: Store, product: str, key: str) -> Batch | None:
    """The verdict of a quarantine that was begun, and perhaps not finished."""
    path = _quarantine_home(store, product) / key / REASON
    try:
        return msgspec.json.decode(path.read_bytes(), type=Batch)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is not readable ({error}): delete it, and the batch is examined again") from error


def _quarantine_home(store: Store, product: str) -> Path:
    return store.home / "products" / product / "quarantine"


def _origin_name(digest: str) -> str:
    return f"files/{digest[:2]}/{digest}"
