"""Orders to the gateway of this machine, over its control socket. Every failure is a `DeliveryError`."""

import fcntl
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlauto.errors import DeliveryError
from mlauto.serving.sockets import short_path

if TYPE_CHECKING:
    import httpx

__all__ = ["GatewayClient"]

ANSWER_SECONDS = 35.0
START_SECONDS = 180.0  # the gateway gives up by itself, earlier


class GatewayClient:
    """Client of the gateway whose state is in `home` (`.mlauto/gateway`). Holds no connection between two calls."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def answers(self) -> bool:
        """True when a gateway listens on the control socket."""
        import httpx

        try:
            with self._connection(2.0) as client:
                return client.get("/status").status_code == 200
        except (httpx.TransportError, OSError):
            return False

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
        """`{"pid", "host", "port", "products": {name: {"champion", "fallback", "versions": {version: {"state"}}}}}`."""
        return self._order("GET", "/status")

    def start(self, product: str, version: str, bundle: Path) -> None:
        """Run a version, and return when it is ready; the error carries the tail of its log."""
        order = {"product": product, "version": version, "bundle": str(bundle)}
        self._order("POST", "/start", order, seconds=START_SECONDS)

    def switch(self, product: str, version: str, fallback: str | None) -> None:
        """Let another version answer users."""
        self._order("POST", "/switch", {"product": product, "version": version, "fallback": fallback})

    def stop(self, product: str, version: str) -> None:
        """Stop a version that does not answer users."""
        self._order("POST", "/stop", {"product": product, "version": version})

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        """`{"version", "predictions", "probabilities"}` of exactly that version."""
        return self._order("POST", "/predict", {"product": product, "version": version, "rows": list(rows)})

    def _order(
        self, method: str, path: str, content: Mapping[str, object] | None = None, *, seconds: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        import httpx

        try:
            with self._connection(seconds) as client:
                reply = client.request(method, path, json=content) if content else client.request(method, path)
        except (httpx.TransportError, OSError) as error:
            log = self.home / "gateway.log"
            raise DeliveryError(f"the gateway of {self.home.parent} does not answer ({error}): see {log}") from error
        answer: dict[str, Any] = reply.json()
        if reply.status_code != 200:
            raise DeliveryError(str(answer.get("error", f"the gateway answered {reply.status_code} to {path}")))
        return answer

    @contextmanager
    def _connection(self, seconds: float) -> Iterator["httpx.Client"]:
        import httpx

        with short_path(self.home / "control.sock") as name:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(name)  # httpx leaves its socket open where nobody listens
            # no TLS on a unix socket: loading the authorities' certificates would cost 25 ms for each order
            transport = httpx.HTTPTransport(uds=name, verify=False)
            with httpx.Client(transport=transport, base_url="http://gateway", timeout=seconds) as client:
                yield client
