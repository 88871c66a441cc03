"""Predictions without a task of their own, where all goes well: asked of the champion at once, answered when it did.

Whatever needs waiting or another attempt goes on as `Traffic.predict`. Replies equal those of `public.PublicApp`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import msgspec

from mlauto.serving.attempts import Attempts, Parse
from mlauto.serving.backend import Backend
from mlauto.serving.calls import Failure
from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.log.journal import FailedError
from mlauto.serving.metrics import Metrics
from mlauto.serving.public import rendered
from mlauto.serving.route import Versions
from mlauto.serving.traffic import Answered, Lost, Traffic, signature_of
from mlauto.serving.web.front import Quick
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.invocations import parse_invocations
from mlauto.serving.wire.labelkeys import parted
from mlauto.serving.wire.protocol import Answer, Request, parse_infer

__all__ = ["ShortWay"]

PARSERS: dict[str, Parse] = {"infer": parse_infer, "invocations": parse_invocations}
MOST_ADDRESSES = 1024
BROKEN = b'{"error":"the gateway failed: see its log"}'


class ShortWay:
    """Answers POSTs to `/v2/models/{product}/infer` and `/invocations`, and to `/invocations` of the only live one."""

    def __init__(self, supervisor: Versions, traffic: Traffic, metrics: Metrics) -> None:
        self._supervisor = supervisor
        self._traffic = traffic
        self._metrics = metrics
        self._addresses: dict[bytes, tuple[str, Callable[[Quick], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def takes(self, url: bytes) -> Callable[[Quick], None] | None:
        """What answers there; None for products that are not here and for everything but predictions."""
        found = self._addresses.get(url)
        if found is None:
            if url == b"/invocations":
                live = [name for name, product in self._supervisor.products.items() if product.route.champion]
                return partial(self._begin, live[0], "invocations") if len(live) == 1 else None
            parts = url.split(b"/")
            if len(parts) != 5 or parts[:3] != [b"", b"v2", b"models"]:
                return None
            name, verb = parts[3].decode("latin-1"), parts[4].decode("latin-1")
            if verb not in PARSERS or name not in self._supervisor.products:
                return None
            if len(self._addresses) >= MOST_ADDRESSES:
                self._addresses.clear()
            found = self._addresses[url] = name, partial(self._begin, name, verb)
        return found[1] if found[0] in self._supervisor.products else None

    def _begin(self, name: str, verb: str, quick: Quick) -> None:
        product = self._supervisor.products.get(name)
        if product is None:  # stopped while the request waited for its turn
            quick.respond(404, b"", msgspec.json.encode({"error": f"product {name!r} is not here: see GET /v2"}))
            return
        ask = self._traffic.request(product, quick.body, PARSERS[verb])
        champion = ask.route.champion
        load = self._traffic.loads[name]
        busy = load.full or self._traffic.journal.waits
        if busy or ask.canary is not None or champion is None or champion.state != "ready" or champion.silent:
            self._go_on(self._predict(ask, verb, quick))
            return
        try:
            signature = signature_of(champion)
            request, rows = parted(ask.parse(ask.body, signature), signature)
        except RequestError as error:
            self._refuse(quick, name, error)
            return
        load.come(ask.body)
        champion.post(rows, len(request.rows), partial(self._ended, _Call(ask, champion, request, rows, verb, quick)))

    def _ended(self, call: "_Call", found: Answer | Failure) -> None:
        """Answer, or go on with the next attempt."""
        ask, champion, request, rows, verb, quick = call
        self._traffic.loads[ask.product.name].go(ask.body)
        if isinstance(found, LinkError | ModelError | UnavailableError):
            self._go_on(self._predict(ask, verb, quick, (champion, found)))
            return
        try:
            if isinstance(found, RequestError):
                self._refuse(quick, ask.product.name, found)
            else:
                answered = self._traffic.answered(ask, champion, request, rows, found)
                _answer(quick, ask, verb, answered)
                self._traffic.copy(ask, answered)
        finally:
            quick.respond(500, b"", BROKEN)  # unless it was answered

    async def _predict(self, ask: Attempts, verb: str, quick: Quick, lost: Lost | None = None) -> None:
        try:
            _answer(quick, ask, verb, await self._traffic.predict(ask, lost))
        except FailedError as failed:
            pairs = ((b"x-mlauto-version", failed.version), (b"x-prediction-id", failed.prediction_id))
            lines = [b"%b: %b\r\n" % (name, value.encode()) for name, value in pairs if value is not None]
            if failed.error.status == 503:
                lines.append(b"retry-after: 2\r\n")
            quick.respond(failed.error.status, b"".join(lines), msgspec.json.encode({"error": str(failed)}))
        except RequestError as error:
            self._refuse(quick, ask.product.name, error)
        finally:
            quick.respond(500, b"", BROKEN)  # unless it was answered

    def _refuse(self, quick: Quick, product: str, error: RequestError) -> None:
        self._metrics.refused(product, "", error.status)
        if error.status == 413:
            quick.keep_alive = False
        quick.respond(error.status, b"", msgspec.json.encode({"error": str(error)}))

    def _go_on(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _answer(quick: Quick, ask: Attempts, verb: str, answered: Answered) -> None:
    ids = answered.version.encode(), answered.prediction_id.encode()
    body = rendered(answered, ask.product.name, verb)
    quick.respond(200, b"x-mlauto-version: %b\r\nx-prediction-id: %b\r\n" % ids, body)


class _Call(NamedTuple):
    ask: Attempts
    champion: Backend
    request: Request
    rows: bytes
    verb: str
    quick: Quick
