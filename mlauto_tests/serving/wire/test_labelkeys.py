"""Key columns that are not the model's: taken in every format, logged, and kept from the model."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlauto.monitoring.labels.files import import_labels
from mlauto.monitoring.labels.keyjoin import join_keys
from mlauto.monitoring.log.reading import Label, LogReader
from mlauto.serving.errors import RequestError
from mlauto.serving.wire.invocations import parse_invocations
from mlauto.serving.wire.labelkeys import parted, with_keys
from mlauto.serving.wire.protocol import Request, parse_infer
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.conftest import ROW, eventually, gateway, prediction_lines

SIGNATURE = Signature(columns={"x": "number"}, task="regression", keys=("time", "station"))
TIME = "2026-05-01T12:00"
SPLIT = {"columns": ["x", "station", "time"], "data": [[1, 7, TIME]]}
TENSORS = [
    {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]},
    {"name": "time", "shape": [1], "datatype": "BYTES", "data": [TIME]},
    {"name": "station", "shape": [1], "datatype": "INT64", "data": [7]},
]
BODIES: list[dict[str, Any]] = [
    {"dataframe_records": [{"x": 1, "time": TIME, "station": 7}]},
    {"dataframe_split": SPLIT},
    {"instances": [{"station": 7, "time": TIME, "x": 1}]},
    {"inputs": {"station": [7], "x": [1], "time": [TIME]}},
    {"inputs": TENSORS},
    {"inputs": [{**tensor, "parameters": {}} for tensor in TENSORS]},
]


def request(content: dict[str, Any], signature: Signature = SIGNATURE) -> Request:
    body = json.dumps(content).encode()
    infer = isinstance(content.get("inputs"), list)
    return parse_infer(body, signature) if infer else parse_invocations(body, signature)


@pytest.mark.parametrize("content", BODIES)
def test_keys_are_taken_out_of_the_rows(content: dict[str, Any]) -> None:
    """In whichever format and order they came; the model's columns are as before."""
    found, rows = parted(request(content), SIGNATURE)

    assert msgspec.json.decode(rows) == [{"x": 1}]
    assert found.keys is not None
    assert msgspec.json.decode(found.keys) == [{"time": TIME, "station": 7}]


def test_a_client_may_leave_them_out() -> None:
    """Then nothing is logged beside the rows; a list of values is the model's columns alone."""
    for content in ({"dataframe_records": [{"x": 1}]}, {"instances": [[1]]}):
        found, rows = parted(request(content), SIGNATURE)
        assert (found.keys, msgspec.json.decode(rows)) == (None, [{"x": 1}])


def test_a_product_without_keys_is_as_before() -> None:
    """The request is the same object."""
    plain = msgspec.structs.replace(SIGNATURE, keys=())
    asked = request({"dataframe_records": [{"x": 1}]}, plain)
    found, rows = parted(asked, plain)

    assert found is asked
    assert rows == b'[{"x":1}]'
    with pytest.raises(RequestError, match="'time' is not one of the model's"):
        request(BODIES[0], plain)


@pytest.mark.parametrize("value", [[1], {"a": 1}, "x" * 1001, 10**400])
def test_a_key_is_a_plain_value(value: object) -> None:
    """Whatever else is refused with its place."""
    body = json.dumps({"dataframe_records": [{"x": 1, "time": value}]}).encode()

    with pytest.raises(RequestError, match=r"dataframe_records\[0\].time: column 'time' takes text, a number"):
        parse_invocations(body, SIGNATURE)


def test_the_file_names_the_keys(tmp_path: Path) -> None:
    """Those that the model has are features; a missing or broken file names none; no change is no new object."""
    path = tmp_path / "label_keys.json"
    plain = msgspec.structs.replace(SIGNATURE, keys=())
    assert with_keys(plain, path) is plain
    assert with_keys(plain, None) is plain
    path.write_text('["x", "time"]')
    found = with_keys(plain, path)
    assert found.keys == ("time",)
    assert with_keys(found, path) is found
    path.write_text("{broken")
    assert with_keys(found, path).keys == ()


def test_labels_by_key_reach_the_predictions(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Through a real gateway: keys named while it runs are taken soon, logged, and joined with a file's labels."""
    home = tmp_path / "home"
    records = home / "products" / "bikes" / "records"
    source = tmp_path / "labels"
    source.mkdir()
    (source / "a.csv").write_text("station,time,sky,bikes\nA,2026-05-01 12:00:00,clear,12.5\nB,2026-05-01,rain,3\n")
    with gateway(home) as running:
        running.start(bundles, "bikes-1")
        running.switch("bikes", "1")
        body = {"dataframe_records": [ROW | {"time": TIME, "station": "A"}]}
        assert running.served.post("/v2/models/bikes/invocations", body).status_code == 400
        records.mkdir(parents=True, exist_ok=True)
        (records / "label_keys.json").write_text('["time", "station", "sky"]')

        def taken() -> Any:
            reply = running.served.post("/v2/models/bikes/invocations", body)
            return reply.json() if reply.status_code == 200 else None

        answer = eventually(taken, "the gateway takes the key columns")
        plain = running.served.post("/v2/models/bikes/invocations", {"dataframe_records": [ROW]}).json()
    line, other = prediction_lines(home, "bikes")
    log = home / "products" / "bikes" / "predictions"
    key = ("time", "station", "sky")
    report = import_labels(source, log, home / "seen.json", now=2e9, key=key, target="bikes")
    joined = join_keys(log, home / "keys.sqlite", key)

    assert answer["predictions"] == plain["predictions"]
    assert (line["rows"], line["k"]) == ([ROW], [{"time": TIME, "station": "A"}])
    assert "k" not in other
    assert (report.labels, report.problems, joined.joined) == (2, (), 1)
    assert [(label.id, label.y) for label in LogReader(log, "imported", Label).since(None, 1 << 20).lines] == [
        (answer["id"], [12.5])
    ]
