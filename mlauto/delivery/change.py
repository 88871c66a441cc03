"""The steps that change what answers users, in the order that lets any of them be killed and all be done again.

Start, switch, proof by asking the public address, alias in the registry, record: until the record is written the old
one stands, and a step that was done already changes nothing the second time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mlauto.delivery.decisions import newer, rejection
from mlauto.delivery.history import Served, note
from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Deployment, Image
from mlauto.runtime.base import Route, Runtime
from mlauto.store import Store

__all__ = ["EVENTS", "Change", "Promote", "serving", "with_event"]

Promote = Callable[[str], None]
POLL_SECONDS = 0.02
EVENTS = 20
DEPLOYMENTS_KEPT = 50


@dataclass(frozen=True)
class Change:
    """One change of a product's production, whose holder has it to itself. Every step may be done again.

    `promote` points the registry's alias at a version; `patience` is how long a switch may take to show, in seconds.
    """

    product: str
    runtime: Runtime
    store: Store
    promote: Promote
    now: float
    patience: float

    def put(self, image: Image, production: Deployment | None) -> None:
        """Start, switch, prove, promote, record: the version goes live with the one before it as fallback."""
        self.runtime.start(self.product, image)
        previous = production.version if production else None
        fallback, text = previous, f"version {image.version} replaced {previous}"
        if production is None:
            text = f"version {image.version} went live"
        elif previous == image.version:  # it was live before: the gateway lost it
            fallback, text = production.fallback, f"version {image.version} was put back into production"
        if fallback is not None and not self._may_stand_behind(fallback):
            fallback = None
        self.switch(image.version, fallback, previous)
        self.promote(image.version)
        self.record(image, fallback, production, text)

    def switch(self, version: str, fallback: str | None, previous: str | None) -> None:
        """Switch and wait until the public address answers with the version; go back to `previous` when it does not."""
        self.runtime.switch(self.product, Route(version, fallback))
        deadline = time.monotonic() + self.patience
        live, problem = self._live()
        while live != version and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            live, problem = self._live()
        if live == version:
            return
        back = ""
        if previous not in {None, version} and self.runtime.running(self.product).get(str(previous)) == "ready":
            self.runtime.switch(self.product, Route(str(previous)))
            back = f"; switched back to {previous}"
        raise DeliveryError(
            f"{self.product}: {self.patience:g} s after the switch to version {version} users are answered by"
            f" {live or 'none'}{problem}{back}: see the gateway's log"
        )

    def record(
        self, image: Image, fallback: str | None, before: Deployment | None, text: str, *, back: bool = False
    ) -> None:
        """Record what is in production now, and that the version has been there: a rollback may return to it.

        `back` says that this was one.
        """
        deployment = Deployment(
            environment="production",
            version=image.version,
            image=image.digest,
            since=self.now,
            fallback=fallback,
            events=with_event(before.events if before else (), self.now, text),
            rollbacks=(before.rollbacks if before else 0) + back,
        )
        store, product = self.store, self.product
        store.write_record(product, f"deployments/{image.version}", deployment)
        note(store, product, Served(at=self.now, champion=image.version, why=text))
        store.write_record(product, "production", deployment)
        for old in sorted(store.record_names(product, "deployments"), key=int)[:-DEPLOYMENTS_KEPT]:
            store.record_path(product, f"deployments/{old}").unlink(missing_ok=True)

    def checked(self) -> Deployment:
        """Production's record with its check, asked just now."""
        production = self.store.read_record(self.product, "production", Deployment)
        if production is None:
            raise DeliveryError(f"{self.product}: the record of production vanished: materialize production again")
        checked = replace(production, checks=(serving(production, self.runtime.live(self.product)),))
        if checked != production:
            self.store.write_record(self.product, "production", checked)
        return checked

    def stop_leftovers(self, candidate: str | None = None) -> None:
        """Stop what neither answers, nor stands behind it, nor is a candidate for later.

        Where one `candidate` runs beside the champion, those before it are none any more.
        """
        production = self.store.read_record(self.product, "production", Deployment)
        if production is None:
            return
        used = {production.version, production.fallback, candidate}
        newest = candidate or production.version
        for version in self.runtime.running(self.product).keys() - used:
            if newer(newest, version) or rejection(self.product, version, self.store) is not None:
                self.runtime.stop(self.product, version)

    def _may_stand_behind(self, version: str) -> bool:
        ready = self.runtime.running(self.product).get(version) == "ready"
        return ready and rejection(self.product, version, self.store) is None

    def _live(self) -> tuple[str | None, str]:
        """The live version, or why it could not be asked: right after a switch both may take a moment."""
        try:
            return self.runtime.live(self.product), ""
        except DeliveryError as error:
            return None, f" ({error})"


def serving(production: Deployment | None, live: str | None) -> CheckOutcome:
    """The check `serving_expected_version`: whether the recorded version is the one that answers users."""
    expected = production.version if production else None
    return CheckOutcome(
        name="serving_expected_version",
        passed=live == expected,
        summary=f"version {live or 'none'} answers users, {expected or 'none'} is recorded",
        details={"live": live, "recorded": expected},
    )


def with_event(events: tuple[str, ...], now: float, text: str) -> tuple[str, ...]:
    """The newest twenty events, with one more."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    return (*events, f"{when} {text}")[-EVENTS:]
