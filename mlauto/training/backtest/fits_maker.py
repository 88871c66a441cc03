"""Fits of a product's estimator, made where the team's code may run: in child processes of a workshop.

What a child leaves is judged before it is kept: plain files that hold so many numbers, and nothing else.
"""

import io
import os
import shutil
import threading
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from mlauto.errors import MlautoError, TrainingError
from mlauto.product import ModelProduct
from mlauto.runtime.process import Finished, scrubbed_environment
from mlauto.runtime.workshop import RunPython
from mlauto.store import Store, atomic_write
from mlauto.training.backtest.asked_fits import AskedFits
from mlauto.training.backtest.fit_many import WRITTEN, FitsRequest, Unit
from mlauto.training.evaluate import batch_metric
from mlauto.training.exchange import check_written, written

__all__ = ["Maker"]

MOST = 64  # fits of one child: what a container that is killed loses
TAIL = 20  # lines of a child's output, or of the place where it was, that go into an error
HEAD = 4096  # bytes of a kept file beside its losses


@dataclass
class Maker:
    """Makes fits of `product`'s estimator in the exported `tree`; `frame` (Parquet) holds the rows of all batches."""

    fits: AskedFits
    product: ModelProduct
    tree: Path
    frame: Path
    store: Store
    run_python: RunPython
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def make(self, units: Sequence[Unit], on_fit: Callable[[], None] | None = None) -> None:
        """All of them, in as many processes as there are cores; afterwards each is kept, or has failed.

        Raises `TrainingError`, with what the code said last, when it ends, hangs, or leaves anything but losses. What
        was made before that is kept, as it is after Ctrl-C, which is heard when the fits in hand are done.
        """
        count = min(len(units), max(self.processes, -(-len(units) // MOST)))
        parts = [units[first::count] for first in range(count)]  # neighbours cost alike
        stop = threading.Event()

        def told(line: str) -> None:
            if stop.is_set():
                raise MlautoError("the backtest was stopped")
            if on_fit is not None and line.endswith(" fits"):
                on_fit()

        with ThreadPoolExecutor(self.processes, thread_name_prefix="fits") as pool:
            try:
                for done in as_completed([pool.submit(self._run, part, told) for part in parts]):
                    done.result()
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, units: Sequence[Unit], told: Callable[[str], None]) -> None:
        scratch = self.store.scratch("backtest")
        limit = self.product.training.timeout
        try:
            request = self._request(units, scratch)
            try:
                ended = self.run_python(
                    "mlauto.training.backtest.fit_many",
                    request,
                    cwd=scratch,
                    env=scrubbed_environment(
                        HOME=str(scratch), MPLCONFIGDIR=str(self.store.home / "cache" / "matplotlib")
                    ),
                    timeout=limit * (len(units) + 1),  # each has its own limit inside, unless the code undoes that
                    on_line=told,
                    fetch=WRITTEN,
                )
            finally:
                left = self._take(units, scratch)
            if left or ended.exit_code != 0:
                raise TrainingError(_why(ended, scratch, left, limit))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _request(self, units: Sequence[Unit], scratch: Path) -> Path:
        product = self.product
        shutil.copyfile(self.frame, scratch / "frame.parquet")
        request = FitsRequest(
            tree=str(self.tree),
            estimator=product.code.estimator,
            frame=str(scratch / "frame.parquet"),
            edges=self.fits.edges,
            units=tuple(units),
            inputs=self.fits.given,
            target=product.data.target,
            task=product.data.task,
            metric=batch_metric(product.metric),
            output=str(scratch),
            limit=product.training.timeout,
            seed=product.training.seed,
            exclude=product.data.exclude,
            timestamp=product.data.timestamp,
        )
        path = scratch / "request.json"
        path.write_bytes(msgspec.json.encode(request))
        return path

    def _take(self, units: Sequence[Unit], scratch: Path) -> list[Unit]:
        """Keep what was made; the fits that were neither made nor failed."""
        check_written(scratch, WRITTEN)
        failed = scratch / "failed.json"
        said = written(failed, dict[str, str]) if failed.exists() else {}
        left = []
        for unit in units:
            path = self.fits.path_of(unit.model, unit.holdout)
            made = scratch / "losses" / path.relative_to(self.fits.cache)
            if path.stem in said:
                self.fits.failed[path.stem] = said[path.stem]
            elif made.exists():
                atomic_write(path, _checked(made, unit, self.fits.rows_of(unit), len(self.fits.classes)))
            else:
                left.append(unit)
        return left


def _checked(path: Path, unit: Unit, rows: int, classes: int) -> bytes:
    """The bytes of a kept file. Raises `TrainingError` unless they are what a fit of so many rows says, and no more."""
    wrong = TrainingError(f"{unit} left no losses of {rows:,} rows: the estimator must not write below HOME/losses")
    wide = max(1, classes)
    shapes: dict[str, set[tuple[int, ...]]] = {
        "losses.npy": {(rows,)},
        "answers.npy": {(rows,), (0,), *((rows, count) for count in range(1, wide + 1))},
        "codes.npy": {(count,) for count in range(classes + 1)},
        "seconds.npy": {()},
    }
    if path.stat().st_size > 16 * rows * (wide + 1) + HEAD:
        raise wrong
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            sizes = {entry.filename: entry.file_size for entry in packed.infolist()}
            if sizes.keys() != shapes.keys() or any(size > 8 * (rows + 1) * wide + HEAD for size in sizes.values()):
                raise wrong
            for name, allowed in shapes.items():
                with packed.open(name) as stream:  # the head first: what it promises would be allocated
                    if np.lib.format.read_magic(stream) != (1, 0):
                        raise wrong
                    found = np.lib.format.read_array_header_1_0(stream)
                    if found[0] not in allowed or found[2].str not in {"<f8", "|u1", "<i8"}:
                        raise wrong
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            values = {name: kept[name] for name in kept.files}
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise wrong from error
    codes = values["codes"]
    sound = all(np.isfinite(value).all() for value in values.values())
    if not sound or any((values[name] < 0).any() for name in ("losses", "seconds", "codes")):
        raise wrong
    if (codes >= classes).any() or (len(codes) and values["answers"].shape != (rows, len(codes)) and rows):
        raise wrong
    return content


def _why(ended: Finished, scratch: Path, left: Sequence[Unit], limit: float) -> str:
    """Why a child did not do its work, and the last lines of what it said."""
    hand = left[0] if left else "the fits"
    lines = ended.output.strip().splitlines()
    late, failure = scratch / "late.txt", scratch / "error.json"
    where = _beginning(late).splitlines() if late.exists() else []
    if where or ended.timed_out:
        why = f"{hand} took longer than {limit:g} s: raise training.timeout, or make the model smaller"
        lines = where or lines
        return "\n".join([why, *lines[:TAIL]])
    if ended.why:
        why = f"{hand} was stopped: {ended.why}"
    elif failure.exists():
        why = written(failure, dict[str, str])["error"]
        lines = lines[:-1]  # which says the same
    else:
        why = f"{hand} ended its process with exit code {ended.exit_code}"
    return "\n".join([why, *lines[-TAIL:]])


def _beginning(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(HEAD).decode(errors="replace")
