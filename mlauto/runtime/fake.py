"""A runtime in memory, for the tests of whatever stands on the seam."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.base import Answer, Route
from mlauto.store import tree_digest

__all__ = ["FakeRuntime"]


@dataclass
class FakeRuntime:
    """Versions answer their bundle's golden rows with the golden predictions, and any other row with 0.0.

    `broken` (version -> sentence) are versions that do not start; `wrong` are versions whose predictions differ from
    their golden ones; `seconds` is what every answer takes; `counted` is what `metrics` gives.
    `calls` lists what was asked of the runtime, in order.
    """

    seconds: float = 0.001
    broken: dict[str, str] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    counted: str | None = None
    routes: dict[str, Route] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    _golden: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _ready: dict[str, dict[str, str]] = field(default_factory=dict)
    _products: dict[str, list[str]] = field(default_factory=dict)

    def build(self, product: str, version: str, key: str, content: Path) -> Image:
        """Remember the golden rows of `content` and remove it."""
        self.calls.append(("build", product, version))
        digest = tree_digest(content)
        golden = content / "golden.json"
        self._golden[digest] = json.loads(golden.read_text()) if golden.is_file() else {"rows": [], "predictions": []}
        shutil.rmtree(content)
        image = Image(kind="fake", digest=digest, reference=f"fake:{digest}", version=version, key=key)
        self.images[digest] = image
        self._products.setdefault(product, []).append(digest)
        return image

    def holds(self, product: str, image: Image) -> bool:
        """Whether it was built here and not tidied away."""
        del product
        return image.digest in self.images

    def start(self, product: str, image: Image) -> None:
        """Ready at once, unless the version is in `broken`."""
        self.calls.append(("start", product, image.version))
        if image.version in self.broken:
            raise DeliveryError(f"version {image.version} did not start: {self.broken[image.version]}")
        self._ready.setdefault(product, {})[image.version] = image.digest

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        """The golden predictions, or wrong ones when the version is in `wrong`."""
        self.calls.append(("predict", product, version))
        digest = self._ready.get(product, {}).get(version)
        if digest is None:
            raise DeliveryError(f"version {version} of {product} is not running: start it first")
        golden = self._golden.get(digest, {"rows": [], "predictions": []})
        places = [golden["rows"].index(dict(row)) if dict(row) in golden["rows"] else None for row in rows]
        predictions = [0.0 if place is None else golden["predictions"][place] for place in places]
        odds = golden.get("probabilities")
        known = [odds[place] for place in places if odds and place is not None]
        probabilities = tuple(map(tuple, known)) if odds and len(known) == len(places) else None
        if version in self.wrong:
            predictions = [f"not {p}" if isinstance(p, str) else p + 1 for p in predictions]
        return Answer(version, tuple(predictions), probabilities, self.seconds)

    def switch(self, product: str, route: Route) -> None:
        """Refused for a route with a version that is not ready."""
        self.calls.append(("switch", product, route.champion))
        for wanted in route.named():
            if wanted not in self._ready.get(product, {}):
                raise DeliveryError(f"version {wanted} of {product} is not ready: start it first")
        self.routes[product] = route

    def route(self, product: str) -> Route | None:
        """The newest one switched to."""
        return self.routes.get(product)

    def live(self, product: str) -> str | None:
        """The champion."""
        return self.routes[product].champion if product in self.routes else None

    def metrics(self) -> str | None:
        """What the test says was counted."""
        return self.counted

    def running(self, product: str) -> dict[str, str]:
        """Every started version is ready."""
        return dict.fromkeys(self._ready.get(product, {}), "ready")

    def stop(self, product: str, version: str) -> None:
        """Refused for the champion."""
        self.calls.append(("stop", product, version))
        route = self.routes.get(product)
        if route is not None and route.champion == version:
            raise DeliveryError(f"version {version} of {product} answers users: switch to another version first")
        self._ready.get(product, {}).pop(version, None)
        if route is not None:
            self.routes[product] = route.without(version)

    def tidy(self, product: str, kept: Collection[Image], now: float) -> tuple[str, ...]:
        """All images of the product's versions but those kept, or running, go."""
        del now
        self.calls.append(("tidy", product, *sorted(image.version for image in kept)))
        stay = {image.digest for image in kept} | set(self._ready.get(product, {}).values())
        gone = [digest for digest in self._products.get(product, []) if digest in self.images and digest not in stay]
        return tuple(self.images.pop(digest).version for digest in gone)
