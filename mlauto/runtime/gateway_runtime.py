"""What runs behind the gateway of this machine: whoever starts the model servers, orders and users go through it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlauto.errors import DeliveryError
from mlauto.runtime.base import Answer, Route
from mlauto.runtime.gateway_client import GatewayClient
from mlauto.settings import Settings

if TYPE_CHECKING:
    import httpx

__all__ = ["GatewayRuntime"]

GATEWAY_START_SECONDS = 30.0
GATEWAY_STOP_SECONDS = 40.0
POLL_SECONDS = 0.01
METRICS_SECONDS = 5.0
ALREADY_RUNNING = 3
LOG_LIMIT = 4 << 20


class GatewayRuntime:
    """Starts the gateway when it is needed and gives it orders; the gateway outlives this process."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing and creates nothing."""
        self._settings = settings
        self._gateway = GatewayClient(settings.gateway_home)
        self._log_start = 0  # where in the gateway's log the newest attempt to start one began

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        """Ask exactly that version, through the gateway's control socket."""
        if not self._gateway.pid():
            self.ensure()
        began = time.perf_counter()
        said = self._gateway.predict(product, version, rows)
        seconds = time.perf_counter() - began
        odds = said["probabilities"]
        probabilities = None if odds is None else tuple(tuple(row) for row in odds)
        return Answer(said["version"], tuple(said["predictions"]), probabilities, seconds)

    def switch(self, product: str, route: Route) -> None:
        """One order to the gateway, which records it and then swaps one pointer."""
        self.ensure()
        self._gateway.switch(product, route)

    def route(self, product: str) -> Route | None:
        """What the gateway says; there is no route without a gateway."""
        if not self._gateway.answers():
            return None
        known = self._gateway.status()["products"].get(product, {})
        if not known.get("champion"):
            return None
        return Route(known["champion"], known["fallback"], known["canary"], known["percent"], known["shadow"])

    def live(self, product: str) -> str | None:
        """The version named by the public port's own reply to a request for metadata, which the model server makes."""
        import httpx

        try:
            address = f"{self._settings.gateway_url}/v2/models/{product}"
            known = self._settings.credentials
            reply = httpx.get(address, headers=known, timeout=35.0, trust_env=False, verify=False)  # noqa: S501 -- plain HTTP
        except httpx.TransportError:
            return None
        if reply.status_code in (404, 503):
            return None
        if reply.status_code == 401:
            raise DeliveryError(
                f"{self._settings.gateway_url}: {_said(reply)}: set MLAUTO_API_KEY to one that it takes"
            )
        if reply.status_code != 200 or "x-mlauto-version" not in reply.headers:
            raise DeliveryError(f"{self._settings.gateway_url} answers, but is no gateway: {_said(reply)}")
        return str(reply.headers["x-mlauto-version"])

    def metrics(self) -> str | None:
        """The gateway's own `/metrics`."""
        import httpx

        try:
            reply = httpx.get(
                f"{self._settings.gateway_url}/metrics",
                headers=self._settings.credentials,
                timeout=METRICS_SECONDS,
                trust_env=False,
                verify=False,  # noqa: S501 -- plain HTTP
            )
        except httpx.ConnectError:
            return None
        except httpx.HTTPError as error:
            raise DeliveryError(
                f"{self._settings.gateway_url}/metrics: {str(error) or type(error).__name__}"
            ) from error
        if reply.status_code != 200:
            raise DeliveryError(f"{self._settings.gateway_url}/metrics: {_said(reply)}")
        return reply.text

    def running(self, product: str) -> dict[str, str]:
        """What the gateway says; nothing runs without a gateway."""
        return {version: str(entry["state"]) for version, entry in self._versions(product).items()}

    def stop(self, product: str, version: str) -> None:
        """One order to the gateway; without a gateway it is started, for its state file to forget the version."""
        self.ensure()
        self._gateway.stop(product, version)

    def ensure(self) -> None:
        """Start the gateway, detached, when none runs for this state directory. Raises `DeliveryError`."""
        status = self._gateway.answered()
        if status is not None:
            self._check_address(status)
            return
        deadline = time.monotonic() + GATEWAY_START_SECONDS
        code = self._spawn()
        while (status := self._gateway.answered()) is None:
            if code not in (0, ALREADY_RUNNING):
                raise DeliveryError(f"the gateway did not start (exit code {code}): {self._log_tail()}")
            if time.monotonic() > deadline:
                raise DeliveryError(f"the gateway did not answer in {GATEWAY_START_SECONDS:.0f} s: {self._log_tail()}")
            time.sleep(POLL_SECONDS)
            if self._gateway.pid() is None:
                code = self._spawn()  # one that was about to end has ended now
        self._check_address(status)
        self._wake()

    def restart(self) -> None:
        """Have the gateway run this Python's code with these settings; no request is lost meanwhile, nor any order.

        Without a gateway it is started. Raises `DeliveryError` when the new process does not become ready; then the old
        one goes on as before.
        """
        if self._gateway.pid() is None:
            self.ensure()
            return
        self._check_address(self._gateway.status())
        ours = {name: value for name, value in self._settings.environment().items() if name.startswith("MLAUTO_")}
        pid = self._gateway.restart(sys.executable, ours)
        deadline = time.monotonic() + GATEWAY_START_SECONDS
        while not (self._gateway.answers() and self._gateway.status()["pid"] == pid):
            if time.monotonic() > deadline:
                raise DeliveryError(f"the gateway's new process {pid} does not answer: see its log")
            time.sleep(POLL_SECONDS)

    def shut_down(self) -> None:
        """End the gateway and its model servers after the requests in flight; the next `ensure` starts them again."""
        pid = self._gateway.pid()
        if pid is None:
            return
        deadline = time.monotonic() + GATEWAY_STOP_SECONDS
        os.kill(pid, signal.SIGTERM)
        while self._gateway.pid() == pid:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(POLL_SECONDS)

    def _versions(self, product: str) -> dict[str, dict[str, Any]]:
        """What the gateway knows of each version."""
        status = self._gateway.answered()
        known = status["products"].get(product) if status else None
        found: dict[str, dict[str, Any]] = known["versions"] if known else {}
        return found

    def _wake(self) -> None:
        """Called after this process had to start the gateway: whatever should run and does not run by itself."""

    def _check_address(self, status: Mapping[str, Any]) -> None:
        """The running gateway must be where these settings say that clients find it."""
        if status["port"] != self._settings.gateway_port:
            raise DeliveryError(
                f"the gateway of {self._settings.home} listens on port {status['port']}, but MLAUTO_GATEWAY_PORT is "
                f"{self._settings.gateway_port}: set it to {status['port']}, or stop process {status['pid']}"
            )

    def _spawn(self) -> int:
        """Start a gateway that is not this process's child; 0 when it is bound, else its exit code."""
        log = self._settings.gateway_home / "gateway.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.unlink()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= self._settings.environment()
        host, port = self._settings.gateway_host, str(self._settings.gateway_port)
        command = [sys.executable, "-m", "mlauto.serving.gateway", "--home", str(self._settings.home), "--detach"]
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            done = subprocess.run(
                [*command, "--host", host, "--port", port],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd="/",  # it outlives whoever started it, and must not hold its directory
                start_new_session=True,
                check=False,
            )
        return done.returncode

    def _log_tail(self) -> str:
        log = self._settings.gateway_home / "gateway.log"
        if not log.exists():
            return "it wrote no log"
        with log.open("rb") as file:
            file.seek(self._log_start)
            said = file.read().decode(errors="replace").strip()
        return said[-2000:] or f"it wrote nothing to {log}"


def _said(reply: "httpx.Response") -> str:
    return f"{reply.status_code} {reply.text[:200]}"
