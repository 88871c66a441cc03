"""The short way's replies are those of the long way, and it hands over whatever does not go well."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from mlauto.serving import traffic as traffic_module
from mlauto.serving.calls import Done, Failure
from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.metrics import Metrics
from mlauto.serving.route import Product, Route
from mlauto.serving.shortway import ShortWay
from mlauto.serving.supervisor import Supervisor
from mlauto.serving.traffic import Traffic
from mlauto.serving.web.front import Quick
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.protocol import Answer
from mlauto_tests.serving.conftest import ROW, Gateway, gateway, prediction_lines
from mlauto_tests.serving.test_traffic import BODY, ONE, Scripted

INVOCATIONS = "/v2/models/bikes/invocations"
LONG = {"x-mlauto-timeout-ms": "30000"}


class Direct(Scripted):
    """A ready version that answers what a test wrote down, also to callers that do not wait."""

    def post(self, rows: bytes, count: int, done: Done) -> None:
        def ended(found: "asyncio.Future[Answer]") -> None:
            done(cast(Failure, found.exception()) or found.result())

        asyncio.ensure_future(self.ask(rows, count)).add_done_callback(ended)


class Heard(Quick):
    """A request whose reply is kept."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.keep_alive = True
        self.replies: list[tuple[int, bytes, Any]] = []

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        if not self.replies:
            self.replies.append((status, headers, json.loads(body)))


def ask(home: Path, route: Route, body: bytes = BODY, path: bytes = INVOCATIONS.encode()) -> Heard:
    """The reply of the short way, with versions that answer as written down."""

    async def scenario() -> Heard:
        metrics = Metrics()
        supervisor = Supervisor(home / "gateway")
        supervisor.products["bikes"] = Product("bikes", route=route)
        short = ShortWay(supervisor, Traffic(supervisor, metrics, home / "products"), metrics)
        answer = short.takes(path)
        assert answer is not None
        quick = Heard(body)
        answer(quick)
        while not quick.replies:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        return quick

    return asyncio.run(asyncio.wait_for(scenario(), 20))


def test_the_champion_answers_at_once(tmp_path: Path) -> None:
    """Logged, with version and id in the headers."""
    (reply,) = ask(tmp_path, Route(Direct("2", ONE))).replies
    (line,) = prediction_lines(tmp_path, "bikes")

    assert reply == (
        200,
        f"x-mlauto-version: 2\r\nx-prediction-id: {line['id']}\r\n".encode(),
        {"predictions": [1.0], "id": line["id"]},
    )
    assert (line["v"], line["rows"], line["y"]) == ("2", [{"temp": 2}], [1.0])


@pytest.mark.parametrize("problem", [LinkError("gone"), LinkError("gone", asked=False), ModelError("broken")])
def test_a_failing_champion_is_covered(tmp_path: Path, problem: Exception) -> None:
    """The second attempt is the long way's."""
    (reply,) = ask(tmp_path, Route(Direct("2", problem), Direct("1", ONE))).replies

    assert (reply[0], reply[2]["predictions"]) == (200, [1.0])
    assert prediction_lines(tmp_path, "bikes")[-1]["retried_from"] == "2"


@pytest.mark.parametrize(
    ("problem", "status", "logged"),
    [
        (RequestError("no gaps", 422), 422, 0),
        (RequestError("too many", 413), 413, 0),
        (ModelError("broken"), 500, 1),
        (UnavailableError("no answer in time", 504, "2"), 504, 1),
    ],
)
def test_what_nobody_can_make_good_is_said(tmp_path: Path, problem: Exception, status: int, logged: int) -> None:
    """The client's mistakes are not logged, the others are, under the id that the client gets."""
    quick = ask(tmp_path, Route(Direct("2", problem)))
    lines = prediction_lines(tmp_path, "bikes")

    assert quick.replies[0][0] == status
    assert quick.replies[0][2] == {"error": str(problem)}
    assert [line["code"] for line in lines] == [status] * logged
    assert all(line["id"].encode() in quick.replies[0][1] for line in lines)
    assert quick.keep_alive == (status != 413)


def test_what_cannot_be_asked_at_once_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A champion that is being started, a canary, a full queue, a disk to wait for: the long way knows."""
    champion, fallback = Direct("2"), Direct("1", ONE)
    champion.state = "starting"
    assert ask(tmp_path / "a", Route(champion, fallback)).replies[0][0] == 200

    canary = Route(Direct("2"), None, Direct("3", ONE), 100.0)
    assert b"x-mlauto-version: 3" in ask(tmp_path / "b", canary).replies[0][1]

    monkeypatch.setenv("MLAUTO_LOG_SYNC", "shared")
    assert ask(tmp_path / "c", Route(Direct("2", ONE))).replies[0][0] == 200

    monkeypatch.setattr(traffic_module, "MOST_IN_FLIGHT", 0)
    status, headers, _ = ask(tmp_path / "d", Route(Direct("2"))).replies[0]
    assert (status, headers[-16:]) == (503, b"retry-after: 2\r\n")


def test_a_fault_of_ours_is_an_error_and_no_silence(tmp_path: Path) -> None:
    """What should not happen is answered with 500, and raised for the log."""
    champion = Direct("2", Answer(predictions=cast(list[Any], None)))
    problems: list[Any] = []

    async def scenario() -> Heard:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        metrics = Metrics()
        supervisor = Supervisor(tmp_path / "gateway")
        supervisor.products["bikes"] = Product("bikes", route=Route(champion))
        short = ShortWay(supervisor, Traffic(supervisor, metrics, tmp_path / "products"), metrics)
        quick = Heard(BODY)
        answer = short.takes(INVOCATIONS.encode())
        assert answer is not None
        answer(quick)
        await asyncio.sleep(0.05)
        return quick

    assert asyncio.run(scenario()).replies == [(500, b"", {"error": "the gateway failed: see its log"})]
    assert [type(problem) for problem in problems] == [TypeError]


def test_other_addresses_are_not_its_business(tmp_path: Path) -> None:
    """Neither unknown products, nor named versions, nor what is no prediction; a product that went away is unknown."""
    supervisor = Supervisor(tmp_path / "gateway")
    supervisor.products["bikes"] = Product("bikes")
    metrics = Metrics()
    short = ShortWay(supervisor, Traffic(supervisor, metrics, tmp_path), metrics)

    assert short.takes(b"/v2/models/bikes/infer") is not None
    for url in (
        b"/invocations",
        b"/v2/models/bikes",
        b"/v2/models/bikes/feedback",
        b"/v2/models/bikes/versions/1/infer",
        b"/v2/models/cars/infer",
        b"/v2/models/bikes/infer?x=1",
        b"/v2/models/b%69kes/infer",
        b"/v2/models/bikes/infer/",
        b"http://here/v2/models/bikes/infer",
        b"/v2/models/\xff/infer",
    ):
        assert short.takes(url) is None
    del supervisor.products["bikes"]
    assert short.takes(b"/v2/models/bikes/infer") is None


def test_the_only_live_product_needs_no_name(tmp_path: Path) -> None:
    """MLflow's own address is answered while it is clear who is meant."""
    route = Route(Direct("2", ONE))
    assert ask(tmp_path, route, path=b"/invocations").replies[0][0] == 200

    supervisor = Supervisor(tmp_path / "gateway")
    metrics = Metrics()
    short = ShortWay(supervisor, Traffic(supervisor, metrics, tmp_path), metrics)
    assert short.takes(b"/invocations") is None
    supervisor.products |= {"bikes": Product("bikes", route=route), "cars": Product("cars")}
    assert short.takes(b"/invocations") is not None
    supervisor.products["cars"].route = route
    assert short.takes(b"/invocations") is None


@pytest.fixture(scope="module")
def running(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with bikes and skies live."""
    with gateway(tmp_path_factory.mktemp("short") / "home") as found:
        for name in ("bikes-1", "skies-1"):
            found.start(bundles, name)
            found.switch(*name.split("-"))
        yield found


INFER = {"id": "mine", "inputs": [{"name": "temp", "shape": [1], "datatype": "FP64", "data": [4.5]}]}
SAME = [
    ("bikes/invocations", {"instances": [ROW, {}], "id": "mine"}),
    ("skies/invocations", {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())] * 3}}),
    ("skies/infer", INFER),
    ("bikes/infer", {**INFER, "outputs": [{"name": "predict"}]}),
    ("bikes/infer", {**INFER, "outputs": [{"name": "nothing"}]}),
    ("bikes/invocations", {"instances": []}),
    ("bikes/invocations", {"instances": [{"tmep": 1}]}),
    ("bikes/invocations", {"instances": [{"temp": "warm"}]}),
    ("bikes/invocations", [[]]),
    ("bikes/infer", "text"),
    ("bikes/feedback", {"id": "never", "label": 1}),
    ("cars/infer", INFER),
]


@pytest.mark.parametrize(("path", "content"), SAME)
def test_both_ways_give_the_same_reply(running: Gateway, path: str, content: object) -> None:
    """Status, headers and body, but for the prediction's id."""
    replies = [running.client.post(f"/v2/models/{path}", json=content, headers=headers) for headers in ({}, LONG)]
    short, long = (said(reply) for reply in replies)

    assert short == long
    assert replies[0].status_code in (200, 400, 404)


def said(reply: httpx.Response) -> tuple[int, dict[str, str], Any]:
    headers = dict(reply.headers)
    length = len(reply.content) - int(headers.pop("content-length"))
    known = headers.pop("x-prediction-id", None)
    body = reply.json()
    if known is not None:
        assert body.pop("id") == known
    return reply.status_code + length, headers, body
