"""What users see of the gateway: both protocols, labels, health, metrics, and errors as sentences."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlauto_tests.serving.conftest import COLUMNS, ROW, Gateway, gateway, prediction_lines
from mlauto_tests.serving.wire_bodies import ARROW, arrow_of, binary_of, outputs_of, table_of

INFER = {
    "id": "mine",
    "inputs": [
        {"name": "temp", "shape": [1], "datatype": "FP64", "data": [12.5]},
        {"name": "hour", "shape": [1], "datatype": "INT64", "data": [8]},
        {"name": "holiday", "shape": [1], "datatype": "BOOL", "data": [False]},
        {"name": "sky", "shape": [1, 1], "datatype": "BYTES", "data": ["clear"]},
    ],
}


@pytest.fixture(scope="module")
def live(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two products: bikes (champion 1, version 2 running) and skies (not rolled out at first)."""
    with gateway(tmp_path_factory.mktemp("public") / "home") as found:
        found.start(bundles, "bikes-1")
        found.start(bundles, "bikes-2")
        found.start(bundles, "skies-1")
        found.switch("bikes", "1")
        yield found


def post(live: Gateway, path: str, content: Any) -> httpx.Response:
    return live.served.post(path, content)


def test_a_product_without_champion_is_503_with_a_sentence(live: Gateway) -> None:
    """Running is not rolled out: the client is invited to come again, and the failure is logged."""
    reply = post(live, "/v2/models/skies/invocations", {"instances": [ROW]})

    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert "skies has no champion yet" in reply.json()["error"]
    assert live.client.get("/v2/models/skies").status_code == 503
    assert live.client.get("/v2/models/skies/ready").status_code == 503
    line = prediction_lines(live.home, "skies")[-1]
    assert (line["id"], line["code"]) == (reply.headers["x-prediction-id"], 503)
    assert "no champion" in line["error"]
    assert "rows" not in line


def test_without_a_name_the_only_live_product_answers(live: Gateway) -> None:
    """`/invocations` as MLflow's own server has it."""
    assert live.client.get("/v2").json()["models"] == ["bikes"]
    assert post(live, "/invocations", {"instances": [ROW]}).json()["predictions"][0] < 100


def test_both_protocols_answer_with_version_and_id(live: Gateway) -> None:
    """The same prediction; id in body and header, version in the header, the client's own id in the log."""
    infer = post(live, "/v2/models/bikes/infer", INFER)
    invoked = post(live, "/v2/models/bikes/invocations", {"dataframe_records": [ROW]})

    for reply in (infer, invoked):
        assert reply.status_code == 200
        assert reply.headers["x-mlauto-version"] == "1"
        assert reply.json()["id"] == reply.headers["x-prediction-id"]
    assert infer.json()["outputs"][0]["data"] == invoked.json()["predictions"]
    assert (infer.json()["model_name"], infer.json()["model_version"]) == ("bikes", "1")
    first, second = prediction_lines(live.home, "bikes")[-2:]
    assert (first["id"], first["client_id"], first["v"]) == (infer.json()["id"], "mine", "1")
    assert first["rows"] == second["rows"] == [ROW]
    assert first["y"] == invoked.json()["predictions"]
    assert "client_id" not in second
    assert 0 < first["ms"] < 10_000


def test_binary_tensors_and_arrow_are_answered_and_logged_as_rows(live: Gateway) -> None:
    """The same prediction in every form; the log has JSON rows, and an Arrow reply its id in the header."""
    plain = post(live, "/v2/models/bikes/invocations", {"dataframe_records": [ROW]}).json()["predictions"]
    body, headers = binary_of(ROW, parameters={"binary_data_output": True})
    binary = live.client.post("/v2/models/bikes/infer", content=body, headers=headers)
    wished = post(live, "/v2/models/bikes/infer", {**INFER, "parameters": {"binary_data_output": True}})
    arrow = live.client.post(
        "/v2/models/bikes/invocations", content=arrow_of([ROW]), headers={"content-type": ARROW, "accept": ARROW}
    )

    assert live.client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for reply in (binary, wished):
        assert reply.headers["content-type"] == "application/octet-stream"
        head = int(reply.headers["inference-header-content-length"])
        assert outputs_of(reply.content, head) == {"predict": struct.pack("<d", *plain)}
        assert json.loads(reply.content[:head])["id"] == reply.headers["x-prediction-id"]
    assert table_of(arrow.content) == {"prediction": plain}
    lines = prediction_lines(live.home, "bikes")[-3:]
    assert [line["rows"] for line in lines] == [[ROW]] * 3
    assert lines[2]["id"] == arrow.headers["x-prediction-id"]


def test_bodies_that_do_not_fit_their_headers_are_refused(live: Gateway) -> None:
    """400 and a sentence, counted as refused."""
    cases = [
        ("infer", {"inference-header-content-length": "99999"}, "no length within"),
        ("invocations", {"inference-header-content-length": "5"}, "only infer takes binary tensors"),
        ("invocations", {"content-type": ARROW}, "the body is no Arrow stream"),
    ]
    for verb, headers, words in cases:
        reply = live.client.post(f"/v2/models/bikes/{verb}", content=b'{"inputs": []}', headers=headers)
        assert reply.status_code == 400
        assert words in reply.json()["error"]


def test_another_running_version_can_be_asked_by_name(live: Gateway) -> None:
    """Exactly that one, with its own number; one that does not run is named."""
    reply = post(live, "/v2/models/bikes/versions/2/infer", INFER)

    assert reply.headers["x-mlauto-version"] == "2"
    assert reply.json()["model_version"] == "2"
    assert reply.json()["outputs"][0]["data"][0] > 900
    assert live.client.get("/v2/models/bikes/versions/2/ready").json()["ready"] is True
    missing = post(live, "/v2/models/bikes/versions/9/infer", INFER)
    assert missing.status_code == 404
    assert "running: 1, 2" in missing.json()["error"]


def test_metadata_comes_from_the_version_that_answers(live: Gateway) -> None:
    """Its columns and its number."""
    reply = live.client.get("/v2/models/bikes")

    assert reply.headers["x-mlauto-version"] == "1"
    assert reply.json()["versions"] == ["1"]
    assert [tensor["name"] for tensor in reply.json()["inputs"]] == list(COLUMNS)
    assert live.client.get("/v2/models/bikes/versions/2").json()["versions"] == ["2"]


def test_labels_come_back_in_every_form(live: Gateway) -> None:
    """By id, one or many, and each becomes a line of the labels' log."""
    ids = [post(live, "/v2/models/bikes/invocations", {"instances": [ROW]}).json()["id"] for _ in range(3)]
    path = "/v2/models/bikes/feedback"
    replies = [
        post(live, path, {"id": ids[0], "label": 3.5}),
        post(live, path, {"id": ids[1], "labels": [4.5]}),
        post(live, path, {"labels": {ids[2]: 5.5, ids[0]: [6.5]}}),
    ]

    assert [reply.json() for reply in replies] == [{"accepted": 1}, {"accepted": 1}, {"accepted": 2}]
    found = [(line["id"], line["y"]) for line in prediction_lines(live.home, "bikes", "labels")]
    assert found[-4:] == [(ids[0], [3.5]), (ids[1], [4.5]), (ids[2], [5.5]), (ids[0], [6.5])]


@pytest.mark.parametrize("prediction_id", ["nonsense", "ffffffff-00000001-abcd", "../../etc/passwd"])
def test_labels_of_unknown_ids_are_refused(live: Gateway, prediction_id: str) -> None:
    """404 naming the id; of several labels none is taken then."""
    before = len(prediction_lines(live.home, "bikes", "labels"))
    known = post(live, "/v2/models/bikes/invocations", {"instances": [ROW]}).json()["id"]
    reply = post(live, "/v2/models/bikes/feedback", {"labels": {known: 1, prediction_id: 1}})

    assert reply.status_code == 404
    assert prediction_id in reply.json()["error"]
    assert len(prediction_lines(live.home, "bikes", "labels")) == before


def test_metrics_have_what_monitoring_measured(live: Gateway) -> None:
    """Read from the product's record in the state directory, whenever somebody asks."""
    path = live.home / "products" / "bikes" / "records" / "gauges.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"name": "mlauto_label_delay_seconds", "labels": {"quantile": "0.9"}, "value": 2.5},
        {"name": "mlauto_predictions_waiting_for_labels", "labels": {}, "value": 3},
    ]
    path.write_text(json.dumps(rows))

    text = live.client.get("/metrics").text

    assert 'mlauto_label_delay_seconds{product="bikes",quantile="0.9"} 2.5' in text
    assert 'mlauto_predictions_waiting_for_labels{product="bikes"} 3.0' in text


def test_health_and_metrics(live: Gateway) -> None:
    """Live and ready are 200; metrics are Prometheus text with a sample for this product and version."""
    post(live, "/v2/models/bikes/invocations", {"instances": [ROW]})
    text = live.client.get("/metrics")

    assert live.client.get("/v2/health/live").json() == {"live": True}
    assert live.client.get("/v2/health/ready").json() == {"ready": True, "not_ready": []}
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'mlauto_version_champion{product="bikes",version="1"} 1' in text.text
    assert 'mlauto_version_ready{product="bikes",version="2"} 1' in text.text
    assert 'mlauto_requests_total{product="bikes",version="1",code="200"}' in text.text


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v2/models/bikes/infer", b"{", 400, "not valid JSON"),
        ("/v2/models/bikes/infer", b"", 400, "not valid JSON"),
        ("/v2/models/bikes/infer", b"\xff\xfe", 400, "not valid JSON"),
        ("/v2/models/bikes/infer", b"[" * 1_000_000, 400, "the request"),
        ("/v2/models/bikes/invocations", b'{"instances":' + b"[" * 1_000_000, 400, "nested too deeply"),
        ("/v2/models/bikes/invocations", b'{"instances": [{"temp": "warm"}]}', 400, "instances[0].temp"),
        ("/v2/models/bikes/invocations", b'{"instances": [{"tmp": 1}]}', 400, "did you mean 'temp'?"),
        ("/v2/models/bikes/invocations", b'{"instances": [' + b"{}," * 700_000 + b"{}]}", 413, "rows"),
        ("/v2/models/bikes/invocations", b" " * (16 * 1024 * 1024 + 1), 413, "larger than 16 MB"),
        ("/v2/models/bikes/feedback", b'{"id": 7}', 400, "id: must be text"),
        ("/v2/models/nobody/infer", b"{}", 404, "product 'nobody' is not here"),
        ("/v2/models//infer", b"{}", 404, "takes no POST"),
        ("/v2/models/bikes/infer/more", b"{}", 404, "takes no POST"),
        ("/v2/models/bikes/train", b"{}", 404, "takes no POST"),
        ("/", b"{}", 404, "takes no POST"),
    ],
)
def test_mistakes_are_4xx_with_a_sentence(live: Gateway, path: str, body: bytes, status: int, words: str) -> None:
    """Never a 500 and never a traceback; the gateway answers the next request as if nothing had been."""
    reply = post(live, path, body)

    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]
    assert "Traceback" not in reply.text
    assert len(reply.text) < 1000
    assert post(live, "/v2/models/bikes/invocations", {"instances": [ROW]}).status_code == 200


def test_other_methods_and_paths_are_refused(live: Gateway) -> None:
    """405 and 404, as JSON."""
    assert live.client.put("/v2/models/bikes/infer", json={}).status_code == 405
    assert "see GET /v2" in live.client.get("/favicon.ico").json()["error"]
    assert live.client.get("/v2/models/nobody").status_code == 404


def test_mistakes_make_no_series_of_their_own(live: Gateway) -> None:
    """Names that clients invent are counted under an empty product, and mistakes are not logged as predictions."""
    before = len(prediction_lines(live.home, "bikes"))
    post(live, "/v2/models/invented/infer", {})
    post(live, "/v2/models/bikes/versions/invented/infer", {})
    post(live, "/v2/models/bikes/infer", {})
    text = live.client.get("/metrics").text

    assert "invented" not in text
    assert 'mlauto_requests_total{product="",version="",code="404"}' in text
    assert 'mlauto_requests_total{product="bikes",version="",code="400"}' in text
    assert len(prediction_lines(live.home, "bikes")) == before


def test_content_types_other_than_json_are_named(live: Gateway) -> None:
    """MLflow's CSV is not read here, which is said; no content type at all is fine."""
    csv = live.client.post("/invocations", content=b"a,b", headers={"content-type": "text/csv"})
    bare = live.client.post("/invocations", content=json.dumps({"instances": [ROW]}).encode())

    assert csv.status_code == 415
    assert "text/csv" in csv.json()["error"]
    assert bare.status_code == 200


def test_with_several_live_products_a_name_is_needed(live: Gateway) -> None:
    """`/invocations` without a name would be a guess; the last test here, as it rolls the second product out."""
    live.switch("skies", "1")
    reply = post(live, "/invocations", {"instances": [ROW]})
    named = post(live, "/v2/models/skies/invocations", {"instances": [ROW]})

    assert reply.status_code == 404
    assert "2 products are live" in reply.json()["error"]
    assert named.json()["predictions"] == ["no"]
    assert prediction_lines(live.home, "skies")[-1]["p"][0][0] > 0.5
