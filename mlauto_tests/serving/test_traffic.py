"""A request's way when the version that should answer it fails."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto.serving import traffic as traffic_module
from mlauto.serving.backend import Backend
from mlauto.serving.bundle import write_manifest
from mlauto.serving.errors import ModelError, UnavailableError
from mlauto.serving.gatewaystate import VersionState
from mlauto.serving.log.journal import FailedError
from mlauto.serving.metrics import Metrics
from mlauto.serving.route import Product, Route
from mlauto.serving.supervisor import Supervisor
from mlauto.serving.traffic import Answered, Traffic
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.invocations import parse_invocations
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.conftest import COLUMNS, ROW, Gateway, eventually, frame, gateway, prediction_lines

Copied = Callable[[str], Path]


@pytest.fixture
def running(bundles: dict[str, Path], tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with version 1 of bikes as champion."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.switch("bikes", "1")
        yield found


def broken(root: Path, version: str, **damage: object) -> Path:
    """A bundle that starts, because it has no golden rows, and whose model fails or refuses."""
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    columns = ColumnTransformer([("keep", "passthrough", ["hour"])])
    model = make_pipeline(columns, Ridge()).fit(frame(), range(120))
    for name, value in damage.items():
        setattr(model[-1], name, value)
    skops.io.dump(model, root / "model.skops")
    (root / "golden.json").unlink()
    write_manifest(root, name="bikes", version=version, commit="c", key="k")
    return root


def ask(running: Gateway, row: dict[str, object] = ROW) -> tuple[int, str | None, str]:
    reply = running.served.post("/v2/models/bikes/invocations", {"instances": [row]})
    return reply.status_code, reply.headers.get("x-mlauto-version"), reply.text


def test_a_model_that_fails_is_covered_by_the_fallback_and_still_seen(running: Gateway, copied: Copied) -> None:
    """Users get the fallback's answer; the champion's failure is logged and counted as the 500 that it is."""
    bundle = broken(copied("bikes-1"), "3", coef_=None)
    assert running.order("/start", product="bikes", version="3", bundle=str(bundle)).status_code == 200
    running.switch("bikes", "3", "1")

    assert ask(running)[:2] == (200, "1")
    failed, answered = prediction_lines(running.home, "bikes")
    assert (failed["v"], failed["code"]) == ("3", 500)
    assert "AttributeError" in failed["error"]
    assert (answered["v"], answered["retried_from"]) == ("1", "3")
    metrics = running.client.get("/metrics").text
    assert 'mlauto_requests_total{product="bikes",version="3",code="500"} 1' in metrics
    assert 'mlauto_retries_total{product="bikes",version="3"} 1' in metrics

    running.switch("bikes", "3", None)
    status, version, text = ask(running)

    assert (status, version) == (500, "3")
    assert "the model failed: AttributeError" in text
    assert "Traceback" not in text
    assert len(prediction_lines(running.home, "bikes")) == 3


def test_values_that_a_model_refuses_are_the_clients_business(running: Gateway, copied: Copied) -> None:
    """422 with the model's reason, not retried and not logged as a failure of ours."""
    bundle = broken(copied("bikes-1"), "3")
    running.order("/start", product="bikes", version="3", bundle=str(bundle))
    running.switch("bikes", "3", "1")
    status, _, text = ask(running, dict.fromkeys(COLUMNS))

    assert status == 422
    assert "Input X contains NaN" in text
    assert prediction_lines(running.home, "bikes") == []
    assert ask(running)[:2] == (200, "3")


def test_a_version_that_cannot_come_back_is_given_up(running: Gateway, copied: Copied) -> None:
    """Champion dead and its bundle damaged: 503 soon, with the states, instead of hanging; the log says so."""
    bundle = copied("bikes-2")
    running.order("/start", product="bikes", version="2", bundle=str(bundle))
    running.switch("bikes", "2", None)
    (bundle / "golden.json").write_text("{}")
    os.kill(running.version("bikes", "2")["pid"], signal.SIGKILL)
    eventually(lambda: running.version("bikes", "2")["starts"] >= 4, "some attempts")
    status, version, text = ask(running)

    assert (status, version) == (503, "2")
    assert "bikes cannot answer now: version 2" in text
    assert prediction_lines(running.home, "bikes")[-1]["code"] == 503
    eventually(lambda: "was changed" in running.version("bikes", "2")["problem"], "the reason in the status")
    assert running.client.get("/v2/health/ready").json() == {"ready": False, "not_ready": ["bikes"]}
    assert running.client.get("/v2/models/bikes").status_code == 503

    running.switch("bikes", "1", None)
    assert ask(running)[:2] == (200, "1")


def test_a_stopped_process_is_answered_for_by_the_fallback(running: Gateway, bundles: dict[str, Path]) -> None:
    """Kill -9 of the champion: the very next request is answered, by the fallback."""
    running.start(bundles, "bikes-2")
    running.switch("bikes", "2", "1")
    os.kill(running.version("bikes", "2")["pid"], signal.SIGKILL)

    assert ask(running)[:2] == (200, "1")
    eventually(lambda: ask(running)[:2] == (200, "2"), "the champion again")


def test_replies_can_wait_until_the_log_is_on_disk(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By choice: predictions and labels are answered only then, and nothing else changes."""
    monkeypatch.setenv("MLAUTO_LOG_SYNC", "shared")
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.switch("bikes", "1")

        assert ask(found)[:2] == (200, "1")
        [line] = prediction_lines(found.home, "bikes")
        assert found.served.post("/v2/models/bikes/feedback", {"id": line["id"], "label": 1}).status_code == 200
        assert [label["id"] for label in prediction_lines(found.home, "bikes", "labels")] == [line["id"]]


def test_users_are_answered_although_the_log_cannot_be_written(running: Gateway) -> None:
    """A disk problem costs measurements, not answers; the counter of lost lines says so."""
    folder = running.home / "products" / "bikes"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder should be")

    assert ask(running)[:2] == (200, "1")
    assert 'mlauto_log_failures_total{product="bikes"} 1' in running.client.get("/metrics").text
    feedback = running.served.post("/v2/models/bikes/feedback", {"id": "00000000-00000001-abcd", "label": 1})
    assert feedback.status_code == 503
    assert "send it again" in feedback.json()["error"]


class Scripted(Backend):
    """A ready version without a process, whose answers a test wrote down."""

    def __init__(self, version: str, *outcomes: Answer | Exception, columns: dict[str, str] | None = None) -> None:
        entry = VersionState(bundle="/nowhere")
        super().__init__("bikes", version, entry, socket=Path("/none"), log=Path("/none"), changed=lambda: None)
        self.state = "ready"
        self.signature = Signature(columns=columns or {"temp": "number"}, task="regression")
        self.outcomes = list(outcomes)
        self.asked: list[bytes] = []
        self.seconds: list[float] = []

    async def ask(self, rows: bytes, count: int, *, seconds: float = 30, alone: bool = False) -> Answer:
        self.asked.append(rows)
        self.seconds.append(seconds)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


ONE = Answer(predictions=[1.0])
BODY = b'{"instances": [{"temp": 2}]}'


def predict(home: Path, route: Route, body: bytes = BODY, *, exact: Backend | None = None) -> Answered:
    async def scenario() -> Answered:
        traffic = Traffic(Supervisor(home / "gateway"), Metrics(), home / "products")
        return await traffic.predict(traffic.request(Product("bikes", route=route), body, parse_invocations, exact))

    return asyncio.run(scenario())


def test_one_retry_on_the_fallback_and_no_more(tmp_path: Path) -> None:
    """A lost champion is covered by the fallback; when that is lost too, the client hears it at once."""
    lost = LinkError("gone")
    champion, fallback = Scripted("2", lost, lost), Scripted("1", ONE, lost)

    assert predict(tmp_path, Route(champion, fallback)).version == "1"
    with pytest.raises(FailedError, match="version 1 of bikes was lost") as caught:
        predict(tmp_path, Route(champion, fallback))
    assert caught.value.error.status == 503
    assert (len(champion.asked), len(fallback.asked)) == (2, 2)
    assert prediction_lines(tmp_path, "bikes")[0]["retried_from"] == "2"


def test_a_lost_connection_to_a_process_that_lives_is_tried_again(tmp_path: Path) -> None:
    """Without a fallback the same process is asked once more, if it still runs after a moment."""
    champion = Scripted("2", LinkError("reset"), ONE)

    assert predict(tmp_path, Route(champion)).version == "2"
    assert len(champion.asked) == 2


def test_a_named_version_is_never_replaced_by_another(tmp_path: Path) -> None:
    """Who asks for version 2 gets version 2 or an error."""
    named, champion = Scripted("2", ModelError("no")), Scripted("1", ONE)

    with pytest.raises(FailedError, match="no") as caught:
        predict(tmp_path, Route(champion), exact=named)
    assert (caught.value.error.status, caught.value.version) == (500, "2")
    assert champion.asked == []


def test_a_fallback_with_other_columns_does_not_blame_the_client(tmp_path: Path) -> None:
    """The request fitted the champion, which failed: 500, not a 400 about columns of a version nobody asked for."""
    champion, fallback = Scripted("2", ModelError("broken")), Scripted("1", ONE, columns={"wind": "number"})

    with pytest.raises(FailedError, match="broken"):
        predict(tmp_path, Route(champion, fallback))
    assert fallback.asked == []


def test_the_fallback_gets_rows_of_its_own_signature(tmp_path: Path) -> None:
    """With its own columns, those that the client left out as missing."""
    champion = Scripted("2", LinkError("gone"))
    fallback = Scripted("1", ONE, columns={"wind": "number", "temp": "number"})
    predict(tmp_path, Route(champion, fallback))

    assert champion.asked == [b'[{"temp":2}]']
    assert fallback.asked == [b'[{"wind":null,"temp":2}]']


def test_a_slow_version_is_504_and_not_asked_twice(tmp_path: Path) -> None:
    """What took too long once would take too long again, and the fallback is not burdened with it."""
    champion, fallback = Scripted("2", UnavailableError("no answer within 30 s", 504, "2")), Scripted("1", ONE)

    with pytest.raises(FailedError) as caught:
        predict(tmp_path, Route(champion, fallback))
    assert (caught.value.error.status, caught.value.version) == (504, "2")
    assert fallback.asked == []
    assert prediction_lines(tmp_path, "bikes")[0]["code"] == 504


def test_too_many_requests_at_once_are_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded under overload."""
    monkeypatch.setattr(traffic_module, "MOST_IN_FLIGHT", 0)

    with pytest.raises(FailedError, match="come again") as caught:
        predict(tmp_path, Route(Scripted("2", ONE)))
    assert caught.value.error.status == 503
