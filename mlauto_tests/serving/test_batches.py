"""Requests that travel together, and what one of them may do to the others: nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mlauto.serving import batches as module
from mlauto.serving.batches import Batches
from mlauto.serving.calls import Failure
from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.web.link import Link, LinkError
from mlauto.serving.wire.protocol import Answer
from mlauto_tests.serving.web.test_link import Peer, read_request

Answering = Callable[[list[Any]], Awaitable[tuple[int, Any]]]


class Model(Peer):
    """A model server that remembers the batches it got; `answering` makes status and content of its replies."""

    def __init__(self, folder: Path, answering: Answering | None = None) -> None:
        super().__init__(folder / "model.sock", self._serve)
        self.batches: list[list[Any]] = []
        self.answering = answering or self.twice
        self.at_once = self.most_at_once = 0

    async def twice(self, rows: list[Any]) -> tuple[int, Any]:
        return 200, {"predictions": [2 * row for row in rows], "probabilities": [[row, 1 - row] for row in rows]}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                rows = json.loads((await read_request(reader)).partition(b"\r\n\r\n")[2])
                self.batches.append(rows)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await asyncio.sleep(0.005)
                status, content = await self.answering(rows)
                self.at_once -= 1
                body = json.dumps(content).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
        except asyncio.IncompleteReadError:
            writer.close()


def run(model: Model, scenario: Callable[[Batches], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with model:
            link = Link(model.path)
            batches = Batches(link, "7")
            await asyncio.wait_for(scenario(batches), 20)
            assert batches.in_flight == 0
            link.close()

    asyncio.run(whole())


def test_what_waits_goes_out_together_and_each_gets_its_part(tmp_path: Path) -> None:
    """Forty requests of one to three rows: few exchanges, at most two at a time, every part to its asker."""
    model = Model(tmp_path)

    async def scenario(batches: Batches) -> None:
        async def ask(number: int) -> None:
            rows = [number] * (1 + number % 3)
            answer = await batches.put(json.dumps(rows).encode(), len(rows))
            assert answer.predictions == [2 * row for row in rows]
            assert answer.probabilities == [[row, 1 - row] for row in rows]

        await asyncio.gather(*(ask(number) for number in range(40)))
        await ask(41)

    run(model, scenario)
    assert len(model.batches) <= 4
    assert sum(map(len, model.batches)) == 79 + 3
    assert model.most_at_once <= 2


def test_who_comes_alone_does_not_wait(tmp_path: Path) -> None:
    """One client after the other is sent at once, on the same connection; what comes meanwhile gathers."""
    model = Model(tmp_path)

    async def scenario(batches: Batches) -> None:
        for number in range(3):
            assert (await batches.put(b"[%d]" % number, 1)).predictions == [2 * number]
        asked = [batches.put(b"[%d]" % number, 1) for number in range(3, 9)]
        assert [(await one).predictions for one in asked] == [[2 * number] for number in range(3, 9)]

    run(model, scenario)
    assert model.batches == [[0], [1], [2], [3], [4, 5, 6, 7, 8]]
    assert model.connections <= 2


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    """Of a single answer at once; of several, and of what failed, all the same."""
    model = Model(tmp_path)
    told: list[Answer | Failure] = []

    async def scenario(batches: Batches) -> None:
        batches.post(b"[1]", 1, told.append)
        await until(1)
        for text in (b"[2]", b"[3]", b"[4]"):
            batches.post(text, 1, told.append)
        await until(4)
        batches.post(b"[5]", 1, told.append)
        batches.give_up("it is gone")
        await until(5)

    async def until(count: int) -> None:
        while len(told) < count:
            await asyncio.sleep(0.001)

    run(model, scenario)
    answers = [one.predictions for one in told if isinstance(one, Answer)]
    assert sorted(answers) == [[2], [4], [6], [8]]
    assert [str(one) for one in told if isinstance(one, LinkError)] == ["it is gone"]


def test_what_fails_on_hearing_an_answer_is_said(tmp_path: Path) -> None:
    """It is the loop's to report, whatever error it is, and the next request is answered."""
    model = Model(tmp_path)
    problems: list[Any] = []

    def broken(_: Answer | Failure) -> None:
        raise ModelError("nobody expected this")

    async def scenario(batches: Batches) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        await batches.put(b"[1]", 1)
        batches.post(b"[2]", 1, broken)
        while not problems:
            await asyncio.sleep(0.001)
        assert (await batches.put(b"[3]", 1)).predictions == [6]

    run(model, scenario)
    assert str(problems[0]) == "nobody expected this"


def test_a_kept_connection_that_was_closed_costs_nothing(tmp_path: Path) -> None:
    """The request goes out again on a new one, and its answer comes."""
    model = Model(tmp_path)

    async def scenario(batches: Batches) -> None:
        await batches.put(b"[1]", 1)
        model.drop()
        assert (await batches.put(b"[2]", 1)).predictions == [4]

    run(model, scenario)
    assert model.batches == [[1], [2]]


@pytest.mark.parametrize(("status", "error"), [(422, RequestError), (500, ModelError), (200, ModelError)])
def test_one_bad_row_hurts_only_itself(tmp_path: Path, status: int, error: type[Exception]) -> None:
    """Refused, failed, or answered with too little: the others of its batch are asked again, one by one."""

    async def answering(rows: list[Any]) -> tuple[int, Any]:
        if 13 in rows:
            return status, {"error": "unlucky"} if status != 200 else {"predictions": [], "probabilities": None}
        return 200, {"predictions": rows, "probabilities": None}

    model = Model(tmp_path, answering)

    async def scenario(batches: Batches) -> None:
        asked = [batches.put(b"[%d]" % number, 1) for number in range(16)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [answer.predictions for answer in found if isinstance(answer, Answer)] == [
            [number] for number in range(16) if number != 13
        ]
        assert isinstance(found[13], error)
        assert "unlucky" in str(found[13]) or "0 predictions, not 1" in str(found[13])

    run(model, scenario)
    assert len(model.batches) == 17


def test_large_requests_travel_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is bounded in rows and in bytes, and a request that is to go alone does."""
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    monkeypatch.setattr(module, "MOST_BYTES", 20)
    model = Model(tmp_path)

    async def scenario(batches: Batches) -> None:
        sizes = [1, 3, 1, 9, 2, 2, 1]
        texts = [json.dumps([index] * size).encode() for index, size in enumerate(sizes)]
        asked = [batches.put(text, size) for text, size in zip(texts, sizes, strict=True)]
        asked += [batches.put(b"[7]", 1, alone=True), batches.put(b"[8]", 1), batches.put(b"[" + b" " * 30 + b"9]", 1)]
        assert [len(answer.predictions) for answer in await asyncio.gather(*asked)] == [*sizes, 1, 1, 1]

    run(model, scenario)
    assert sorted(model.batches) == [[0, 1, 1, 1], [2], [3] * 9, [4, 4, 5, 5], [6], [7], [8], [9]]


def test_time_is_up_for_each_on_its_own(tmp_path: Path) -> None:
    """Who waits longer gets the answer that came too late for its neighbour."""
    model = Model(tmp_path)
    gate = asyncio.Event()

    async def answering(rows: list[Any]) -> tuple[int, Any]:
        await gate.wait()
        return 200, {"predictions": rows, "probabilities": None}

    model.answering = answering

    async def scenario(batches: Batches) -> None:
        hasty, patient = batches.put(b"[1]", 1, seconds=0.03), batches.put(b"[2]", 1)
        with pytest.raises(UnavailableError, match="version 7: no answer in time") as caught:
            await hasty
        assert caught.value.status == 504
        gate.set()
        assert (await patient).predictions == [2]

    run(model, scenario)


def test_a_model_server_that_hangs_is_left_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both exchanges end, and what comes later gets new connections."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    hanging = True

    async def answering(rows: list[Any]) -> tuple[int, Any]:
        await asyncio.sleep(1.0 if hanging else 0.0)
        return 200, {"predictions": rows, "probabilities": None}

    async def scenario(batches: Batches) -> None:
        nonlocal hanging
        hanging = False
        await batches.put(b"[0]", 1)
        hanging = True
        for _ in range(3):  # on the kept connection, and on new ones
            with pytest.raises(UnavailableError, match="no answer in time"):
                await batches.put(b"[1]", 1)
            await asyncio.sleep(0.05)
        assert batches.in_flight == 0
        hanging = False
        assert (await batches.put(b"[2]", 1)).predictions == [2]

    run(Model(tmp_path, answering), scenario)


def test_who_no_longer_waits_is_not_asked_for(tmp_path: Path) -> None:
    """A cancelled request is taken out of the queue, or its part of the answer is thrown away."""
    model = Model(tmp_path)

    async def scenario(batches: Batches) -> None:
        asked = [batches.put(b"[%d]" % number, 1) for number in range(4)]
        asked[1].cancel()
        await asyncio.sleep(0.002)
        asked[2].cancel()
        assert [(await asked[number]).predictions for number in (0, 3)] == [[0], [6]]

    run(model, scenario)
    assert [row for rows in model.batches for row in rows] == [0, 2, 3]


def test_a_lost_connection_says_who_was_asked(tmp_path: Path) -> None:
    """Those on the way were asked, those in the queue were not: they may be asked elsewhere as if new."""

    async def answering(rows: list[Any]) -> tuple[int, Any]:
        raise asyncio.IncompleteReadError(b"", 1)  # closes the connection

    async def scenario(batches: Batches) -> None:
        with pytest.raises(LinkError) as caught:
            await batches.put(b"[1]", 1)
        assert caught.value.asked
        sent, waiting = batches.put(b"[2]", 1), batches.put(b"[3]", 1)
        batches.give_up("it is gone")
        with pytest.raises(LinkError, match="it is gone") as caught:
            await waiting
        assert not caught.value.asked
        with pytest.raises(LinkError, match="the connection ended"):
            await sent

    run(Model(tmp_path, answering), scenario)


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (200, ["no answer"], "something that is no prediction"),
        (200, {"predictions": [1], "probabilities": [[1.0], [1.0]]}, "2 predictions, not 1"),
        (500, {"error": "the model failed"}, "version 7: the model failed"),
        (500, ["?"], "something that is no JSON"),
        (500, {}, "gave no reason"),
    ],
)
def test_anything_but_one_answer_per_row_is_a_failure(tmp_path: Path, status: int, content: Any, words: str) -> None:
    """And says which version it was."""

    async def answering(rows: list[Any]) -> tuple[int, Any]:
        return status, content

    async def scenario(batches: Batches) -> None:
        with pytest.raises(ModelError, match=words):
            await batches.put(b"[1]", 1)

    run(Model(tmp_path, answering), scenario)
