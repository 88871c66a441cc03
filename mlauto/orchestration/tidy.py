"""What a product no longer needs is removed, so that its state does not grow with the number of its versions.

Records first, then what no record names any more: killed in between, the next time finds the rest. What is named where
is not listed here: every digest in a record counts, but for folders of records that are a history of what once was.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from mlauto.delivery.exclusive import BusyError
from mlauto.delivery.retention import prune
from mlauto.errors import MlautoError, StoreError
from mlauto.monitoring.incidents import open_incident
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import kept_problem
from mlauto.orchestration.steps import LogLine
from mlauto.product import ModelProduct
from mlauto.records import Deployment, Image
from mlauto.sweep import LEFT_BEHIND, Swept, sweep
from mlauto.training.backtest.kept import forget_fits

__all__ = ["referenced", "tidy_up"]

DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# What these name is needed no longer, or is looked at by `_named_by` one by one.
HISTORY = frozenset(
    (
        *("approvals", "batches", "deployments", "files", "landing_forget", "models"),
        *("outside", "outside_new", "rejected", "reports", "runs"),
    )
)


def tidy_up(platform: Platform, product: ModelProduct, log: LogLine, now: float | None = None) -> None:
    """Remove what can be, and say how much it was. It fails nothing: what went wrong is kept as a problem."""
    moment = time.time() if now is None else now
    try:
        with kept_problem(platform.store, product.name, "retention"):
            _tidy(platform, product, log, moment)
    except MlautoError as error:
        log(f"not everything was tidied up: {error}")


def referenced(home: Path) -> set[str]:
    """Digests of the store's artifacts that any product's records, or the gateway's state, may still need."""
    found = set(_digests(home / "gateway" / "state.json"))
    products = home / "products"
    for folder in products.iterdir() if products.is_dir() else ():
        for path in _named_by(folder / "records"):
            found |= _digests(path)
    return found


def _tidy(platform: Platform, product: ModelProduct, log: LogLine, now: float) -> None:
    forgotten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    try:
        if _answers(platform, product):
            incident = open_incident(platform.store, product.name)
            running = {*platform.runtime.running(product.name), *((incident and incident.version) or "",)}
            pruned = prune(product.name, platform.store, product.delivery.keep, running=running, now=now)
            forgotten = pruned.forgotten
            removed = _tidy_runtime(platform, product, pruned.startable, now)
            _clear_logs(platform, product, set(pruned.startable), now)
        swept = sweep(platform.store, referenced(platform.settings.home), now=now)
        removed += platform.workshop.tidy()
        forget_fits(platform.settings.home / "backtest")
    except BusyError:  # who changes production tidies up afterwards
        return
    except OSError as error:
        raise StoreError(f"{platform.settings.home} cannot be tidied up: {error}") from error
    said = _said(forgotten, removed, swept)
    if said:
        log(said)


def _tidy_runtime(platform: Platform, product: ModelProduct, startable: tuple[str, ...], now: float) -> tuple[str, ...]:
    """What the runtime could remove when it has to keep the images of those versions."""
    records = (platform.store.read_record(product.name, f"images/{version}", Image) for version in startable)
    return platform.runtime.tidy(product.name, [image for image in records if image is not None], now)


def _answers(platform: Platform, product: ModelProduct) -> bool:
    """Whether it is known what runs: without a gateway it is not."""
    production = platform.store.read_record(product.name, "production", Deployment)
    return production is None or platform.runtime.route(product.name) is not None


def _named_by(records: Path) -> Iterator[Path]:
    """The records of one product whose digests count."""
    if not records.is_dir():
        return
    for path in records.iterdir():
        if path.is_file():
            yield path
        elif path.name not in HISTORY:
            yield from (below for below in path.rglob("*.json") if below.is_file())
    for image in (records / "images").glob("*.json"):  # it can be started: its model and its data stay, too
        yield records / "models" / image.name
    for plan in (records / "batches_planned").glob("*.json"):  # accepted, perhaps, and not in the index yet
        yield records / "batches" / plan.name


def _digests(path: Path) -> set[str]:
    try:
        return {digest.decode() for digest in DIGEST.findall(path.read_bytes())}
    except FileNotFoundError:
        return set()


def _clear_logs(platform: Platform, product: ModelProduct, kept: set[str], now: float) -> None:
    """The logs of model servers that cannot be started any more, a day after their last line."""
    for path in (platform.settings.gateway_home / "logs").glob(f"{product.name}-*.log"):
        version = path.stem.removeprefix(f"{product.name}-")
        if version not in kept and path.stat().st_mtime < now - LEFT_BEHIND:
            path.unlink(missing_ok=True)


def _said(forgotten: tuple[str, ...], removed: tuple[str, ...], swept: Swept) -> str:
    parts = []
    if forgotten:
        parts.append(f"version {', '.join(forgotten)} can no longer be started")
    if removed:
        parts.append(f"removed: {', '.join(removed)}")
    if swept.objects or swept.trees or swept.leftovers:
        counts = f"{swept.trees} directories, {swept.objects} files, {swept.leftovers} leftovers"
        parts.append(f"{swept.bytes / 1e6:.1f} MB freed ({counts})")
    return "; ".join(parts)
