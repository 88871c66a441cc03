"""The short way through a model server: the same answers as the long way, in batches that no bad row spoils."""

import asyncio
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlauto.serving import bundle as bundles
from mlauto.serving.errors import ModelError, RequestError, ServingError
from mlauto.serving.modelway import MOST_ROWS, ModelWay
from mlauto.serving.server import ModelApp
from mlauto.serving.web.front import Quick
from mlauto.serving.wire.framed import Framed
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature

SIGNATURE = Signature({"x": "number", "kind": "string"}, "regression")
MANIFEST = bundles.Manifest(name="bikes", version="7", commit="c", key="k", files={})
BUNDLE = bundles.Bundle(Path("/nowhere"), MANIFEST, SIGNATURE)


class Doubling:
    """Twice the number; refuses the kind `bad`, and fails on `broken`. Counts what it was asked at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def answer_values(self, rows: Sequence[Sequence[Any]], *, odds: bool = True) -> Answer:
        self.batches.append(len(rows))
        for _, kind in rows:
            if kind == "bad":
                raise RequestError("the model refuses 'bad'", 422)
            if kind == "broken":
                raise ModelError("the model broke")
            if kind == "surprise":
                raise ArithmeticError("nobody expected that")
        return Answer([2.0 * (x or 0) for x, _ in rows], [[0.5, 0.5] for _ in rows] if odds else None)

    def answer(self, rows: list[dict[str, Any]]) -> Answer:
        return self.answer_values([tuple(row.values()) for row in rows])


class Taken(Quick):
    """A request on the short way whose reply is kept."""

    def __init__(self, body: bytes) -> None:
        super().__init__(None)  # type: ignore[arg-type] # it has no connection
        self.body = body
        self.reply: tuple[int, bytes, bytes] | None = None

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        if self.reply is None:
            self.reply = status, headers, body


def asked(model: Doubling, *requests: tuple[str, object]) -> list[tuple[int, Any]]:
    """Status and decoded body of each reply, all asked in one turn of the loop."""

    async def run() -> list[Taken]:
        way = ModelWay(BUNDLE, model)
        all_taken = []
        for path, content in requests:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            taken = Taken(body)
            begin = way.takes(path.encode())
            assert begin is not None, path
            begin(taken)
            all_taken.append(taken)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return all_taken

    found = []
    for taken in asyncio.run(run()):
        assert taken.reply is not None
        status, headers, body = taken.reply
        if not body.startswith(b'{"error":"the model server failed'):
            assert headers == b"x-mlauto-version: 7\r\n"
        found.append((status, json.loads(body)))
    return found


ROW = {"x": 1.5, "kind": "a"}
SPLIT = {"dataframe_split": {"columns": ["kind", "x"], "data": [["a", 1.5], ["b", None]]}, "id": "mine"}
TENSORS = {
    "inputs": [
        {"name": "x", "datatype": "FP64", "shape": [1], "data": [2]},
        {"name": "kind", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ]
}


def test_every_format_is_answered() -> None:
    """Those of the gateway, of MLflow and of the Open Inference Protocol, with and without a version in the path."""
    found = asked(
        Doubling(),
        ("/rows", [ROW, {"kind": "a"}]),
        ("/invocations", SPLIT),
        ("/v2/models/bikes/invocations", {"inputs": {"x": [1], "kind": ["a"]}}),
        ("/v2/models/bikes/versions/7/infer", TENSORS),
    )

    assert [status for status, _ in found] == [200] * 4
    bodies = [body for _, body in found]
    assert bodies[0] == {"predictions": [3.0, 0.0], "probabilities": [[0.5, 0.5], [0.5, 0.5]]}
    assert bodies[1] == {"predictions": [3.0, 0.0], "id": "mine"}
    assert bodies[2] == {"predictions": [2.0]}
    assert bodies[3]["outputs"][0]["data"] == [4.0]
    assert (bodies[3]["model_name"], bodies[3]["model_version"]) == ("bikes", "7")


def test_outputs_as_binary_data_are_framed() -> None:
    """Asked for in JSON, answered on the short way with the headers that say so."""

    async def run() -> bytes:
        taken = Taken(json.dumps({**TENSORS, "parameters": {"binary_data_output": True}}).encode())
        begin = ModelWay(BUNDLE, Doubling()).takes(b"/v2/models/bikes/infer")
        assert begin is not None
        begin(taken)
        await asyncio.sleep(0.01)
        assert taken.reply is not None
        return taken.reply[2]

    body = asyncio.run(run())

    assert isinstance(body, Framed)
    assert b"inference-header-content-length: " in body.lines()
    assert body.endswith(struct.pack("<d2d", 4.0, 0.5, 0.5))


def test_probabilities_are_asked_for_where_they_are_told() -> None:
    """MLflow's replies have none; a batch has them as soon as one of its requests wants them."""
    wanted = []

    class Noting(Doubling):
        def answer_values(self, rows: Sequence[Sequence[Any]], *, odds: bool = True) -> Answer:
            wanted.append(odds)
            return super().answer_values(rows, odds=odds)

    asked(Noting(), ("/invocations", SPLIT))
    found = asked(Noting(), ("/invocations", SPLIT), ("/rows", [ROW]))

    assert wanted == [False, True]
    assert "probabilities" not in found[0][1]
    assert found[1][1]["probabilities"] == [[0.5, 0.5]]


def test_what_came_another_way_is_answered_alike() -> None:
    """A body in several pieces, say; a refused one that was too large costs its connection."""

    async def run(path: str, body: bytes) -> Any:
        return await ModelWay(BUNDLE, Doubling()).reply(path, body)

    body = json.dumps(SPLIT).encode()
    assert asyncio.run(run("/invocations", body)) == (200, b'{"predictions":[3.0,0.0],"id":"mine"}', True)
    assert asyncio.run(run("/rows", b"[]"))[0] == 400
    assert asyncio.run(run("/v2", body)) is None


def test_one_turn_of_the_loop_is_one_batch() -> None:
    """Up to a number of rows."""
    model = Doubling()
    asked(model, *[("/rows", [ROW])] * 20)
    assert model.batches == [20]

    asked(model, ("/rows", [ROW] * (MOST_ROWS - 1)), ("/rows", [ROW]), ("/rows", [ROW, ROW]), ("/rows", [ROW] * 500))
    assert model.batches[1:] == [MOST_ROWS, 2, 500]


def test_one_request_a_turn_is_answered_at_once() -> None:
    """And as soon as there are several, they are answered together."""
    model = Doubling()
    at_once: list[int] = []

    async def run() -> None:
        begin = ModelWay(BUNDLE, model).takes(b"/rows")
        assert begin is not None
        body = json.dumps([ROW]).encode()
        for number in (1, 1, 4, 3, 1):
            taken = [Taken(body) for _ in range(number)]
            for one in taken:
                begin(one)
            at_once.append(sum(one.reply is not None for one in taken))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert all(one.reply is not None for one in taken)

    asyncio.run(run())
    assert at_once == [0, 1, 1, 0, 0]
    assert model.batches == [1, 1, 1, 3, 3, 1]


def test_a_bad_row_spoils_only_its_own_request() -> None:
    """Its neighbours are asked again, alone."""
    model = Doubling()
    found = asked(
        model, ("/rows", [ROW]), ("/rows", [{"x": 1, "kind": "bad"}]), ("/rows", [{"x": 2, "kind": "broken"}])
    )

    assert [status for status, _ in found] == [200, 422, 500]
    assert found[1][1] == {"error": "the model refuses 'bad'"}
    assert model.batches == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"[{", 400, "not valid JSON"),
        ([{"x": "text", "kind": "a"}], 400, "column 'x' takes a number"),
        ([{"z": 1}], 400, "column 'z' is not one of the model's"),
        ([], 400, "no rows"),
    ],
)
def test_mistakes_are_answered_with_sentences(content: object, status: int, said: str) -> None:
    """The same as on the long way."""
    ((found, body),) = asked(Doubling(), ("/rows", content))

    assert found == status
    assert said in body["error"]


def test_a_failure_that_nobody_expected_is_answered() -> None:
    """No client waits for a reply that never comes; the error itself is the event loop's to report."""
    reported: list[dict[str, Any]] = []

    async def run() -> Taken:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        taken = Taken(b'[{"x":1,"kind":"surprise"}]')
        begin = ModelWay(BUNDLE, Doubling()).takes(b"/rows")
        assert begin is not None
        begin(taken)
        await asyncio.sleep(0.01)
        return taken

    taken = asyncio.run(run())

    assert taken.reply is not None
    assert taken.reply[0] == 500
    assert isinstance(reported[0]["exception"], ArithmeticError)


def test_other_addresses_take_the_long_way() -> None:
    """Other models, other versions, and everything that is no prediction."""
    way = ModelWay(BUNDLE, Doubling())

    for path in (b"/", b"/v2/models/other/infer", b"/v2/models/bikes/versions/8/infer", b"/v2/models/bikes"):
        assert way.takes(path) is None


def test_only_models_that_are_ours_are_asked_in_the_loop() -> None:
    """A team's own code may take its time."""

    class Slow:
        def answer(self, rows: list[dict[str, Any]]) -> Answer:
            raise ServingError

    assert ModelApp(BUNDLE, Slow()).front() is None
    assert ModelApp(BUNDLE, Doubling()).front() is not None
