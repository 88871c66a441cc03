"""Models as training leaves them, and a runtime in memory that checks rows and can be killed between two steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlauto.delivery.image import build_image
from mlauto.delivery.progress import Plan
from mlauto.delivery.rollback import roll_back
from mlauto.delivery.rollout import continue_rollout, roll_out
from mlauto.delivery.stages import Way
from mlauto.delivery.verification import verify
from mlauto.errors import DeliveryError
from mlauto.proof import RolloutEvidence
from mlauto.records import (
    CheckOutcome,
    Commit,
    Deployment,
    Image,
    Score,
    Signature,
    TrainedModel,
    TrainingSet,
)
from mlauto.runtime.base import Answer, Route
from mlauto.runtime.fake import FakeRuntime
from mlauto.store import Store
from mlauto.training.allowed import is_allowed

PRODUCT = "bikes"
NOW = 1_700_000_000.0
SIGNATURE = Signature(
    columns={"temp": "number", "hour": "integer", "holiday": "boolean", "sky": "string"}, task="regression"
)
ROWS: list[dict[str, Any]] = [
    {"temp": 12.5, "hour": 8, "holiday": False, "sky": "clear"},
    {"temp": None, "hour": 23, "holiday": True, "sky": None},
    {"temp": -3.0, "hour": 0, "holiday": None, "sky": "never seen"},
]
KINDS = {"number": (int, float), "integer": (int,), "boolean": (bool,), "string": (str,)}


class Killed(BaseException):
    """A process that is gone: nothing after it happens, and nobody catches it."""


@dataclass
class StrictRuntime(FakeRuntime):
    """A fake that refuses rows which do not fit, as the model server does, and can be made to behave badly.

    `lenient` answers whatever is asked, `vague` refuses without naming the column, `deaf` versions are never live.
    Limits and categories are those of `limits`.
    """

    lenient: bool = False
    limits: Signature = SIGNATURE
    vague: bool = False
    deaf: set[str] = field(default_factory=set)
    slow: list[float] = field(default_factory=list)

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        for row in rows:
            for name, value in row.items():
                kind = SIGNATURE.columns.get(name)
                fits = kind is not None and (value is None or isinstance(value, KINDS[kind]))
                fits = fits and is_allowed({**dict.fromkeys(SIGNATURE.columns), name: value}, self.limits)
                if not fits and not self.lenient:
                    raise DeliveryError("bad request" if self.vague else f"column {name!r} takes no {value!r}")
        answer = super().predict(product, version, rows)
        return Answer(answer.version, answer.predictions, None, self.slow.pop() if self.slow else answer.seconds)

    def live(self, product: str) -> str | None:
        version = super().live(product)
        return None if version in self.deaf else version


@dataclass
class Fuse:
    """Kills at the step of that number, before or after the step took effect; 0 never does."""

    step: int = 0
    after: bool = False
    count: int = 0

    def run(self, effect: Any, *given: Any, **named: Any) -> Any:
        self.count += 1
        if self.count == self.step and not self.after:
            raise Killed
        result = effect(*given, **named)
        if self.count == self.step:
            raise Killed
        return result


class FusedRuntime(StrictRuntime):
    """Every change that it makes is a step of the fuse."""

    fuse = Fuse()

    def start(self, product: str, image: Image) -> None:
        self.fuse.run(super().start, product, image)

    def switch(self, product: str, route: Route) -> None:
        self.fuse.run(super().switch, product, route)

    def stop(self, product: str, version: str) -> None:
        self.fuse.run(super().stop, product, version)


class FusedStore(Store):
    """Every record that it writes is a step of the fuse."""

    fuse = Fuse()

    def write_record(self, product: str, name: str, record: object) -> None:
        self.fuse.run(super().write_record, product, name, record)


@dataclass
class Delivery:
    """One product's delivery, step by step, and the registry's alias."""

    store: Store
    runtime: StrictRuntime
    tree: Path
    promoted: list[str] = field(default_factory=list)
    fuse: Fuse = field(default_factory=Fuse)

    def promote(self, version: str) -> None:
        self.fuse.run(self.promoted.append, version)

    def model(self, version: str, **changed: Any) -> TrainedModel:
        return make_model(self.store, version, **changed)

    def image(self, version: str) -> Image:
        return build_image(PRODUCT, self.model(version), self.tree, self.runtime, self.store)

    def test(self, version: str, image: Image | None = None, latency_ms: float = 100.0) -> Deployment:
        image = image or self.image(version)
        return verify(PRODUCT, image, self.model(version), self.runtime, self.store, latency_ms=latency_ms, now=NOW)

    def release(
        self,
        version: str,
        *,
        mode: str = "auto",
        bake: float = 60.0,
        now: float = NOW,
        patience: float = 1.0,
        way: Way | None = None,
    ) -> Deployment:
        image = self.image(version)
        test = self.test(version, image)
        return roll_out(
            PRODUCT,
            image,
            test,
            self.runtime,
            self.store,
            self.promote,
            mode=mode,
            way=way or Way(plan=Plan(bake=bake)),
            now=now,
            patience=patience,
        )

    def back(self, to: str | None = None, reason: str = "slow") -> Deployment:
        return roll_back(
            PRODUCT,
            self.runtime,
            self.store,
            self.promote,
            to=to,
            reason=reason,
            now=NOW + 100,
            patience=0.1,
        )

    def step(self, way: Way, after: float) -> Deployment:
        """Take the rollout that is under way further, so many seconds after the first one began."""
        return continue_rollout(PRODUCT, self.runtime, self.store, self.promote, way=way, now=NOW + after, patience=0.1)

    def production(self) -> Deployment:
        found = self.store.read_record(PRODUCT, "production", Deployment)
        assert found is not None
        return found


def make_model(store: Store, version: str, **changed: Any) -> TrainedModel:
    """A model's record and its artifact in the store; its predictions depend on the version."""
    content = store.scratch("artifact")
    golden = {
        "rows": ROWS,
        "predictions": [float(version) + place for place in range(len(ROWS))],
        "probabilities": None,
    }
    (content / "model.skops").write_bytes(f"weights of {version}".encode())
    (content / "signature.json").write_bytes(msgspec.json.encode(SIGNATURE))
    (content / "golden.json").write_text(json.dumps(changed.pop("golden", golden)))
    (content / "trusted.json").write_text(json.dumps(changed.pop("trusted", ["bikes.model.Lags"])))
    (content / "card.md").write_text("# a model")
    values: dict[str, Any] = {
        "version": version,
        "key": f"key-{version}",
        "artifact": store.put_tree(content),
        "commit": Commit(sha="c" * 40, tree="t" * 64, subject="a change", author="somebody", time=1.0),
        "training_set": TrainingSet(batches=(), digest="d" * 64),
        "run_id": "r",
        "signature": SIGNATURE,
        "reference": Score(metric="mae", value=1.0, low=0.9, high=1.1, rows=100),
        "scores": (),
        "checks": (CheckOutcome(name="valid", passed=True, summary="finite"),),
        "seed": 0,
        "reason": "first",
        "trained": NOW,
    }
    return TrainedModel(**(values | changed))


def make_evidence(**changed: Any) -> RolloutEvidence:
    """Version 2 beside its champion 1, with nothing seen of either but what is given."""
    values: dict[str, Any] = {
        "candidate": "2",
        "champion": "1",
        "since": NOW,
        "until": NOW + 1,
        "requests": {},
        "errors": {},
        "p99_ms": {},
        "shadows": 0,
        "shadow_errors": 0,
        "disagreement": None,
        "paired": 0,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "metric": "mae",
    }
    return RolloutEvidence(**(values | changed))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An export of a team's commit."""
    root = tmp_path / "export"
    (root / "src" / "bikes").mkdir(parents=True)
    (root / "src" / "bikes" / "model.py").write_text("def build(): ...\n")
    (root / "README.md").write_text("# bikes\n")
    return root


@pytest.fixture
def delivery(store: Store, tree: Path) -> Delivery:
    """A product of which nothing was delivered yet."""
    return Delivery(store, StrictRuntime(), tree)
