"""Six injected faults, from the logs on disk to the decision: right cause, right action, retraining where it helps.

    python benchmarks/monitoring_triage.py [--quick] [--json PATH]

The streams are read from $MLAUTO_STREAMS, or from shared/streams beside the checkout.

A scikit-learn model answers rows of a real stream (hourly bike rentals) or of one whose truth is known (SEA); requests
and labels are written as the gateway writes them, and looked at after every 20 rows by the live loop's own functions:
measure, test, judge, triage, incident. A fault counts as right when its cause was found, its action was asked for, and,
where that is no retraining, none was asked for at any look. Then a fresh model is fitted to the newest rows as they
came, and compared with the live one on rows that follow, and on rows once the fault is mended: retraining helps where
it is better on both. A run without a fault, and the real stream walked through in its order, count false claims.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from figures import Figure, main
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from mlauto.monitoring.cause import broken_inputs, moved_inputs
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.incidents import open_incident, record_verdict
from mlauto.monitoring.judge import Limits, judge, label_fault
from mlauto.monitoring.labels.joining import read_join
from mlauto.monitoring.metrics import measure
from mlauto.monitoring.quality.watching import Standard, look
from mlauto.monitoring.scores import score
from mlauto.monitoring.triage import Context, triage
from mlauto.records import Action, Cause, Score, Verdict
from mlauto.store import Store

STREAMS = Path(os.environ.get("MLAUTO_STREAMS") or Path(__file__).resolve().parents[2] / "shared" / "streams")
STEP = 20  # rows between two looks, one a second
WINDOW = 500
HEALTHY = 600
LATE = 30  # rows after which a label comes
CLEARLY = 0.95  # of the live model's loss
LIMITS = {"min_labels": 50, "p99_ms": 250.0, "error_rate": 0.001, "stale_after": 300.0}

Rows = list[dict[str, Any]]
Truth = list[Any]


@dataclass
class World:
    """A model with its reference, and rows that come: training's, healthy ones, and those of another time."""

    metric: str
    model: Any
    columns: list[str]
    trained: pd.DataFrame
    healthy: pd.DataFrame
    later: pd.DataFrame

    @property
    def reference(self) -> Score:
        """On rows that the model was not fitted on."""
        found = score(self.metric, *self.answered(self.healthy.iloc[:WINDOW]))
        if found is None:
            raise ValueError("a reference needs rows")
        return found

    def answered(self, frame: pd.DataFrame) -> tuple[list[Any], list[Any]]:
        """Truth and predictions."""
        return frame["target"].tolist(), self.model.predict(frame[self.columns]).tolist()


@dataclass
class Live:
    """The version's logs on disk, and what each look at them decided."""

    world: World
    home: Path
    rolled_out: float | None = None
    now: float = 1_800_000_000.0
    served: int = 0
    verdicts: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = self.home / "predictions"
        self.log.mkdir()
        self.store = Store(self.home)
        self.reference = self.world.reference
        trained = self.world.trained
        self.profile = fit_profile({name: trained[name].to_numpy() for name in self.world.columns})
        self.waiting: list[tuple[str, Any]] = []

    def serve(self, frame: pd.DataFrame, truth: Iterable[Any], *, ms: float = 5.0) -> None:
        """Answer rows; labels (None: none comes) follow, 30 rows later; look after every 20."""
        given, said = _plain(frame, self.world.columns), self.world.model.predict(frame[self.world.columns]).tolist()
        for row, y, label in zip(given, said, truth, strict=True):
            name = f"00000000-{self.served:08x}-abcd"
            self.served, self.now = self.served + 1, self.now + 1
            line = {"id": name, "t": self.now, "v": "1", "ms": ms, "rows": [row], "y": [y]}
            _append(self.log / "predictions-00000000.jsonl", line)
            self.waiting.append((name, label))
            if len(self.waiting) > LATE:
                known, value = self.waiting.pop(0)
                if value is not None:
                    _append(self.log / "labels-00000000.jsonl", {"id": known, "t": self.now, "y": [value]})
            if self.served % STEP == 0:
                self.look()

    def look(self) -> None:
        """Measure, judge, triage and record, as the sensor does; new data is there, nothing was tried."""
        metrics = measure(
            self.log,
            self.home / "monitoring.json",
            version="1",
            metric=self.world.metric,
            window=WINDOW,
            now=self.now,
            profile=self.profile,
            every=float(STEP),
            patience=LIMITS["stale_after"],
        )
        tolerance = 0.02 if self.world.metric == "error_rate" else 0.10
        found = look(
            self.home / "quality.json",
            read_join(self.home / "monitoring.json").windows.get("1", ()),
            version="1",
            standard=Standard(reference=self.reference, tolerance=tolerance),
            quality=metrics.quality,
            now=self.now,
        )
        if found is None:
            raise ValueError(f"{self.world.metric} cannot be tested")
        metrics = replace(metrics, detection=found.beyond, worse=found.worse)
        verdict = judge(metrics, self.reference, Limits(tolerance=tolerance, **LIMITS), self.now)  # type: ignore[arg-type]
        context = Context(
            now=self.now,
            new_data=True,
            new_code=False,
            attempts=0,
            max_attempts=3,
            cooldown=60.0,
            rolled_out=self.rolled_out,
            fallback="0" if self.rolled_out else None,
            broken=metrics.inputs_broken or broken_inputs(metrics.drifted),
            labels=label_fault(metrics, failed=True),
            moved=moved_inputs(metrics.drifted),
        )
        verdict = triage(verdict, context)
        self.verdicts.append(verdict)
        record_verdict(self.store, "p", verdict, version="1", attempts=0, now=self.now)


@dataclass(frozen=True)
class Fault:
    """What is injected into which world, and what must be found and done; `rows` and `labels` spoil what comes."""

    name: str
    world: str
    kind: Cause
    action: Action
    rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    labels: Callable[[Truth], Truth] = lambda truth: truth
    ms: float = 5.0
    later: bool = False  # rows of another time come
    rollout: bool = False
    lasts: int = 1000  # rows


def _nulls(part: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The hour is missing in a part of the rows."""
    return lambda frame: frame.assign(
        hour=np.where(np.random.default_rng(4).random(len(frame)) < part, np.nan, frame["hour"])
    )


def _unit(frame: pd.DataFrame) -> pd.DataFrame:
    """The temperature is no share of 41 degrees any more, it is in degrees; humidity in per cent."""
    return frame.assign(temp=frame["temp"] * 41, humidity=frame["humidity"] * 100)


FAULTS = (
    Fault("null burst, 60 % of rows", "bike", Cause.UPSTREAM_DATA, Action.ALERT, rows=_nulls(0.6)),
    Fault("null burst, 20 % of rows", "bike", Cause.UPSTREAM_DATA, Action.ALERT, rows=_nulls(0.2)),
    Fault("unit change", "bike", Cause.UPSTREAM_DATA, Action.ALERT, rows=_unit),
    Fault("covariate drift", "winter", Cause.COVARIATE_DRIFT, Action.RETRAIN, later=True),
    Fault("concept drift", "sea", Cause.CONCEPT_DRIFT, Action.RETRAIN, later=True, lasts=4000),
    Fault("latency after a rollout", "bike", Cause.SERVING_FAULT, Action.ROLL_BACK, ms=900.0, rollout=True),
    Fault("labels stop", "bike", Cause.LABEL_FEED, Action.ALERT, labels=lambda truth: [None] * len(truth)),
    Fault("labels are all 0", "bike", Cause.LABEL_FEED, Action.ALERT, labels=lambda truth: [0.0] * len(truth)),
    Fault("labels x 1,000", "bike", Cause.LABEL_FEED, Action.ALERT, labels=lambda truth: [1000 * y for y in truth]),
    Fault("labels slip", "bike", Cause.LABEL_FEED, Action.ALERT, labels=lambda truth: [*truth[1:], truth[0]]),
)
SAME = ("labels", "null burst")  # several ways to break the same thing are one fault


def worlds() -> dict[str, World]:
    """Bike rentals in any order; those of a winter, and of the summer after it; SEA before and after a change."""
    bike = pd.read_csv(STREAMS / "bike_hourly.csv").drop(columns=["timestamp", "casual", "registered", "year"])
    bike["target"] = bike["target"].astype(float)
    mixed = bike.sample(frac=1.0, random_state=1).reset_index(drop=True)
    cold = bike[bike["month"].isin([1, 2, 3])].iloc[:2000].sample(frac=1.0, random_state=2)
    warm = bike[bike["month"].isin([6, 7, 8])].iloc[:2208].sample(frac=1.0, random_state=3)
    seasons = ["season", "month"]  # constant in a winter: no model has them
    sea = pd.read_csv(STREAMS / "synth_sea_abrupt.csv")
    return {
        "bike": _world("mae", mixed[:8000], mixed[8000:], mixed[12000:]),
        "winter": _world("mae", cold[:1200].drop(columns=seasons), cold[1200:], warm),
        "sea": _world("error_rate", sea[:6000], sea[6000:10_000], sea[10_000:20_000]),
    }


def _world(metric: str, trained: pd.DataFrame, healthy: pd.DataFrame, later: pd.DataFrame) -> World:
    columns = [name for name in trained.columns if name != "target"]
    return World(metric, _fitted(metric, trained, columns), columns, trained, healthy, later)


def _fitted(metric: str, frame: pd.DataFrame, columns: list[str]) -> Any:
    kind = HistGradientBoostingClassifier if metric == "error_rate" else HistGradientBoostingRegressor
    return kind(max_iter=60, random_state=0).fit(frame[columns], frame["target"])


def injected(fault: Fault, world: World) -> tuple[Live, int]:
    """The fault, after healthy rows; and how many looks came before it."""
    with tempfile.TemporaryDirectory() as home:
        live = Live(world, Path(home))
        good = world.healthy.iloc[WINDOW : WINDOW + HEALTHY]
        live.serve(good, good["target"].tolist())
        before = len(live.verdicts)
        live.rolled_out = live.now if fault.rollout else None
        bad = (world.later if fault.later else world.healthy.iloc[WINDOW + HEALTHY :]).iloc[: fault.lasts]
        live.serve(fault.rows(bad), fault.labels(bad["target"].tolist()), ms=fault.ms)
        incident = open_incident(live.store, "p")
        if incident is None or incident.kind is not fault.kind:
            live.verdicts.append(live.verdicts[before])  # the incident must say it too, or else nothing was found
        return live, before


def helps(fault: Fault, world: World) -> bool:
    """Whether a model fitted to the newest rows is clearly better on the next ones, and once the fault is mended."""
    clean = (world.later if fault.later else world.healthy.iloc[WINDOW + HEALTHY :]).iloc[: 2 * fault.lasts]
    first, second = clean.iloc[: fault.lasts], clean.iloc[fault.lasts :]
    labels = fault.labels(first["target"].tolist())
    came = fault.rows(first).assign(target=labels).dropna(subset=["target"])
    if came.empty:
        return False
    fresh = World(world.metric, _fitted(world.metric, came, world.columns), world.columns, came, came, came)
    return all(_loss(fresh, rows) < CLEARLY * _loss(world, rows) for rows in (fault.rows(second), second))


def _loss(world: World, frame: pd.DataFrame) -> float:
    found = score(world.metric, *world.answered(frame))
    if found is None:
        raise ValueError("a loss needs rows")
    return found.value


def walked() -> tuple[int, int, int]:
    """The real stream in its order, a model of its first tenth, never retrained: looks, claims of a fault, losses."""
    bike = pd.read_csv(STREAMS / "bike_hourly.csv").drop(columns=["timestamp", "casual", "registered", "year"])
    bike["target"] = bike["target"].astype(float)
    first = bike[:1738]
    world = _world("mae", first[:1238], first[1238:], bike)
    with tempfile.TemporaryDirectory() as home:
        live = Live(world, Path(home))
        rest = bike[1738:]
        live.serve(rest, rest["target"].tolist())
    wrong = sum(one.kind in {Cause.UPSTREAM_DATA, Cause.LABEL_FEED} for one in live.verdicts)
    return len(live.verdicts), wrong, sum(one.action is Action.RETRAIN for one in live.verdicts)


def quiet(world: World, rows: int) -> list[Verdict]:
    """What is decided over a run without a fault."""
    with tempfile.TemporaryDirectory() as home:
        live = Live(world, Path(home))
        good = world.healthy.iloc[WINDOW:]
        several = pd.concat([good.sample(frac=1.0, random_state=seed) for seed in range(1 + rows // len(good))])
        live.serve(several.iloc[:rows], several["target"].tolist()[:rows])
    return live.verdicts


def _plain(frame: pd.DataFrame, columns: list[str]) -> Rows:
    given = frame[columns].astype(object)
    return given.where(given.notna(), None).to_dict("records")  # type: ignore[return-value]


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def figures(quick: bool) -> list[Figure]:
    """Faults that were treated right, and false claims where there is none."""
    made = worlds()
    table = Table("fault", "cause found", "action", "after rows", "retrainings asked", "retraining helps", "right")
    right: dict[str, bool] = {}
    agrees = 0
    for fault in FAULTS:
        live, before = injected(fault, made[fault.world])
        after = live.verdicts[before:]
        asked = sum(one.action is Action.RETRAIN for one in after)
        hit = next((n for n, one in enumerate(after, 1) if (one.kind, one.action) == (fault.kind, fault.action)), None)
        last, useful = after[-1], helps(fault, made[fault.world])
        wants = fault.action is Action.RETRAIN
        good = hit is not None and last.kind is fault.kind and (wants or asked == 0)
        name = next((same for same in SAME if fault.name.startswith(same)), fault.name)
        right[name] = right.get(name, True) and good
        agrees += useful is wants
        rows = str(STEP * hit) if hit else "never"
        cells = [fault.name, last.kind, last.action, rows, str(asked), "yes" if useful else "no"]
        table.add_row(*cells, "yes" if good else "NO")
    Console(highlight=False, width=130).print(table)
    calm = [one for name in ("bike", "sea") for one in quiet(made[name], 2000 if quick else 10_000)]
    found: list[Figure] = [
        ("faults with the right cause and action, of 6", sum(right.values()), ">=", 6),
        (f"ways to break where retraining is wanted just if it helps, of {len(FAULTS)}", agrees, ">=", len(FAULTS)),
        (f"false retrainings in {len(calm):,} looks without a fault", _count(calm, Action.RETRAIN), "<=", 0),
        (f"false alerts in {len(calm):,} looks without a fault", _count(calm, Action.ALERT), "<=", 0),
    ]
    if not quick:
        looks, wrong, retrain = walked()
        found.append((f"faults claimed in {looks:,} looks at a real stream that drifts", wrong, "<=", 0))
        found.append(("looks of it that ask for a retraining", retrain, ">=", 1))
    return found


def _count(verdicts: list[Verdict], action: Action) -> int:
    return sum(one.action is action for one in verdicts)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, figures))
