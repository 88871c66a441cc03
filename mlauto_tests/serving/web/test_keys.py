"""API keys: who is answered, who is refused, and that the key itself is written nowhere."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlauto.serving.errors import StateError
from mlauto.serving.web.keys import VARIABLE, Keys
from mlauto_tests.serving.conftest import ROW, Gateway, free_port, gateway, served
from mlauto_tests.serving.web.test_front import Both, Streams, answer, request, run

FIRST, SECOND = "first-key-of-two", "second-key-of-two"
INVOCATIONS = "/v2/models/bikes/invocations"
BODY = {"dataframe_records": [ROW]}
SHOWN = [
    {"x-api-key": FIRST},
    {"X-Api-Key": SECOND},
    {"authorization": f"Bearer {FIRST}"},
    {"Authorization": f"bearer {SECOND}"},
]
NOT_SHOWN = [
    {},
    {"x-api-key": ""},
    {"x-api-key": f"{FIRST}x"},
    {"x-api-key": f"{FIRST},{SECOND}"},
    {"authorization": FIRST},
    {"authorization": f"Basic {FIRST}"},
]


@pytest.fixture(scope="module")
def running(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two keys, and bikes live."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, f"{FIRST}, {SECOND}")
        with gateway(tmp_path_factory.mktemp("keys") / "home") as found:
            found.start(bundles, "bikes-1")
            found.switch("bikes", "1")
            yield found


def test_no_variable_means_no_keys() -> None:
    """An empty one counts as unset."""
    assert Keys.of({}) is None
    assert Keys.of({VARIABLE: ""}) is None
    assert isinstance(Keys.of({VARIABLE: FIRST}), Keys)


@pytest.mark.parametrize("text", [",", f"{FIRST},", "short", "with space in it", "umläut-in-the-key", "x" * 257])
def test_an_unusable_key_is_an_error_that_does_not_show_it(text: str) -> None:
    """A typing error must not open the door, or be guessed at."""
    with pytest.raises(StateError, match=r"MLAUTO_API_KEY: key . of . is not usable") as error:
        Keys(text)
    assert text not in str(error.value)


@pytest.mark.parametrize("headers", SHOWN)
def test_either_header_and_either_key_is_admitted(headers: dict[str, str]) -> None:
    """So that a key can be replaced while clients still use the old one."""
    keys = Keys(f"{FIRST}, {SECOND}")
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    assert keys.admit([(b"host", b"here"), *raw])
    assert keys.admit([(b"x-api-key", b"wrong"), *raw])


@pytest.mark.parametrize("headers", NOT_SHOWN)
def test_anything_else_is_not(headers: dict[str, str]) -> None:
    """Neither a part of a key, nor the whole list, nor another scheme."""
    assert not Keys(f"{FIRST}, {SECOND}").admit([(name.encode(), value.encode()) for name, value in headers.items()])


def test_a_request_with_a_key_takes_the_short_way() -> None:
    """One without takes the long way, which refuses it."""

    async def scenario(streams: Streams, _: object) -> None:
        reader, writer = streams
        for line in (b"X-API-Key: " + FIRST.encode(), b"Authorization: Bearer " + FIRST.encode()):
            writer.write(request(b"hello", line))
            head, body = await asyncio.wait_for(answer(reader), 10)
            assert (b"x-way: short" in head, body) == (True, b"hello")
        writer.write(request(b"hello"))
        head, body = await asyncio.wait_for(answer(reader), 10)
        assert (b"x-way" in head, body) == (False, b"LONG /short HELLO")

    run(Both(), scenario, keys=Keys(FIRST))


@pytest.mark.parametrize("headers", SHOWN)
def test_who_shows_a_key_is_answered(running: Gateway, headers: dict[str, str]) -> None:
    """On both ways."""
    assert running.client.post(INVOCATIONS, json=BODY, headers=headers).status_code == 200
    assert running.client.get("/v2", headers=headers).json()["models"] == ["bikes"]
    assert b"mlauto_requests_total" in running.client.get("/metrics", headers=headers).content


@pytest.mark.parametrize("headers", NOT_SHOWN)
def test_who_shows_none_is_refused_with_a_sentence(running: Gateway, headers: dict[str, str]) -> None:
    """401 with the scheme to use, for addresses that exist and others alike."""
    replies = [running.client.get(path, headers=headers) for path in ("/v2", "/metrics", "/v2/models/bikes", "/no")]
    replies += [
        running.client.post(path, json=BODY, headers=headers)
        for path in (INVOCATIONS, "/invocations", "/v2/models/bikes/feedback", "/v2/health/live/../../models")
    ]

    for reply in replies:
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == 'Bearer realm="mlauto"'
        assert "send x-api-key: KEY" in reply.json()["error"]


def test_health_needs_no_key(running: Gateway) -> None:
    """Probes have none."""
    assert running.client.get("/v2/health/live").json() == {"live": True}
    assert running.client.get("/v2/health/ready").json()["ready"] is True


def test_refusals_are_counted(running: Gateway) -> None:
    """As requests to no product, which Prometheus sees with its own key."""
    running.client.get("/v2")
    text = running.client.get("/metrics", headers={"authorization": f"Bearer {FIRST}"}).text

    assert 'mlauto_requests_total{product="",version="",code="401"}' in text


def test_a_key_is_written_nowhere(running: Gateway) -> None:
    """Neither status, nor any file of the state directory, nor a command line, nor the model server's environment."""
    running.client.post(INVOCATIONS, json=BODY, headers={"x-api-key": SECOND})
    running.client.post(INVOCATIONS, json=BODY, headers={"x-api-key": f"{SECOND}-but-wrong"})
    running.client.post(INVOCATIONS, json={"instances": 7}, headers={"authorization": f"Bearer {FIRST}"})
    status = running.order("/status")
    model = status.json()["products"]["bikes"]["versions"]["1"]["pid"]
    guardian = running.served.process.pid
    places = [path for path in running.home.rglob("*") if path.is_file()]
    places += [Path(f"/proc/{pid}/cmdline") for pid in (model, guardian, status.json()["pid"])]
    places.append(Path(f"/proc/{model}/environ"))

    assert len(places) > 6
    for text in (status.content, *(place.read_bytes() for place in places)):
        assert FIRST.encode() not in text
        assert SECOND.encode() not in text


def test_a_model_server_by_itself_asks_for_a_key(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind somebody else's ingress it has the same option."""
    monkeypatch.setenv(VARIABLE, FIRST)
    port = free_port()
    command = ["mlauto.serving.server", "--bundle", str(bundles["skies-1"]), "--port", str(port)]
    with served(command, port, tmp_path / "log", "/v2/health/ready") as found:
        refused = [found.client.get("/v2/models/skies"), found.post("/invocations", BODY), found.post("/rows", [ROW])]
        answered = found.client.post("/invocations", json=BODY, headers={"x-api-key": FIRST})

    assert [reply.status_code for reply in refused] == [401] * 3
    assert answered.status_code == 200


@pytest.mark.parametrize("module", ["mlauto.serving.gateway", "mlauto.serving.server"])
def test_an_unusable_key_stops_the_start(
    module: str, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 and a sentence."""
    monkeypatch.setenv(VARIABLE, "short")
    where = ["--home", str(tmp_path)] if "gateway" in module else ["--bundle", str(bundles["skies-1"])]
    with (
        pytest.raises(AssertionError, match="MLAUTO_API_KEY: key 1 of 1 is not usable"),
        served([module, *where, "--port", str(free_port())], 1, tmp_path / "log", "/"),
    ):
        pass


def test_labels_pass_with_a_key(running: Gateway) -> None:
    """Feedback is no exception."""
    headers = {"x-api-key": FIRST}
    with httpx.Client(base_url=running.served.url, headers=headers) as client:
        known = client.post(INVOCATIONS, json=BODY).headers["x-prediction-id"]
        reply = client.post("/v2/models/bikes/feedback", content=json.dumps({"id": known, "label": 3.5}))

    assert reply.json() == {"accepted": 1}
