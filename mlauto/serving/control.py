"""Orders to the gateway, as JSON over HTTP on its control socket, which only its own user may open.

| request                                                   | reply                                                  |
|-----------------------------------------------------------|--------------------------------------------------------|
| `GET /status`                                             | process, all that answer users (`workers`), address,   |
|                                                           | products with versions and states                      |
| `POST /start {"product", "version", "bundle"}`            | `{"state": "ready"}`, when it is; for a container      |
|                                                           | "socket" and "image" instead of the bundle             |
| `POST /switch {"product", "champion", "fallback",`        | the route that decides from now on; all but product    |
| `"canary", "percent", "shadow"}`                          | and champion may be left out                           |
| `POST /stop {"product", "version"}`                       | `{"state": "stopped"}`                                 |
| `POST /restart {"program", "environment"}`                | `{"pid"}` of the process that answers users from now   |
|                                                           | on, with that Python and those `MLAUTO_` variables     |
| `POST /predict {"product", "version", "rows"}`            | `{"version", "predictions", "probabilities"}`; no log  |

While a restart is under way, orders that would change something are answered with 503: give them again in a moment.
"""

import os
from typing import Any

import msgspec

from mlauto.serving.errors import ControlError, RequestError, ServingError, UnavailableError
from mlauto.serving.gatewaystate import RouteState
from mlauto.serving.processes.takeover import Takeover
from mlauto.serving.supervisor import Supervisor
from mlauto.serving.web.http import ClientGoneError, Receive, Scope, Send, body_of, reply, reply_error
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.invocations import parse_rows
from mlauto.serving.wire.protocol import decoded

__all__ = ["ControlApp"]


class _Start(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    version: str
    bundle: str = ""
    socket: str = ""
    image: str = ""


class _Switch(RouteState, frozen=True, kw_only=True, forbid_unknown_fields=True):
    product: str
    champion: str


class _Stop(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    version: str


class _Restart(msgspec.Struct, forbid_unknown_fields=True):
    program: str = ""
    environment: dict[str, str] | None = None


class _Predict(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    version: str
    rows: msgspec.Raw


class ControlApp:
    """The ASGI application on the control socket."""

    def __init__(self, supervisor: Supervisor, takeover: Takeover, *, host: str, port: int) -> None:
        self._supervisor = supervisor
        self._takeover = takeover
        self._address = {"host": host, "port": port}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Follow one order; every `ServingError` becomes its sentence."""
        try:
            body = await body_of(scope, receive)
            order = (scope["method"], scope["path"])
            if order == ("GET", "/status"):
                answer = await self._status()
            elif order == ("POST", "/start"):
                answer = await self._start(decoded(body, _Start))
            elif order == ("POST", "/switch"):
                answer = await self._switch(decoded(body, _Switch))
            elif order == ("POST", "/stop"):
                answer = await self._stop(decoded(body, _Stop))
            elif order == ("POST", "/restart"):
                answer = await self._restart(decoded(body, _Restart))
            elif order == ("POST", "/predict"):
                answer = await self._predict(decoded(body, _Predict))
            else:
                raise RequestError(f"{order[0]} {order[1][:100]} is no order: see mlauto.serving.control", 404)
            await reply(send, answer)
        except ServingError as error:
            await reply_error(send, error)
        except ClientGoneError:
            return

    async def _status(self) -> dict[str, Any]:
        others = self._supervisor.others
        products = self._supervisor.status(await others.in_flight())
        return {"pid": os.getpid(), "workers": others.pids, **self._address, "products": products}

    async def _start(self, order: _Start) -> dict[str, Any]:
        with self._takeover.orders.one():
            await self._supervisor.start(
                order.product, order.version, order.bundle, socket=order.socket, image=order.image
            )
        return {"state": "ready"}

    async def _switch(self, order: _Switch) -> dict[str, Any]:
        with self._takeover.orders.one():
            await self._supervisor.switch(order.product, order)
        route = {name: getattr(order, name) for name in RouteState.__struct_fields__}
        parts = ", ".join(f"{name} {value}" for name, value in route.items() if value)
        print(f"{order.product}: users are answered by {parts}", flush=True)
        return route

    async def _stop(self, order: _Stop) -> dict[str, Any]:
        with self._takeover.orders.one():
            await self._supervisor.stop(order.product, order.version)
        self._supervisor.others.forget(order.product, order.version)
        return {"state": "stopped"}

    async def _restart(self, order: _Restart) -> dict[str, Any]:
        others = sorted(name for name in order.environment or {} if not name.startswith("MLAUTO_"))
        if others:
            raise RequestError(f"environment: {others[0][:80]!r} is no variable of mlauto's: send MLAUTO_... only")
        return {"pid": await self._takeover.ask(order.program, order.environment)}

    async def _predict(self, order: _Predict) -> dict[str, Any]:
        product = self._supervisor.products.get(order.product)
        backend = product.versions.get(order.version) if product else None
        if backend is None or backend.state != "ready" or backend.signature is None:
            state = backend.state if backend else "not running"
            raise ControlError(f"version {order.version} of {order.product} is not ready ({state}): start it first")
        rows = parse_rows(bytes(order.rows), backend.signature).rows
        try:
            answer = await backend.ask(msgspec.json.encode(rows), len(rows))
        except LinkError as error:
            raise UnavailableError(f"version {order.version} of {order.product} was lost: {error}") from error
        return {"version": order.version, "predictions": answer.predictions, "probabilities": answer.probabilities}
