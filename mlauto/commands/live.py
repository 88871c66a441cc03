"""`mlauto live PRODUCT --at TIME`: which version answered users at a time, with which data and commit."""

import datetime
from dataclasses import dataclass
from typing import Any

from mlauto.delivery.history import changes, served_at
from mlauto.errors import MlautoError
from mlauto.records import Commit, TrainedModel
from mlauto.settings import Settings
from mlauto.store import Store

__all__ = ["Answerer", "LiveAt", "live_at", "render", "when"]


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A version and what it was made of; None for what the records no longer say."""

    version: str
    percent: float
    commit: Commit | None
    data_digest: str | None
    batches: int | None
    newest_batch: str | None
    mlflow_run: str | None


@dataclass(frozen=True, kw_only=True)
class LiveAt:
    """Who answered `product` at `at`, since when, until when (None: still), and why."""

    product: str
    at: float
    since: float
    until: float | None
    why: str
    answered: tuple[Answerer, ...]
    shadow: str | None


def when(text: str | None, now: float, option: str = "at") -> float:
    """Seconds since the epoch of an ISO 8601 time (UTC unless it says otherwise) or a number of seconds; None is now.

    Raises `MlautoError` for anything else.
    """
    if text is None:
        return now
    try:
        return float(text)
    except ValueError:
        pass
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise MlautoError(
            f"--{option} {text!r} is no time: write for example 2026-05-01T12:30 or 2026-05-01T12:30+02:00"
        ) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp()


def live_at(settings: Settings, product: str, at: float) -> LiveAt:
    """Who answered at that time. Raises `MlautoError` when nothing did, or nothing is remembered of that time."""
    store = Store(settings.home)
    served = served_at(store, product, at)
    known = changes(store, product)
    if served is None:
        first = f"the first change that is remembered was at {_stamp(known[0].at)}" if known else "nothing ever was"
        raise MlautoError(f"{product}: nothing known was live at {_stamp(at)}: {first}")
    later = [change.at for change in known if change.at > served.at]
    shares = [(served.champion, 100 - served.percent)]
    if served.canary is not None:
        shares.append((served.canary, served.percent))
    return LiveAt(
        product=product,
        at=at,
        since=served.at,
        until=min(later, default=None),
        why=served.why,
        answered=tuple(_answerer(store, product, version, percent) for version, percent in shares),
        shadow=served.shadow,
    )


def _answerer(store: Store, product: str, version: str, percent: float) -> Answerer:
    model = store.read_record(product, f"models/{version}", TrainedModel)
    batches = model.training_set.batches if model else ()
    return Answerer(
        version=version,
        percent=percent,
        commit=model.commit if model else None,
        data_digest=model.training_set.digest if model else None,
        batches=len(batches) if model else None,
        newest_batch=batches[-1].key if batches else None,
        mlflow_run=model.run_id if model else None,
    )


def render(found: LiveAt) -> Any:
    """The answer as something that rich prints."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    until = f" until {_stamp(found.until)}" if found.until is not None else ""
    table.add_row(found.product, f"at {_stamp(found.at)}; so since {_stamp(found.since)}{until}")
    for one in found.answered:
        table.add_row("version", f"{one.version}, {one.percent:g} % of the requests")
        commit = f"{one.commit.sha[:12]} {one.commit.subject}" if one.commit else "no record any more"
        table.add_row("  commit", escape(commit))
        if one.data_digest is not None:
            newest = f", newest {one.newest_batch}" if one.newest_batch else ""
            table.add_row("  data", escape(f"{one.data_digest[:12]}, {one.batches} batches{newest}"))
        if one.mlflow_run is not None:
            table.add_row("  MLflow run", one.mlflow_run)
    if found.shadow is not None:
        table.add_row("shadow", found.shadow)
    if found.why:
        table.add_row("because", escape(found.why))
    return table


def _stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
