"""What users and Prometheus see of the gateway.

| request                                                        | reply                                             |
|----------------------------------------------------------------|---------------------------------------------------|
| `GET /v2`, `/v2/health/live`, `/v2/health/ready`, `/metrics`   | server metadata, health, Prometheus text          |
| `GET /v2/models/{product}[/versions/{v}][/ready]`              | metadata of the version that answers              |
| `POST /v2/models/{product}[/versions/{v}]/infer`               | Open Inference Protocol                           |
| `POST /v2/models/{product}[/versions/{v}]/invocations`         | MLflow's formats                                  |
| `POST /invocations`                                            | the same, where just one product is live          |
| `POST /v2/models/{product}/feedback`                           | labels, by prediction id                          |

Where `MLAUTO_API_KEY` is set (see `keys`), all but the health asks for a key, `/metrics` too.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from mlauto.serving.backend import Backend
from mlauto.serving.batches import ANSWER_SECONDS
from mlauto.serving.errors import RequestError, ServingError, UnavailableError
from mlauto.serving.log.journal import FailedError
from mlauto.serving.measured import measured
from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.others import Whole
from mlauto.serving.route import Product, Versions
from mlauto.serving.traffic import MOST_IN_FLIGHT, Answered, Traffic
from mlauto.serving.web.http import ClientGoneError, Headers, Receive, Scope, Send, body_of, reply, reply_error
from mlauto.serving.wire.bodies import EXTENSIONS, parser_for
from mlauto.serving.wire.feedback import parse_feedback
from mlauto.serving.wire.invocations import invocations_reply
from mlauto.serving.wire.protocol import infer_reply

__all__ = ["PublicApp", "rendered"]

TIMEOUT = b"x-mlauto-timeout-ms"
TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


@dataclass(frozen=True)
class _Path:
    """A path of the form `/v2/models/{product}[/versions/{version}][/{verb}]`."""

    product: str
    version: str | None
    verb: str

    @classmethod
    def parsed(cls, path: str) -> "_Path | None":
        parts = path.split("/")
        if parts[:3] != ["", "v2", "models"] or len(parts) < 4 or not parts[3]:
            return None
        product, rest, version = parts[3], parts[4:], None
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        return cls(product, version, rest[0] if rest else "") if len(rest) < 2 else None


class PublicApp:
    """The ASGI application on the public port."""

    def __init__(self, supervisor: Versions, traffic: Traffic, metrics: Metrics, whole: Whole) -> None:
        self._supervisor = supervisor
        self._whole = whole
        self._traffic = traffic
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes a sentence."""
        path = scope["path"].rstrip("/")
        found = _Path.parsed(path)
        try:
            if scope["method"] == "GET":
                await self._get(path, found, send)
            elif scope["method"] == "POST":
                await self._post(scope, path, found, await body_of(scope, receive), send)
            else:
                raise RequestError(f"method {scope['method'][:20]} is not supported: use GET or POST", 405)
        except FailedError as failed:
            await reply_error(send, failed.error, headers=_headers(failed.version, failed.prediction_id))
        except ServingError as error:
            self._metrics.refused(*self._label(found), error.status)
            await reply_error(send, error)
        except ClientGoneError:
            return

    async def _get(self, path: str, found: _Path | None, send: Send) -> None:
        if found is not None and found.verb in ("", "ready"):
            product, exact = self._named(found)
            if found.verb == "ready":
                ready = exact.state == "ready" if exact else any(product.route.ready())
                await reply(send, {"name": product.name, "ready": ready}, status=200 if ready else 503)
                return
            answer = await self._traffic.metadata(product, exact)
            version = answer.headers.get("x-mlauto-version")
            await reply(send, answer.body, status=answer.status, headers=_headers(version, None))
        elif path == "/v2":
            await reply(send, {"name": "mlauto", "version": "2", "extensions": EXTENSIONS, "models": self._live()})
        elif path == "/v2/health/live":
            await reply(send, {"live": True})
        elif path == "/v2/health/ready":
            silent = [
                p.name for p in self._supervisor.products.values() if p.route.champion and not any(p.route.ready())
            ]
            await reply(send, {"ready": not silent, "not_ready": silent}, status=503 if silent else 200)
        elif path == "/metrics":
            # beside the loop: the records of a hundred products take 0.2 s, which users would wait
            more = await asyncio.to_thread(measured, self._traffic.journal.home, list(self._supervisor.products))
            total = await self._whole.total()
            await reply(send, total.render(self._gauges(total), more), headers=[TEXT])
        else:
            raise RequestError(f"{path[:200] or '/'} is not here: see GET /v2", 404)

    async def _post(self, scope: Scope, path: str, found: _Path | None, body: bytes, send: Send) -> None:
        if path == "/invocations":
            found = _Path(self._only(), None, "invocations")
        if found is None or found.verb not in ("infer", "invocations", "feedback"):
            raise RequestError(f"{path[:200] or '/'} takes no POST: see GET /v2", 404)
        product, exact = self._named(found)
        if found.verb == "feedback":
            labels = parse_feedback(body)
            await self._traffic.journal.labelled(product.name, labels)
            await reply(send, {"accepted": len(labels)})
            return
        parse = await parser_for(found.verb, scope["headers"], body)
        ask = self._traffic.request(product, body, parse, exact, seconds=_seconds(scope))
        answered = await self._traffic.predict(ask)
        headers = _headers(answered.version, answered.prediction_id)
        await reply(send, rendered(answered, product.name, found.verb), headers=headers)

    def _label(self, found: _Path | None) -> tuple[str, str]:
        """Product and version for a counter; only names that exist, or clients could invent any number of series."""
        product = self._supervisor.products.get(found.product) if found else None
        if found is None or product is None:
            return "", ""
        return product.name, found.version if found.version in product.versions else ""

    def _live(self) -> list[str]:
        return sorted(name for name, product in self._supervisor.products.items() if product.route.champion)

    def _only(self) -> str:
        live = self._live()
        if not live:
            raise UnavailableError("no product is live yet: no version has been rolled out")
        if len(live) > 1:
            raise RequestError(f"{len(live)} products are live: use /v2/models/NAME/invocations; see GET /v2", 404)
        return live[0]

    def _named(self, found: _Path) -> tuple[Product, Backend | None]:
        product = self._supervisor.products.get(found.product)
        if product is None:
            raise RequestError(f"product {found.product[:80]!r} is not here: see GET /v2", 404)
        if found.version is None:
            return product, None
        backend = product.versions.get(found.version)
        if backend is None:
            running = ", ".join(sorted(product.versions)) or "none"
            raise RequestError(
                f"version {found.version[:80]!r} of {product.name} is not running (running: {running})", 404
            )
        return product, backend

    def _gauges(self, total: Metrics) -> dict[str, Any]:
        in_flight = total.in_flight()
        running = [(p, b) for p in self._supervisor.products.values() for b in p.versions.values()]
        return {
            "mlauto_version_ready": {(p.name, b.version): int(b.state == "ready") for p, b in running},
            "mlauto_version_champion": {(p.name, b.version): int(b is p.route.champion) for p, b in running},
            "mlauto_version_starts": {(p.name, b.version): b.generation for p, b in running},
            "mlauto_gateway_pid": {(): self._whole.pids[0]},
            "mlauto_gateway_workers": {(): len(self._whole.pids)},
            "mlauto_requests_in_flight": {(name,): in_flight.get((name,), 0) for name in self._supervisor.products},
            "mlauto_requests_in_flight_limit": {(): MOST_IN_FLIGHT * len(self._whole.pids)},
        }


def _seconds(scope: Scope) -> float:
    """How long the client is willing to wait. Raises `RequestError`."""
    for name, value in scope["headers"]:
        if name == TIMEOUT:
            if not value.isdigit() or not 1 <= int(value) <= ANSWER_SECONDS * 1000:
                raise RequestError(
                    f"x-mlauto-timeout-ms: {value.decode('latin-1')[:40]!r} is no whole number of milliseconds"
                    f" from 1 to {ANSWER_SECONDS * 1000:.0f}"
                )
            return int(value) / 1000
    return ANSWER_SECONDS


def _headers(version: str | None, prediction_id: str | None) -> Headers:
    pairs = ((b"x-mlauto-version", version), (b"x-prediction-id", prediction_id))
    return [(name, value.encode()) for name, value in pairs if value is not None]


def rendered(answered: Answered, product: str, verb: str) -> bytes:
    """The body of the reply, in the format of the verb that was asked."""
    version, prediction_id = answered.version, answered.prediction_id
    if verb == "infer":
        return infer_reply(
            answered.answer,
            answered.request,
            answered.signature,
            name=product,
            version=version,
            prediction_id=prediction_id,
        )
    return invocations_reply(
        answered.answer, answered.request, answered.signature, version=version, prediction_id=prediction_id
    )
