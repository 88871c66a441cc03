"""Orders to the gateway of this machine, over its control socket. Every failure is a `DeliveryError`."""

import fcntl
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from typing import Any

from mlauto.errors import DeliveryError
from mlauto.runtime.base import Route
from mlauto.runtime.unix_http import Connection

__all__ = ["GatewayClient"]

ANSWER_SECONDS = 35.0
START_SECONDS = 180.0  # the gateway gives up by itself, earlier
RESTART_SECONDS = 310.0  # likewise
AGAIN_SECONDS = 0.1  # between two attempts at an order that is not taken during a restart
RESTARTING = 503


class _RestartingError(DeliveryError):
    """The gateway takes this order in a moment, but not now."""


class GatewayClient:
    """Client of the gateway whose state is in `home` (`.mlauto/gateway`). Holds no connection between two calls."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def answers(self) -> bool:
        """True when a gateway listens on the control socket."""
        return self.answered() is not None

    def answered(self) -> dict[str, Any] | None:
        """What `status` gives; None when no gateway answers, as one that is just being killed."""
        try:
            status, body = self._exchange("GET", "/status", None, 2.0)
        except (HTTPException, OSError):
            return None
        found: dict[str, Any] | None = json.loads(body) if status == 200 else None
        return found

    def pid(self) -> int | None:
        """The gateway's process, known by the lock it holds for as long as it lives; None when there is none."""
        try:
            with (self.home / "pid").open("rb") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = stream.read().strip()
                    return int(text) if text.isdigit() else None
        except FileNotFoundError:
            return None
        return None

    def status(self) -> dict[str, Any]:
        """`{"pid", "host", "port", "products": {name: {"champion", ..., "versions": {version: {"state"}}}}}`."""
        return self._order("GET", "/status")

    def start(self, product: str, version: str, bundle: Path) -> None:
        """Run a version, and return when it is ready; the error carries the tail of its log."""
        order = {"product": product, "version": version, "bundle": str(bundle)}
        self._change("/start", order, seconds=START_SECONDS)

    def attach(self, product: str, version: str, socket: Path, image: str) -> None:
        """Have a version whose server listens at that socket, in a container of that image; return when it is ready."""
        order = {"product": product, "version": version, "socket": str(socket), "image": image}
        self._change("/start", order, seconds=START_SECONDS)

    def switch(self, product: str, route: Route) -> None:
        """Let another route decide who answers users."""
        self._change("/switch", {"product": product, **asdict(route)})

    def stop(self, product: str, version: str) -> None:
        """Stop a version that does not answer users."""
        self._change("/stop", {"product": product, "version": version})

    def restart(self, program: str, environment: Mapping[str, str]) -> int:
        """Put a new process in the gateway's place, and return its pid, which `status` says soon.

        The error says why it could not; then the old one goes on.
        """
        order = {"program": program, "environment": dict(environment)}
        return int(self._order("POST", "/restart", order, seconds=RESTART_SECONDS)["pid"])

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        """`{"version", "predictions", "probabilities"}` of exactly that version."""
        return self._order("POST", "/predict", {"product": product, "version": version, "rows": list(rows)})

    def _change(self, path: str, order: Mapping[str, object], *, seconds: float = ANSWER_SECONDS) -> None:
        """Give an order, and again while the gateway takes none because it is being restarted."""
        deadline = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                self._order("POST", path, order, seconds=seconds)
            except _RestartingError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_SECONDS)
            else:
                return

    def _order(
        self, method: str, path: str, content: Mapping[str, object] | None = None, *, seconds: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        try:
            status, body = self._exchange(method, path, content, seconds)
        except (HTTPException, OSError) as error:
            log = self.home / "gateway.log"
            raise DeliveryError(f"the gateway of {self.home.parent} does not answer ({error}): see {log}") from error
        answer: dict[str, Any] = json.loads(body)
        if status == RESTARTING:
            raise _RestartingError(str(answer.get("error")))
        if status != 200:
            raise DeliveryError(str(answer.get("error", f"the gateway answered {status} to {path}")))
        return answer

    def _exchange(
        self, method: str, path: str, content: Mapping[str, object] | None, seconds: float
    ) -> tuple[int, bytes]:
        connection = Connection(self.home / "control.sock", seconds)
        try:
            body = None if content is None else json.dumps(content, allow_nan=False).encode()
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()
