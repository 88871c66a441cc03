"""The short way through a model: predictions without a task, those of one turn of the loop in one batch.

For models that answer so fast that handing rows to a thread would cost more. A compiled model needs hardly longer for
sixteen rows than for one. While each turn brings a single request, it is answered without waiting for the turn's end.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from mlauto.serving.bundle import Bundle
from mlauto.serving.errors import ServingError
from mlauto.serving.wire.invocations import parse_invocations, parse_rows
from mlauto.serving.wire.protocol import Answer, Request, infer_reply, parse_infer
from mlauto.serving.wire.rows import rows_for
from mlauto.serving.wire.signature import Signature

__all__ = ["Asked", "ModelWay", "QuickModel"]

MOST_ROWS = 256  # of one batch: the loop answers nobody else meanwhile
Values = Sequence[Any]  # of one row, in the signature's order
Parsed = tuple[Sequence[Values], Request]
Parse = Callable[[bytes, Signature], Parsed]
Render = Callable[[Answer, Request], bytes]
NO_ROWS: list[dict[str, Any]] = []
BROKEN = b'{"error":"the model server failed: see its log"}'


@runtime_checkable
class QuickModel(Protocol):
    """A model that may answer in the event loop: it is fast, and nobody's code but ours."""

    def answer_values(self, rows: Sequence[Values], *, odds: bool) -> Answer:
        """The answer to rows in the signature's order, with probabilities only if `odds`. Raises `ServingError`."""
        ...


class Asked(Protocol):
    """A request, and where its reply goes."""

    body: bytes
    keep_alive: bool

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Send the reply; only the first one counts."""
        ...


class _Kind(NamedTuple):
    """`odds`: whether the reply tells probabilities."""

    parse: Parse
    render: Render
    odds: bool


class _Call(NamedTuple):
    quick: Asked
    rows: Sequence[Values]
    request: Request
    kind: _Kind


class _Awaited:
    """A request that somebody waits for."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.keep_alive = True
        self.reply: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def respond(self, status: int, _headers: bytes, body: bytes) -> None:
        if not self.reply.done():
            self.reply.set_result((status, body))


class ModelWay:
    """Answers POSTs to `/rows`, `/invocations` and `/v2/models/{name}[/versions/{v}]/infer` and `/invocations`."""

    def __init__(self, bundle: Bundle, model: QuickModel) -> None:
        self._signature = bundle.signature
        self._answer = model.answer_values
        self._headers = b"x-mlauto-version: %b\r\n" % bundle.manifest.version.encode()
        self._waiting: list[_Call] = []
        self._single = False  # the last turn of the loop brought one request
        name, version = bundle.manifest.name, bundle.manifest.version
        infer, invocations = partial(_infer, bundle), _invocations
        kinds = {
            "/rows": _Kind(_parsed_rows, _rows, odds=True),
            "/invocations": _Kind(_parsed_invocations, invocations, odds=False),
        }
        for prefix in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            kinds |= {
                f"{prefix}/infer": _Kind(_parsed_infer, infer, odds=True),
                f"{prefix}/invocations": _Kind(_parsed_invocations, invocations, odds=False),
            }
        self._kinds = {path.encode(): partial(self._begin, kind) for path, kind in kinds.items()}

    def takes(self, url: bytes) -> Callable[[Asked], None] | None:
        """What answers there; None for everything but predictions."""
        return self._kinds.get(url)

    async def reply(self, path: str, body: bytes) -> tuple[int, bytes, bool] | None:
        """Status and body of the reply to a request that came another way, and whether its connection may be kept.

        None for everything but predictions.
        """
        begin = self.takes(path.encode())
        if begin is None:
            return None
        asked = _Awaited(body)
        begin(asked)
        return (*(await asked.reply), asked.keep_alive)

    def _begin(self, kind: _Kind, quick: Asked) -> None:
        try:
            rows, request = kind.parse(quick.body, self._signature)
        except ServingError as error:
            self._refuse(quick, error)
            return
        call, loop = _Call(quick, rows, request, kind), asyncio.get_running_loop()
        if self._single:
            self._single = False  # whatever comes in the same turn is no longer alone
            loop.call_soon(self._turn_over)
            self._alone(call)
            return
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(call)

    def _turn_over(self) -> None:
        self._single = not self._waiting

    def _flush(self) -> None:
        calls, self._waiting = self._waiting, []
        self._single = len(calls) == 1
        batch: list[_Call] = []
        rows = 0
        for call in calls:
            if batch and rows + len(call.rows) > MOST_ROWS:
                self._together(batch)
                batch, rows = [], 0
            batch.append(call)
            rows += len(call.rows)
        self._together(batch)

    def _together(self, batch: list[_Call]) -> None:
        if len(batch) == 1:
            self._alone(batch[0])
            return
        try:
            odds_wanted = any(call.kind.odds for call in batch)
            whole = self._answer([row for call in batch for row in call.rows], odds=odds_wanted)
        except ServingError:
            for call in batch:  # one bad row must not fail its neighbours
                self._alone(call)
            return
        start = 0
        odds = whole.probabilities
        for call in batch:
            end = start + len(call.rows)
            part = Answer(whole.predictions[start:end], None if odds is None else odds[start:end])
            self._respond(call, part)
            start = end

    def _alone(self, call: _Call) -> None:
        try:
            self._respond(call, self._answer(call.rows, odds=call.kind.odds))
        except ServingError as error:
            self._refuse(call.quick, error)
        finally:
            call.quick.respond(500, b"", BROKEN)  # unless it was answered

    def _respond(self, call: _Call, answer: Answer) -> None:
        call.quick.respond(200, self._headers, call.kind.render(answer, call.request))

    def _refuse(self, quick: Asked, error: ServingError) -> None:
        if error.status == 413:
            quick.keep_alive = False
        quick.respond(error.status, self._headers, msgspec.json.encode({"error": str(error)}))


def _parsed_rows(body: bytes, signature: Signature) -> Parsed:
    quick = rows_for(signature).object_values(body)
    return _values(parse_rows(body, signature)) if quick is None else (quick, Request(NO_ROWS))


def _parsed_invocations(body: bytes, signature: Signature) -> Parsed:
    quick = rows_for(signature).values(body)
    return _values(parse_invocations(body, signature)) if quick is None else (quick[0], Request(NO_ROWS, quick[1]))


def _parsed_infer(body: bytes, signature: Signature) -> Parsed:
    return _values(parse_infer(body, signature))


def _values(request: Request) -> Parsed:
    return [tuple(row.values()) for row in request.rows], request


def _rows(answer: Answer, _request: Request) -> bytes:
    return msgspec.json.encode(answer)


def _invocations(answer: Answer, request: Request) -> bytes:
    body: dict[str, Any] = {"predictions": answer.predictions}
    return msgspec.json.encode(body if request.client_id is None else {**body, "id": request.client_id})


def _infer(bundle: Bundle, answer: Answer, request: Request) -> bytes:
    return infer_reply(
        answer,
        request,
        bundle.signature,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        prediction_id=request.client_id,
    )
