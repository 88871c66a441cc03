"""Drift for people: the findings as a table, a picture of each column that alarmed, and what tells the windows apart.

The table is in every materialization of `live_metrics`. Pictures and the classifier are made when a person
materializes it, and only after an alarm: the sensor's tick imports neither matplotlib nor scikit-learn.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any

import dagster as dg
import numpy as np

from mlauto.measured import DriftReport, LiveMetrics
from mlauto.monitoring.drift.counts import Counts
from mlauto.monitoring.drift.explain import Explanation, explain
from mlauto.monitoring.drift.live import window_counts
from mlauto.monitoring.drift.profile import Levels, Numbers, Profile
from mlauto.monitoring.drift.words import sentence
from mlauto.monitoring.log.reading import LogReader, Prediction
from mlauto.monitoring.metrics import DRIFT, TAIL_BYTES
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.render import table
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel

__all__ = ["explained", "findings", "picture"]

PICTURES = 6
GROUPS = 32  # bars of a picture: 256 bins are too fine to see

Metadata = Mapping[str, dg.MetadataValue[Any]]


def findings(report: DriftReport | None) -> Metadata:
    """The strongest findings with effects and bounds, and the distances that people expect; {} without a report."""
    if report is None:
        return {}
    rows = [
        ("ALARM" if found.alarmed else "", sentence(found), found.low, found.high, found.margin)
        for found in report.findings
    ]
    alarmed = {found.subject for found in report.alarmed}
    shown = sorted(report.shown.items(), key=lambda pair: pair[0] not in alarmed)
    names = ("psi", "ks", "wasserstein", "js")
    distances = [(subject, *(found.get(name, "") for name in names)) for subject, found in shown]
    return {
        "drift": table(("", "finding", "low", "high", "margin"), rows),
        "drift_rows": dg.MetadataValue.int(report.rows),
        "drift_alarms": dg.MetadataValue.int(len(report.alarmed)),
        "distances": table(("column", *names), distances),
    }


def explained(platform: Platform, product: ModelProduct, metrics: LiveMetrics) -> Metadata:
    """Pictures of what alarmed, and what a classifier tells the window from training by; {} without an alarm."""
    report = metrics.drifted
    if report is None or not report.alarmed or metrics.version is None:
        return {}
    profile = platform.store.read_record(product.name, f"profiles/{metrics.version}", Profile)
    if profile is None:
        return {}
    home = platform.settings.product_home(product.name)
    counts = window_counts(home / DRIFT, profile, version=metrics.version)
    made: dict[str, dg.MetadataValue[Any]] = {}
    for subject in dict.fromkeys(found.subject for found in report.alarmed):
        drawn = picture(subject, profile, counts) if len(made) < PICTURES else None
        if drawn is not None:
            image = base64.b64encode(drawn).decode()
            made[f"drift_of_{subject}"] = dg.MetadataValue.md(f"![{subject}](data:image/png;base64,{image})")
    found = _classified(platform, product, metrics.version)
    if found is not None:
        made["told_apart_by"] = table(("column", "part of the AUC"), list(found.importances.items()))
        made["told_apart_auc"] = dg.MetadataValue.float(found.auc)
    return made


def _classified(platform: Platform, product: ModelProduct, version: str) -> Explanation | None:
    """The classifier's view of the newest MB of the log against the newest rows of the training set."""
    from mlauto.orchestration.profiles import values_of
    from mlauto.training.training_set import load_frame

    model = platform.store.read_record(product.name, f"models/{version}", TrainedModel)
    if model is None:
        return None
    folder = platform.settings.product_home(product.name) / "predictions"
    lines = LogReader(folder, "predictions", Prediction).tail(TAIL_BYTES).lines
    window = [row for line in lines if line.v == version and line.y is not None for row in line.parsed_rows()]
    frame, _, _ = load_frame(platform.store, model.training_set)
    names = list(model.signature.columns)
    columns = [list(values_of(frame[name].tail(100_000))) for name in names]
    reference = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return explain(reference, window, names)


def picture(subject: str, profile: Profile, counts: Counts) -> bytes | None:
    """A PNG of the reference's and the window's shares; None for a pair, or when the window has no value."""
    reference = profile.subjects().get(subject)
    if reference is None or not reference.filled:
        return None
    if isinstance(reference, Levels):
        level = counts.levels[subject]
        names = [*reference.counts, "rare", "unseen"]
        then, now = [*reference.counts.values(), reference.rare, 0], [*level.levels.tolist(), level.rare, level.unseen]
    else:
        names, then, now = _grouped(reference, counts.numbers[subject].bins.tolist())
    return _drawn(subject, names, then, now) if sum(now) else None


def _grouped(reference: Numbers, bins: list[int]) -> tuple[list[str], list[int], list[int]]:
    """Neighbouring bins together, named by where they begin."""
    width = max(1, -(-len(bins) // GROUPS))
    starts = np.arange(0, len(bins), width)
    names = ["lowest", *(f"{reference.edges[start - 1]:.3g}" for start in starts[1:].tolist())]
    then, now = (np.add.reduceat(np.asarray(counts), starts).tolist() for counts in (reference.counts, bins))
    return names, then, now


def _drawn(subject: str, names: list[str], then: list[int], now: list[int]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(names))
    axes.bar(places - 0.2, np.asarray(then) / sum(then), 0.4, label="reference", color="#8c9bb0")
    axes.bar(places + 0.2, np.asarray(now) / sum(now), 0.4, label="window", color="#d9822b")
    step = max(1, len(names) // 8)
    axes.set_xticks(places[::step], [name[:12] for name in names[::step]])
    axes.set_ylabel("share of rows")
    axes.set_title(subject.replace("$", r"\$")[:80], fontsize=9)
    axes.legend(fontsize=8)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
