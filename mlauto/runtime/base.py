"""The seam: what delivery asks of a place where versions of a model run and answer users."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlauto.records import Image

__all__ = ["Answer", "Route", "Runtime"]


@dataclass(frozen=True)
class Route:
    """Who answers a product's users: set as a whole, so that no request sees half a change.

    `fallback` answers when the champion fails. `canary` answers `percent` (0 to 100) of the requests, and the champion
    those that the canary fails. `shadow` gets a copy of the requests and answers nobody; its answers are logged.
    """

    champion: str
    fallback: str | None = None
    canary: str | None = None
    percent: float = 0.0
    shadow: str | None = None

    def named(self) -> tuple[str, ...]:
        """Every version that takes part, the champion first."""
        return tuple(v for v in (self.champion, self.fallback, self.canary, self.shadow) if v is not None)

    def without(self, version: str) -> "Route":
        """The same when that version, which is not the champion, no longer runs."""
        return Route(
            self.champion,
            None if self.fallback == version else self.fallback,
            None if self.canary == version else self.canary,
            0.0 if self.canary == version else self.percent,
            None if self.shadow == version else self.shadow,
        )


@dataclass(frozen=True)
class Answer:
    """What one version said about some rows: one prediction per row, and the classes' probabilities where it has them.

    `seconds` is the time of the whole exchange, as the asker saw it.
    """

    version: str
    predictions: tuple[Any, ...]
    probabilities: tuple[tuple[float, ...], ...] | None
    seconds: float


class Runtime(Protocol):
    """Builds, starts, asks, switches and stops versions of products. Every method raises `DeliveryError` on failure.

    All methods are idempotent, so that a rollout that was killed between two steps can be done again from the start.
    """

    def build(self, product: str, version: str, key: str, content: Path) -> Image:
        """An immutable image of the directory `content`, which is gone afterwards; equal content, equal digest."""
        ...

    def holds(self, product: str, image: Image) -> bool:
        """Whether that image is there, whole; a damaged one is removed, so that it can be built again."""
        ...

    def start(self, product: str, image: Image) -> None:
        """Start the image's version and return when it is ready; the error carries the tail of the server's log."""
        ...

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        """Ask exactly that version; this is no traffic of users and is not logged as such."""
        ...

    def switch(self, product: str, route: Route) -> None:
        """Let the route decide who answers users, atomically; refused unless every version it names is ready."""
        ...

    def route(self, product: str) -> Route | None:
        """The route that decides right now; None when no version answers users."""
        ...

    def live(self, product: str) -> str | None:
        """The version that answers users right now, as the public address itself says; None when none does."""
        ...

    def metrics(self) -> str | None:
        """What the public address has counted, as Prometheus text; None when nobody listens there."""
        ...

    def running(self, product: str) -> dict[str, str]:
        """The state of each version that should run: `ready`, `starting` or `failed`."""
        ...

    def stop(self, product: str, version: str) -> None:
        """Stop a version after its requests in flight; refused while it answers users. Unknown versions are stopped."""
        ...

    def tidy(self, product: str, kept: Collection[Image], now: float) -> tuple[str, ...]:
        """Remove what this runtime made for the product and needs for none of the `kept` images; what that was.

        What is in use stays, and so does what is younger than an hour at the time `now`: its record may be to come.
        """
        ...
