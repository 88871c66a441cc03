"""Prometheus' answers, and every way in which it can fail to give one: each is named, and none gives figures."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring import prometheus as module
from mlauto.monitoring.prometheus import Prometheus, selector
from mlauto.monitoring.service import ServiceLevel
from mlauto.settings import Settings

NOW = 1_800_000_000.0
Play = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def played(play: Play) -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """A server on loopback that answers as `play` says: its address, and what it was asked."""
    asked: list[BaseHTTPRequestHandler] = []

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self)
            try:
                play(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Says)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(body: bytes | str | dict[str, Any], status: int = 200, **headers: str) -> Play:
    """One answer, whatever is asked."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return play


def samples(values: list[Any], *, newest: float = NOW, every: float = 15.0) -> list[list[Any]]:
    return [[newest - every * (len(values) - 1 - n), str(value)] for n, value in enumerate(values)]


def matrix(*found: tuple[dict[str, str], list[list[Any]]], **more: Any) -> dict[str, Any]:
    """A sound answer of Prometheus."""
    result = [{"metric": labels, "values": values} for labels, values in found]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def labels(name: str, **more: str) -> dict[str, str]:
    return {"__name__": name, "instance": "g:8900", "job": "gateway", "product": "p", **more}


REQUESTS = labels("mlauto_requests_total", version="3", code="200")
WATCHED = (labels("mlauto_requests_in_flight"), samples([0] * 41))
SOUND = matrix(WATCHED, (REQUESTS, samples([10 * n for n in range(41)])))


def asked(address: str, **changes: Any) -> ServiceLevel:
    return Prometheus(address, **changes).level("p", "3", now=NOW, recent=300.0)


def problem(play: Play) -> str:
    with played(play) as (address, _), pytest.raises(MeasurementError) as raised:
        asked(address)
    assert str(raised.value).startswith(f"Prometheus at {address}: ")
    return str(raised.value).removeprefix(f"Prometheus at {address}: ")


def test_a_sound_answer_gives_the_level() -> None:
    """From one query for raw samples, evaluated at our time."""
    with played(says(SOUND)) as (address, requests):
        found = asked(address)

    assert (found.requests, found.errors) == (200, 0)
    assert found.saturation is None  # this one knows no limit
    query = parse_qs(urlsplit(requests[0].path).query)
    assert urlsplit(requests[0].path).path == "/api/v1/query"
    assert query["time"] == ["1800000000.000"]
    assert query["query"] == [selector("p", "3", "", 600)]
    assert len(requests) == 1


def test_a_quiet_product_is_asked_about_a_longer_time() -> None:
    """A second query, twelve times as long as the window."""
    quiet = matrix(WATCHED, (REQUESTS, samples(list(range(41)))))
    with played(says(quiet)) as (address, requests):
        assert asked(address).requests == 40

    queries = [parse_qs(urlsplit(one.path).query)["query"][0] for one in requests]
    assert [query.rpartition("}")[2] for query in queries] == ["[600s]", "[3600s]"]


def test_names_cannot_break_out_of_the_query() -> None:
    """They are matched as they are; `match` narrows down."""
    found = selector('a"b.c\\', "1", 'instance="x"', 299.2)

    assert 'product=~"a\\"b\\\\.c\\\\\\\\|"' in found
    assert found.endswith(',instance="x"}[300s]')


def test_of_other_products_nothing_counts() -> None:
    """Should a server answer with more than was asked for."""
    other = {**REQUESTS, "product": "q"}
    with played(says(matrix(WATCHED, (REQUESTS, samples([0] * 41)), (other, samples(list(range(41))))))) as (
        address,
        _,
    ):
        assert asked(address).requests == 0


HTML = "<html><body><h1>It works!</h1></body></html>"
GARBAGE: dict[str, tuple[Play, str]] = {
    "html": (says(HTML), "it answered 200, and no samples"),
    "empty body": (says(b""), "it answered 200, and no samples"),
    "bytes": (says(b"\xff\xfe\x00garbage"), "it answered 200, and no samples"),
    "500": (says("Internal Server Error", 500), "it answered 500, and no samples"),
    "502 of a proxy": (says(HTML, 502), "it answered 502, and no samples"),
    "503 in its own words": (
        says({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503),
        "it answered 503: query timed out",
    ),
    "400": (says({"status": "error", "error": "parse error: x"}, 400), "it answered 400: parse error: x"),
    "401": (says("Unauthorized", 401), "it answered 401"),
    "redirect": (says(b"", 302, location="/elsewhere"), "it answered 302"),
    "500 with sound samples": (says(SOUND, 500), "it answered 500: success"),
    "an error with status 200": (says({"status": "error", "error": "no"}), "it answered 200: no"),
    "no data": (says({"status": "success"}), "it answered 200: success"),
    "a list": (says("[1, 2]"), "no samples"),
    "a number": (says("17"), "no samples"),
    "a vector": (
        says({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "2"]}]}}),
        "no samples",
    ),
    "a vector of nothing": (
        says({"status": "success", "data": {"resultType": "vector", "result": []}}),
        "it answered with a vector",
    ),
    "a scalar": (says({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}), "no samples"),
    "numbers for strings": (says(matrix((REQUESTS, [[NOW, 5]]))), "no samples"),
    "strings for numbers": (says(matrix((REQUESTS, [["now", "5"]]))), "no samples"),
    "labels that are none": (says(matrix(({"product": 1}, []))), "no samples"),  # type: ignore[dict-item]
    "a word": (says(matrix(WATCHED, (REQUESTS, [[NOW, "many"]]))), "a sample that is no number"),
    "NaN": (says(matrix(WATCHED, (REQUESTS, samples([1, 2, "NaN"])))), "a sample that is no count"),
    "infinity": (says(matrix(WATCHED, (REQUESTS, samples([1, 2, "+Inf"])))), "a sample that is no count"),
    "negative": (says(matrix(WATCHED, (REQUESTS, samples([1, 2, -5])))), "a sample that is no count"),
    "nothing": (says(matrix()), "there is no sample of mlauto_requests_in_flight"),
    "no gateway": (says(matrix((REQUESTS, samples([1, 2])))), "there is no sample of mlauto_requests_in_flight"),
    "one sample": (says(matrix((WATCHED[0], samples([0])))), "one sample only"),
    "stale": (says(matrix((WATCHED[0], samples([0] * 9, newest=NOW - 90)))), "the newest sample is 90 s old"),
    "partial": (
        says({**SOUND, "warnings": ["store 2 did not answer"]}),
        "its answer is partial: store 2 did not answer",
    ),
    "cut off": (says(json.dumps(SOUND)[:-40]), "no samples"),
    "compressed": (says(b"\x1f\x8b\x08\x00garbage", **{"content-encoding": "gzip"}), "no samples"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_whatever_is_not_sound_is_named(name: str) -> None:
    """And never a figure."""
    play, expected = GARBAGE[name]

    assert expected in problem(play)


@pytest.mark.parametrize("cut", range(5, 900, 97))
def test_any_part_of_an_answer_is_none(cut: int) -> None:
    """A connection that ends early: the length is wrong, or the JSON is."""
    content = json.dumps(SOUND).encode()

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if cut % 2:
            handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:cut])

    assert "it does not answer" in (said := problem(play)) or "no samples" in said


def test_nobody_listens() -> None:
    """A server that is gone."""
    with played(says(SOUND)) as (address, _):
        pass

    with pytest.raises(MeasurementError, match=r"it does not answer .*refused"):
        asked(address)


def test_a_server_that_is_slow_is_given_up_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first bytes do not come in time; other products do not wait for it again, for a while."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)

    with played(lambda _: time.sleep(1)) as (address, requests):
        server = Prometheus(address)
        for product in ("p", "q", "r"):
            began = time.monotonic()
            with pytest.raises(MeasurementError, match="did not answer within"):
                server.level(product, "3", now=NOW, recent=300.0)
        assert time.monotonic() - began < 0.1
        assert len(requests) == 1

        monkeypatch.setattr(module, "SILENT_SECONDS", 0.0)
        with pytest.raises(MeasurementError, match="did not answer within"):
            Prometheus(address).level("p", "3", now=NOW, recent=300.0)
    assert len(requests) == 2


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part comes in time, and the whole never does."""
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.3)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    began = time.monotonic()
    assert "did not answer within 0.3 s" in problem(drip)
    assert time.monotonic() - began < 2


def test_a_huge_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded."""
    monkeypatch.setattr(module, "LARGEST_ANSWER", 1 << 20)

    assert "its answer is larger than 1 MB" in problem(says(b" " * (4 << 20)))


def test_credentials_are_sent_and_never_shown(tmp_path: Path) -> None:
    """A name and a password from the address, or a token from its file, which may be replaced."""
    token = tmp_path / "token"
    token.write_text("first-secret\n")
    with played(says(SOUND)) as (address, requests):
        named = address.replace("http://", "http://reader:p%40ss@")
        settings = Settings.from_environment({"PROMETHEUS_URL": f"{named}/prom/"})
        server = Prometheus.of(settings)
        assert server is not None
        server.level("p", "3", now=NOW, recent=300.0)
        asked(address, token_file=token)
        token.write_text("second-secret")
        asked(address, token_file=token)
    with pytest.raises(MeasurementError) as raised:
        server.level("p", "3", now=NOW, recent=300.0)

    said = [one.headers["authorization"] for one in requests]
    assert said == ["Basic cmVhZGVyOnBAc3M=", "Bearer first-secret", "Bearer second-secret"]
    assert requests[0].path.startswith("/prom/api/v1/query?")
    assert not any("reader" in one.path or "p%40ss" in one.path for one in requests)
    for text in (str(raised.value), repr(server), server.name, repr(settings)):
        assert "p%40ss" not in text
        assert "p@ss" not in text
        assert "reader" not in text


@pytest.mark.parametrize("content", [b"two\nlines", b"caf\xc3\xa9", b"\xff", None])
def test_a_token_that_is_none_is_a_problem(tmp_path: Path, content: bytes | None) -> None:
    """It is named by its variable; what it holds is not shown."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with pytest.raises(MeasurementError, match="MLAUTO_PROMETHEUS_TOKEN_FILE") as raised:
        asked("http://127.0.0.1:9", token_file=token)

    assert "lines" not in str(raised.value)


def test_without_an_address_there_is_none() -> None:
    """Then the gateway is asked."""
    url = "http://prometheus:9090"
    assert Prometheus.of(Settings.from_environment({})) is None
    assert Prometheus.of(Settings.from_environment({"PROMETHEUS_URL": url})) == Prometheus(url)
