"""Micro-batches: all requests that wait for one version go out together, and each gets its own part of the answer.

A model needs hardly longer for sixteen rows than for one, and so does the exchange. Nobody waits for a batch to fill:
while a batch is being answered the next one gathers. Where there is one client, who waits for each answer, its requests
do not even wait for the event loop's next turn.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from mlauto.serving.calls import Call, Done, Failure, Future
from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.web.link import Link, LinkError, LinkFailure, LinkTimeoutError, Reply
from mlauto.serving.wire.protocol import Answer

__all__ = ["ANSWER_SECONDS", "Batches"]

ANSWER_SECONDS = 30.0
MOST_BATCHES = 2  # one is answered while the next one travels
MOST_ROWS = 256
MOST_BYTES = 4 << 20
SWEEP_SECONDS = 0.02


class Batches:
    """The requests that wait for one version, or are being answered by it. To be used from one event loop."""

    def __init__(self, link: Link, version: str) -> None:
        self.in_flight = 0
        self._link = link
        self._version = version
        self._waiting: deque[Call] = deque()
        self._calls: set[Call] = set()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._single = False  # the last batch was a single request
        self._sweeper: asyncio.TimerHandle | None = None
        self._decoder = msgspec.json.Decoder(Answer)

    def put(self, rows: bytes, count: int, *, seconds: float = ANSWER_SECONDS, alone: bool = False) -> Future:
        """`post` for callers that wait; what failed is the future's exception. Others may be kept out of the batch."""
        loop = asyncio.get_running_loop()
        call = Call(rows, count, loop.time() + seconds, alone=alone)
        future = call.future(loop)
        self._enter(call, loop)
        return future

    def post(self, rows: bytes, count: int, done: Done) -> None:
        """Send `count` rows (a JSON list of objects) with whatever else waits; `done` gets the answer, or what failed.

        That is a `LinkError` when another process may be asked instead, a `RequestError` when the model refuses the
        values, a `ModelError` when it fails, an `UnavailableError` (504) when it takes longer than `ANSWER_SECONDS`.
        """
        loop = asyncio.get_running_loop()
        self._enter(Call(rows, count, loop.time() + ANSWER_SECONDS, done), loop)

    def _enter(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.in_flight += 1
        self._calls.add(call)
        self._waiting.append(call)
        if self._single and not self._running:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def give_up(self, reason: str) -> None:
        """Fail what was not sent yet: the process is gone."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._settle(call, LinkError(reason, asked=False))

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and self._running < MOST_BATCHES:
            batch = self._taken()
            if batch:
                self._running += 1
                self._send(batch)

    def _taken(self) -> list[Call]:
        """The next batch, without the requests that nobody waits for any more."""
        batch: list[Call] = []
        rows = size = 0
        while self._waiting:
            call = self._waiting[0]
            rows += call.count
            size += len(call.rows)
            full = rows > MOST_ROWS or size > MOST_BYTES
            if batch and (full or call.alone or batch[0].alone):
                break
            self._waiting.popleft()
            if call.over:
                rows, size = rows - call.count, size - len(call.rows)
                self._forget(call)
            else:
                batch.append(call)
        return batch

    def _send(self, batch: Sequence[Call]) -> None:
        """On a kept connection if there is one, else in a task that connects."""
        loop = asyncio.get_running_loop()
        self._single = len(batch) == 1
        body = batch[0].rows if self._single else b"[%b]" % b",".join([call.rows[1:-1] for call in batch])

        def connect() -> None:
            task = loop.create_task(self._exchange(batch, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def done(result: Reply | LinkFailure) -> None:
            if isinstance(result, LinkError) and result.fresh:
                connect()
            else:
                self._conclude(batch, result)

        if not self._link.post(b"/rows", body, loop.time() + ANSWER_SECONDS, done):
            connect()

    async def _exchange(self, batch: Sequence[Call], body: bytes) -> None:
        result: Reply | LinkFailure
        try:
            result = await self._link.request("POST", "/rows", body, seconds=ANSWER_SECONDS)
        except (LinkError, LinkTimeoutError) as error:
            result = error
        self._conclude(batch, result)

    def _conclude(self, batch: Sequence[Call], result: Reply | LinkFailure) -> None:
        """Give each request its part, and send what has gathered."""
        found = self._found(result, sum([call.count for call in batch]))
        try:
            if len(batch) == 1:
                self._forget(batch[0])
                batch[0].tell(found)
            elif isinstance(found, Answer):
                self._split(batch, found)
            elif isinstance(found, RequestError | ModelError):
                for call in reversed(batch):  # one bad row must not fail its neighbours
                    call.alone = True
                    self._waiting.appendleft(call)
            else:
                for call in batch:
                    self._settle(call, self._found(result, call.count))
        finally:
            self._running -= 1
            self._flush()

    def _found(self, result: Reply | LinkFailure, count: int) -> Answer | Failure:
        if isinstance(result, LinkError):
            return LinkError(str(result), asked=result.asked)
        if isinstance(result, LinkTimeoutError):
            return self._late()
        try:
            return self._read(result, count)
        except (RequestError, ModelError) as error:
            return error

    def _split(self, batch: Sequence[Call], whole: Answer) -> None:
        predictions, probabilities = whole.predictions, whole.probabilities
        start = 0
        for call in batch:
            end = start + call.count
            part = Answer(predictions[start:end], None if probabilities is None else probabilities[start:end])
            self._settle(call, part)
            start = end

    def _read(self, reply: Reply, count: int) -> Answer:
        """Raises `RequestError` and `ModelError`."""
        if reply.status != 200:
            message = _sentence(reply.body)
            if reply.status == 422:
                raise RequestError(message, 422)
            raise ModelError(f"version {self._version}: {message}")
        try:
            answer = self._decoder.decode(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ModelError(f"version {self._version} answered something that is no prediction: {error}") from None
        for found in (answer.predictions, answer.probabilities):
            if found is not None and len(found) != count:
                raise ModelError(f"version {self._version} answered {len(found)} predictions, not {count}")
        return answer

    def _settle(self, call: Call, result: Answer | Failure) -> None:
        """Tell it in the loop's next turn: what one does with it must not hurt the others."""
        self._forget(call)
        asyncio.get_running_loop().call_soon(call.tell, result)

    def _forget(self, call: Call) -> None:
        if call in self._calls:
            self._calls.discard(call)
            self.in_flight -= 1

    def _sweep(self) -> None:
        """Tell those whose time is up; one timer for all costs less than one for each."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for call in self._calls:
            if call.deadline <= now and not call.over:
                loop.call_soon(call.tell, self._late())
        self._link.sweep(now)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if self._calls else None

    def _late(self) -> UnavailableError:
        return UnavailableError(f"version {self._version}: no answer in time", 504, self._version)


def _sentence(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "the model server answered something that is no JSON"
    return found.get("error", "the model server gave no reason")
