"""`mlauto gateway start|stop|restart|status`: what owns the public port."""

from dataclasses import dataclass
from typing import Any

from mlauto.runtime.chosen import runtime_of
from mlauto.runtime.gateway_client import GatewayClient
from mlauto.settings import Settings

__all__ = ["GatewayState", "gateway_state", "render", "restart_gateway", "start_gateway", "stop_gateway"]


@dataclass(frozen=True, kw_only=True)
class GatewayState:
    """What the gateway of a state directory says of itself; without `pid` none runs, and there are no products.

    `workers` are the processes that answer users, of which `pid` leads.
    """

    url: str
    pid: int | None
    products: dict[str, Any]
    workers: tuple[int, ...] = ()

    @property
    def running(self) -> bool:
        """True when there is one."""
        return self.pid is not None


def start_gateway(settings: Settings) -> GatewayState:
    """Start it detached unless it runs, and return when it answers. Raises `DeliveryError` when it does not."""
    runtime_of(settings).ensure()
    return gateway_state(settings)


def restart_gateway(settings: Settings) -> GatewayState:
    """Put a new process in its place, with this code and these settings, and return when that one answers.

    No request is lost. Raises `DeliveryError` when the new one does not become ready: then the old one goes on.
    """
    runtime_of(settings).restart()
    return gateway_state(settings)


def gateway_state(settings: Settings) -> GatewayState:
    """Ask it, over its control socket. Raises `DeliveryError` when there is one that does not answer."""
    client = GatewayClient(settings.gateway_home)
    if client.pid() is None:
        return GatewayState(url=settings.gateway_url, pid=None, products={})
    said = client.status()
    url = f"http://{said['host']}:{said['port']}"
    workers = tuple(said.get("workers", ()))  # one of older code does not say
    return GatewayState(url=url, pid=int(said["pid"]), products=said["products"], workers=workers)


def stop_gateway(settings: Settings) -> bool:
    """End the gateway and its model servers, after the requests in flight; False when none was running."""
    running = GatewayClient(settings.gateway_home).pid() is not None
    runtime_of(settings).shut_down()
    return running


def render(state: GatewayState) -> str:
    """The state as text: a line for the gateway and one per version."""
    if not state.running:
        return f"no gateway runs for {state.url}: mlauto gateway start"
    processes = ", ".join(map(str, state.workers[1:]))
    beside = f", beside it {processes}" if processes else ""
    lines = [f"the gateway answers at {state.url} (process {state.pid}{beside})"]
    for name, product in sorted(state.products.items()):
        for version, entry in sorted(product["versions"].items()):
            roles = [role for role in ("champion", "fallback", "canary", "shadow") if product.get(role) == version]
            lines.append(f"  {name} {version}: {' '.join([*roles, entry['state']])}")
    return "\n".join(lines)
