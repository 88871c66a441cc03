"""Micro-batches: all requests that wait for one version go out together, and each gets its own part of the answer.

A model needs hardly longer for sixteen rows than for one, and so does the exchange. Nobody waits for a batch to fill:
while a batch is being answered the next one gathers. Where there is one client, who waits for each answer, its requests
do not even wait for the event loop's next turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.link import Link, LinkError, LinkFailure, LinkTimeoutError, Reply
from mlauto.serving.protocol import Answer

__all__ = ["ANSWER_SECONDS", "Batches", "Done", "Failure"]

ANSWER_SECONDS = 30.0
MOST_BATCHES = 2  # one is answered while the next one travels
MOST_ROWS = 256
MOST_BYTES = 4 << 20
SWEEP_SECONDS = 0.02

Failure = LinkError | RequestError | ModelError | UnavailableError
Done = Callable[[Answer | Failure], None]
Future = asyncio.Future[Answer]


class _Call:
    """One request's rows on their way; `done` is None once it was called."""

    __slots__ = ("alone", "count", "deadline", "done", "future", "rows")

    def __init__(self, rows: bytes, count: int, deadline: float, done: Done, *, alone: bool) -> None:
        self.rows = rows
        self.count = count
        self.deadline = deadline
        self.done: Done | None = done
        self.future: Future | None = None
        self.alone = alone

    @property
    def over(self) -> bool:
        """Whether nobody waits any more."""
        return self.done is None or (self.future is not None and self.future.done())


class Batches:
    """The requests that wait for one version, or are being answered by it. To be used from one event loop."""

    def __init__(self, link: Link, version: str) -> None:
        self.in_flight = 0
        self._link = link
        self._version = version
        self._waiting: deque[_Call] = deque()
        self._calls: set[_Call] = set()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._single = False  # the last batch was a single request
        self._sweeper: asyncio.TimerHandle | None = None
        self._decoder = msgspec.json.Decoder(Answer)

    def put(self, rows: bytes, count: int, *, seconds: float = ANSWER_SECONDS, alone: bool = False) -> Future:
        """`post` for callers that wait; the failure is the future's exception."""
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        self._enter(_Call(rows, count, loop.time() + seconds, partial(_resolve, future), alone=alone), loop, future)
        return future

    def post(self, rows: bytes, count: int, done: Done, *, seconds: float = ANSWER_SECONDS) -> None:
        """Send `count` rows (a JSON list of objects) with whatever else waits; `done` gets the answer, or what failed.

        That is a `LinkError` when another process may be asked instead, a `RequestError` when the model refuses the
        values, a `ModelError` when it fails, an `UnavailableError` (504) when it takes longer than `seconds`.
        """
        loop = asyncio.get_running_loop()
        self._enter(_Call(rows, count, loop.time() + seconds, done, alone=False), loop)

    def _enter(self, call: _Call, loop: asyncio.AbstractEventLoop, future: Future | None = None) -> None:
        call.future = future
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

    def _taken(self) -> list[_Call]:
        """The next batch, without the requests that nobody waits for any more."""
        batch: list[_Call] = []
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

    def _send(self, batch: Sequence[_Call]) -> None:
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

    async def _exchange(self, batch: Sequence[_Call], body: bytes) -> None:
        result: Reply | LinkFailure
        try:
            result = await self._link.request("POST", "/rows", body, seconds=ANSWER_SECONDS)
        except (LinkError, LinkTimeoutError) as error:
            result = error
        self._conclude(batch, result)

    def _conclude(self, batch: Sequence[_Call], result: Reply | LinkFailure) -> None:
        """Give each request its part, and send what has gathered."""
        try:
            if isinstance(result, LinkError):
                for call in batch:
                    self._settle(call, LinkError(str(result), asked=result.asked))
            elif isinstance(result, LinkTimeoutError):
                for call in batch:
                    self._settle(call, self._late())
            else:
                self._split(batch, self._read(result, sum([call.count for call in batch])))
        except (RequestError, ModelError) as error:
            if len(batch) == 1:
                self._settle(batch[0], error)
                return
            for call in reversed(batch):  # one bad row must not fail its neighbours
                call.alone = True
                self._waiting.appendleft(call)
        finally:
            self._running -= 1
            self._flush()

    def _split(self, batch: Sequence[_Call], whole: Answer) -> None:
        if len(batch) == 1:
            call = batch[0]
            self._forget(call)
            done, call.done = call.done, None
            if done is not None:
                done(whole)
            return
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

    def _settle(self, call: _Call, result: Answer | Failure) -> None:
        self._forget(call)
        done, call.done = call.done, None
        if done is not None:
            asyncio.get_running_loop().call_soon(done, result)  # what one does with it must not hurt the others

    def _forget(self, call: _Call) -> None:
        if call in self._calls:
            self._calls.discard(call)
            self.in_flight -= 1

    def _sweep(self) -> None:
        """Tell those whose time is up; one timer for all costs less than one for each."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for call in self._calls:
            if call.deadline <= now and call.done is not None:
                loop.call_soon(call.done, self._late())
                call.done = None
        self._link.sweep(now)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if self._calls else None

    def _late(self) -> UnavailableError:
        return UnavailableError(f"version {self._version}: no answer in time", 504, self._version)


def _resolve(future: Future, result: Answer | Failure) -> None:
    if future.done():  # nobody waits any more
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _sentence(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "the model server answered something that is no JSON"
    return found.get("error", "the model server gave no reason")
