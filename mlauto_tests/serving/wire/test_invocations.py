"""MLflow's formats."""

import json
from typing import Any

import pytest

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.arrow import arrow_reply
from mlauto.serving.wire.framed import Framed
from mlauto.serving.wire.invocations import invocations_reply, parse_invocations, parse_rows
from mlauto.serving.wire.protocol import Answer, Request
from mlauto.serving.wire.signature import Signature

SIGNATURE = Signature(columns={"temp": "number", "sky": "string"}, task="regression")
ROWS = [{"temp": 1.5, "sky": "rain"}, {"temp": None, "sky": None}]


def parsed(content: Any) -> Request:
    return parse_invocations(json.dumps(content).encode(), SIGNATURE)


@pytest.mark.parametrize(
    "content",
    [
        {"dataframe_split": {"columns": ["sky", "temp"], "data": [["rain", 1.5], [None, None]]}},
        {"dataframe_split": {"index": [0, 1], "columns": ["temp", "sky"], "data": [[1.5, "rain"], [None, None]]}},
        {"dataframe_records": [{"temp": 1.5, "sky": "rain"}, {}]},
        {"dataframe_records": [{"sky": "rain", "temp": 1.5}, {"temp": None}]},
        {"instances": [{"temp": 1.5, "sky": "rain"}, {}]},
        {"instances": [[1.5, "rain"], [None, None]]},
        {"inputs": {"temp": [1.5, None], "sky": ["rain", None]}},
        {"inputs": [{"temp": 1.5, "sky": "rain"}, {}], "params": {}},
    ],
    ids=["split", "split-index", "records", "records-order", "instances", "instances-lists", "inputs", "inputs-rows"],
)
def test_all_formats_mean_the_same_rows(content: Any) -> None:
    """Columns in any order, missing keys and nulls as missing values."""
    assert parsed(content).rows == ROWS


def test_single_values_stand_for_one_row() -> None:
    """`inputs` may give a value instead of a list of one."""
    assert parsed({"inputs": {"temp": 1.5, "sky": "rain"}}).rows == ROWS[:1]


def test_the_clients_own_id_is_kept() -> None:
    """For the log, as `client_id`."""
    assert parsed({"instances": [{}], "id": "mine"}).client_id == "mine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "the body has no data: send exactly one of dataframe_split"),
        ({"instances": [], "inputs": []}, "the body has instances and inputs"),
        ({"instances": []}, "no rows"),
        ({"rows": []}, "rows: unknown key"),
        ({"instances": [{}], "params": {"k": 1}}, "params: this model takes no parameters"),
        ({"instances": [{}], "id": 7}, "id: must be a text"),
        ({"instances": 7}, "instances: must be a list of rows, not the number 7"),
        ({"instances": [[1.5]]}, "instances[0]: 1 values for 2 columns"),
        ({"instances": [[1.5, "rain"], {"temp": 1}]}, "instances[1]: a row is a list, not an object"),
        ({"dataframe_records": {"temp": [1]}}, "dataframe_records: must be a list of rows, not an object"),
        ({"dataframe_records": [{"temp": 1}, 7]}, "dataframe_records[1]: a row is an object"),
        (
            {"dataframe_records": [[1.5, "rain"]]},
            "dataframe_records[0]: a row is an object, column -> value, not a list",
        ),
        ({"dataframe_records": [{}, {"temp": "warm"}]}, "dataframe_records[1].temp: column 'temp' takes a number"),
        ({"dataframe_records": [{}, {"tmp": 1}]}, "dataframe_records[1]: column 'tmp' is not one of the model's"),
        ({"dataframe_split": [1]}, "dataframe_split: must be an object with columns and data, not a list"),
        ({"dataframe_split": {"data": []}}, "dataframe_split.columns: must be a list, not null"),
        ({"dataframe_split": {"columns": []}}, "dataframe_split.data: must be a list, not null"),
        ({"dataframe_split": {"columns": [], "data": [], "x": 1}}, "dataframe_split.x: unknown key"),
        (
            {"dataframe_split": {"columns": ["temp", 7], "data": []}},
            "dataframe_split.columns[1]: a column's name is text",
        ),
        ({"dataframe_split": {"columns": ["temp", "temp"], "data": []}}, "the column 'temp' occurs twice"),
        ({"dataframe_split": {"columns": ["temp"], "data": [[1], [1, 2]]}}, "data[1]: 2 values for 1 columns"),
        ({"dataframe_split": {"columns": ["temp"], "data": [[1], 2]}}, "data[1]: a row is a list"),
        ({"dataframe_split": {"columns": ["temp"], "data": [["x"]]}}, "dataframe_split.data[0][0]: column 'temp'"),
        ({"dataframe_split": {"columns": ["tmp"], "data": [[1]]}}, "did you mean 'temp'?"),
        ({"inputs": {"temp": [1], "sky": []}}, "inputs: the columns differ in length (temp: 1, sky: 0)"),
        ({"inputs": {"temp": ["x"]}}, "inputs.temp[0]: column 'temp' takes a number"),
        ({"inputs": {}}, "no rows"),
        ([], "the request: expected `object`, got `array`"),
    ],
)
def test_mistakes_are_named_with_their_place(content: Any, words: str) -> None:
    """The message names the key and the row."""
    with pytest.raises(RequestError) as caught:
        parsed(content)

    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_many_wrong_columns_are_refused_quickly() -> None:
    """Neither a list of half a million names nor as many rows of strangers costs more than reading it."""
    import time

    began = time.process_time()
    with pytest.raises(RequestError, match="occurs twice"):
        parsed({"dataframe_split": {"columns": [*map(str, range(500_000)), "7"], "data": []}})
    with pytest.raises(RequestError, match="is not one of the model's"):
        parsed({"dataframe_records": [{str(n): 1} for n in range(200_000)]})
    with pytest.raises(RequestError, match="differ in length"):
        parsed({"inputs": {str(n): [1] * (n % 2) for n in range(200_000)}})

    assert time.process_time() - began < 10


def test_plain_rows_are_records() -> None:
    """What the gateway sends to its model servers."""
    assert parse_rows(b'[{"temp": 1.5, "sky": "rain"}, {}]', SIGNATURE).rows == ROWS
    with pytest.raises(RequestError, match=r"rows\[0\]: a row is an object"):
        parse_rows(b"[7]", SIGNATURE)


def test_the_reply_has_one_prediction_per_row() -> None:
    """With the prediction's id where there is one; anything else is the model's fault."""
    request = Request(rows=[{}, {}])
    body = invocations_reply(Answer(predictions=[1, 2]), request, SIGNATURE, version="1", prediction_id="i")

    assert json.loads(body) == {"predictions": [1, 2], "id": "i"}
    assert b"id" not in invocations_reply(
        Answer(predictions=[1, 2]), request, SIGNATURE, version="1", prediction_id=None
    )
    with pytest.raises(ModelError, match="1 predictions for 2 rows"):
        invocations_reply(Answer(predictions=[1]), request, SIGNATURE, version="1", prediction_id="i")


def test_the_reply_is_arrow_where_that_is_wanted() -> None:
    """Framed as such; the id is in a header alone."""
    request = Request(rows=[{}, {}], arrow=True)
    reply = invocations_reply(Answer(predictions=[1.0, 2.0]), request, SIGNATURE, version="1", prediction_id="i")

    assert isinstance(reply, Framed)
    assert reply == arrow_reply([1.0, 2.0], None, ())
