"""Canaries and shadows: they get their share, and hurt nobody."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from mlauto.serving import traffic as traffic_module
from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.log.journal import FailedError
from mlauto.serving.route import Route
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.protocol import Answer
from mlauto_tests.serving.conftest import COLUMNS, ROW, Gateway, eventually, gateway, prediction_lines
from mlauto_tests.serving.test_gateway import load
from mlauto_tests.serving.test_traffic import ONE, Scripted, broken, predict

TWO = Answer(predictions=[2.0])


def test_a_canarys_failure_is_covered_by_the_champion_and_logged(tmp_path: Path) -> None:
    """Whatever it is: the model's fault, a lost process, a slow one, or values that only the canary refuses."""
    slow = UnavailableError("no answer in time", 504, "3")
    problems = [ModelError("broke"), LinkError("gone"), slow, RequestError("no gaps", 422)]
    for number, problem in enumerate(problems):
        canary, champion = Scripted("3", problem), Scripted("2", ONE)
        assert predict(tmp_path / str(number), Route(champion, None, canary, 100.0)).version == "2"
        failed, answered = prediction_lines(tmp_path / str(number), "bikes")

        assert (failed["v"], failed["code"]) == ("3", [500, 503, 504, 422][number])
        assert (answered["v"], answered["retried_from"]) == ("2", "3")


def test_what_champion_and_canary_refuse_is_the_clients_mistake(tmp_path: Path) -> None:
    """No failure of either is logged, and no third version is asked."""
    refusal = RequestError("no gaps", 422)
    fallback = Scripted("1", ONE)
    route = Route(Scripted("2", refusal), fallback, Scripted("3", refusal), 100.0)

    with pytest.raises(RequestError, match="no gaps"):
        predict(tmp_path, route)
    assert prediction_lines(tmp_path, "bikes") == []
    assert fallback.asked == []


def test_a_canary_with_other_columns_is_covered(tmp_path: Path) -> None:
    """A request that fits the champion's columns is answered, and the canary is not even asked."""
    canary = Scripted("3", TWO, columns={"wind": "number"})

    assert predict(tmp_path, Route(Scripted("2", ONE), None, canary, 100.0)).version == "2"
    assert canary.asked == []
    assert prediction_lines(tmp_path, "bikes")[0]["code"] == 400


def test_a_request_is_asked_at_most_twice(tmp_path: Path) -> None:
    """When canary and champion fail, the client hears it."""
    fallback = Scripted("1", ONE)
    route = Route(Scripted("2", ModelError("also")), fallback, Scripted("3", ModelError("broke")), 100.0)

    with pytest.raises(FailedError, match="also"):
        predict(tmp_path, route)
    assert fallback.asked == []


def test_a_canary_that_is_not_ready_or_has_no_share_is_not_asked(tmp_path: Path) -> None:
    """The champion answers, as if there were none; and one version by its number is that version."""
    canary = Scripted("3", TWO, TWO)
    canary.state = "starting"
    assert predict(tmp_path, Route(Scripted("2", ONE), None, canary, 100.0)).version == "2"
    canary.state = "ready"
    assert predict(tmp_path, Route(Scripted("2", ONE), None, canary, 0.0)).version == "2"
    champion = Scripted("2", ONE)
    assert predict(tmp_path, Route(champion, None, canary, 100.0), exact=champion).version == "2"
    assert canary.asked == []


def test_a_canary_has_only_a_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the champion can still answer within the deadline."""
    monkeypatch.setattr(traffic_module, "CANARY_SECONDS", 3.0)
    canary, champion = Scripted("3", ModelError("broke")), Scripted("2", ONE)
    predict(tmp_path, Route(champion, None, canary, 100.0))

    assert canary.seconds == [pytest.approx(3.0)]
    assert champion.seconds == [pytest.approx(30.0, abs=1.0)]


@pytest.fixture
def running(bundles: dict[str, Path], tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that runs versions 1 and 2 of bikes, version 1 as champion."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.start(bundles, "bikes-2")
        found.switch("bikes", "1")
        yield found


def test_a_canary_gets_its_share(running: Gateway) -> None:
    """20 % of 1500 requests within five standard deviations; exact requests go where they say, and none fails."""
    running.switch("bikes", "1", canary="2", percent=20)
    versions: Counter[str] = Counter()
    exact: Counter[str] = Counter()

    def ask(path: str) -> str:
        with httpx.Client(base_url=running.served.url, timeout=30) as client:
            found = Counter(
                client.post(path, json={"instances": [ROW]}).raise_for_status().headers["x-mlauto-version"]
                for _ in range(250)
            )
        (versions if "versions" not in path else exact).update(found)
        return path

    with ThreadPoolExecutor(7) as pool:
        paths = ["/v2/models/bikes/invocations"] * 6 + ["/v2/models/bikes/versions/1/invocations"]
        assert list(pool.map(ask, paths)) == paths

    assert exact == {"1": 250}
    assert abs(versions["2"] - 300) < 5 * (1500 * 0.2 * 0.8) ** 0.5
    assert versions["1"] + versions["2"] == 1500
    assert Counter(line["v"] for line in prediction_lines(running.home, "bikes")) == versions + exact


def test_kill_9_of_canary_and_champion_in_mid_batch_loses_nothing(running: Gateway) -> None:
    """Under load, one after the other and while the route is being switched: every request is answered."""
    with load(running.served.url) as traffic:
        for version, route in (("2", {"canary": "2", "percent": 50}), ("1", {"fallback": "2"}), ("1", {"canary": "2"})):
            running.switch("bikes", "1", **route)
            traffic.answered_by("1", 30)
            starts = running.version("bikes", version)["starts"]
            os.kill(running.version("bikes", version)["pid"], signal.SIGKILL)
            eventually(lambda v=version, s=starts: running.version("bikes", v)["starts"] > s, "another start")
            eventually(lambda v=version: running.version("bikes", v)["state"] == "ready", "the version again")
        traffic.answered_by("1", 30)

    assert traffic.failures == []
    answered = [line for line in prediction_lines(running.home, "bikes") if "error" not in line]
    assert len(answered) == len(traffic.answers)


def test_a_shadow_sees_what_users_ask_and_nobody_sees_it(running: Gateway, bundles: dict[str, Path]) -> None:
    """Every answer is the champion's; the shadow's are logged under the same ids; its death is not noticed."""
    running.switch("bikes", "1", shadow="2")
    replies = [running.served.post("/v2/models/bikes/invocations", {"instances": [ROW]}) for _ in range(20)]
    running.served.post("/v2/models/bikes/versions/1/invocations", {"instances": [ROW]})
    ids = [reply.headers["x-prediction-id"] for reply in replies]
    lines = eventually(lambda: shadows(running, 20), "twenty shadows")

    assert {reply.headers["x-mlauto-version"] for reply in replies} == {"1"}
    assert sorted(line["id"] for line in lines) == sorted(ids)
    assert all(line["v"] == "2" and line["y"][0] > 900 for line in lines)
    assert 'mlauto_shadow_requests_total{product="bikes",version="2",outcome="answered"} 20' in metrics(running)

    with load(running.served.url) as traffic:
        traffic.answered_by("1", 20)
        os.kill(running.version("bikes", "2")["pid"], signal.SIGKILL)
        traffic.answered_by("1", 60)
    assert traffic.failures == []
    assert {version for version, _ in traffic.answers} == {"1"}


def test_a_bad_row_in_a_batch_hurts_only_itself(running: Gateway, copied: Callable[[str], Path]) -> None:
    """Gaps that the model refuses, among good rows, from many clients at once: 422 for those, 200 for all others."""
    bundle = broken(copied("bikes-1"), "3")
    assert running.order("/start", product="bikes", version="3", bundle=str(bundle)).status_code == 200
    running.switch("bikes", "3", "1")

    def ask(number: int) -> list[tuple[int, str | None]]:
        row = dict.fromkeys(COLUMNS) if number % 4 == 0 else ROW
        with httpx.Client(base_url=running.served.url, timeout=30) as client:
            replies = [client.post("/v2/models/bikes/invocations", json={"instances": [row]}) for _ in range(40)]
        return [(reply.status_code, reply.headers.get("x-mlauto-version")) for reply in replies]

    with ThreadPoolExecutor(12) as pool:
        for number, found in enumerate(pool.map(ask, range(12))):
            assert found == [(422, None) if number % 4 == 0 else (200, "3")] * 40
    assert len(prediction_lines(running.home, "bikes")) == 9 * 40


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "soon", "30001"])
def test_a_deadline_that_is_none_is_named(running: Gateway, given: str) -> None:
    """The header takes whole milliseconds within the gateway's own limit."""
    headers = {"x-mlauto-timeout-ms": given}
    reply = running.client.post("/v2/models/bikes/invocations", json={"instances": [ROW]}, headers=headers)

    assert reply.status_code == 400
    assert "from 1 to 30000" in reply.json()["error"]


def test_a_deadline_is_kept(running: Gateway) -> None:
    """A stopped process answers nobody: 504 in time, logged, and all is well when it goes on."""
    pid = running.version("bikes", "1")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        headers = {"x-mlauto-timeout-ms": "150"}
        reply = running.client.post("/v2/models/bikes/invocations", json={"instances": [ROW]}, headers=headers)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert (reply.status_code, reply.headers["x-mlauto-version"]) == (504, "1")
    assert 0.14 < reply.elapsed.total_seconds() < 2.0
    assert prediction_lines(running.home, "bikes")[-1]["code"] == 504
    assert running.served.post("/v2/models/bikes/invocations", {"instances": [ROW]}).status_code == 200


def shadows(running: Gateway, count: int) -> list[dict[str, object]]:
    found = prediction_lines(running.home, "bikes", "shadows")
    return found if len(found) >= count else []


def metrics(running: Gateway) -> str:
    return running.client.get("/metrics").text
