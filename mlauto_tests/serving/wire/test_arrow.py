"""Arrow bodies and replies: rows as JSON would give them, and nothing a stranger sends is trusted."""

import math
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.wire import arrow
from mlauto.serving.wire.arrow import arrow_reply, parse_arrow
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.arrow_mutations import stream
from mlauto_tests.serving.conftest import environment

COLUMNS = {"temp": "number", "hour": "integer", "holiday": "boolean", "sky": "string"}
SIGNATURE = Signature(COLUMNS, "regression", limits={"hour": (0, 23)}, categories={"sky": ("clear", "rain")})


def body(*columns: dict[str, Any], **options: Any) -> bytes:
    return stream([pa.record_batch(one) for one in columns], **options)


def refused(content: bytes, words: str, status: int = 400, **options: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_arrow(content, SIGNATURE, **options)
    assert words in str(caught.value)
    assert caught.value.status == status


def test_rows_are_those_that_json_gives() -> None:
    """By name, in any order; gaps and NaN are missing values, whole numbers stay whole, batches follow one another."""
    first = {
        "sky": pa.array(["clear", None]).dictionary_encode(),
        "temp": pa.array([1, None], pa.int8()),
        "hour": pa.array([3.0, math.nan], pa.float32()),
        "holiday": pa.array([True, None]),
    }
    found = parse_arrow(body(first, first), SIGNATURE)

    assert (
        found
        == [
            {"temp": 1, "hour": 3, "holiday": True, "sky": "clear"},
            {"temp": None, "hour": None, "holiday": None, "sky": None},
        ]
        * 2
    )
    assert type(found[0]["temp"]) is int
    assert type(found[0]["hour"]) is int
    assert list(found[0]) == list(COLUMNS)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.float16(), [0.5, None]),
        (pa.uint64(), [2**64 - 1, 0]),
        (pa.int64(), [-(2**63), None]),
        (pa.null(), [None, None]),
        (pa.dictionary(pa.uint64(), pa.float64()), [0.25, None]),
    ],
)
def test_numbers_of_every_type(kind: Any, values: list[Any]) -> None:
    """Also as a dictionary, also none at all."""
    assert [row["temp"] for row in parse_arrow(body({"temp": pa.array(values, kind)}), SIGNATURE)] == values


def test_long_texts_and_files() -> None:
    """A file is a stream with a directory behind it."""
    columns = {"sky": pa.array(["rain"], pa.large_string())}

    assert parse_arrow(body(columns), SIGNATURE)[0]["sky"] == "rain"
    assert parse_arrow(body(columns, file=True), SIGNATURE, file=True)[0]["sky"] == "rain"
    refused(body(columns), "does not begin with ARROW1", file=True)
    refused(body(columns, file=True), "no Arrow stream")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"tmp": [1.0]}, "did you mean 'temp'?"),
        ({"temp": [1.0, math.inf]}, "temp[1]: column 'temp' takes a number, not a number that is too large"),
        ({"temp": ["warm"]}, "temp[0]: column 'temp' takes a number, not the text 'warm'"),
        ({"hour": [1.5]}, "hour[0]: column 'hour' takes a whole number, not the number 1.5"),
        ({"hour": [1, 24]}, "hour[1]: column 'hour' takes values from 0 to 23, not the number 24"),
        ({"sky": ["clear", "fog"]}, "sky[1]: column 'sky' takes one of 'clear', 'rain', not the text 'fog'"),
        ({"temp": [[1.0]]}, "temp: the type list<item: double> is not taken: cast it to float64"),
        ({"temp": [{"a": 1}]}, "temp: the type struct<a: int64> is not taken"),
        ({"sky": pa.array(["x"], pa.string_view())}, "sky: the type string_view is not taken"),
        ({"sky": pa.array([b"x"])}, "sky: the type binary is not taken"),
        ({"temp": pa.array([1], pa.timestamp("s"))}, "temp: the type timestamp[s] is not taken"),
        ({"temp": pa.array([], pa.float64())}, "the request has no rows"),
    ],
)
def test_mistakes_are_named(columns: dict[str, Any], words: str) -> None:
    """Column, row, and what is allowed there."""
    refused(body(columns), words)


def test_a_column_that_occurs_twice() -> None:
    """One of them would be forgotten."""
    batch = pa.RecordBatch.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["temp", "temp"])
    refused(stream([batch]), "the column 'temp' occurs twice")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_bodies_are_refused(codec: str) -> None:
    """16 MB may unfold to anything: of batches and of dictionaries."""
    refused(body({"temp": [1.0] * 1000}, compression=codec), "message 1 of the body is compressed")
    texts = pa.array(["clear" * 1000] * 3).dictionary_encode()
    refused(body({"sky": texts}, compression=codec), "message 1 of the body is compressed")


def test_other_messages_and_other_bytes_are_refused() -> None:
    """No schema, a schema alone, half a stream, a stream with something behind it."""
    whole = body({"temp": [1.0]})
    schema = bytes(pa.schema({"temp": pa.float64()}).serialize())
    tensor = pa.BufferOutputStream()
    pa.ipc.write_tensor(pa.Tensor.from_numpy(pa.array([1.0]).to_numpy()), tensor)

    refused(b"", "the body is empty")
    refused(schema, "the request has no rows")
    refused(whole[len(schema) :], "message 0 of the body is a record batch")
    refused(schema + schema, "message 1 of the body is a schema")
    refused(bytes(tensor.getvalue()), "message 0 of the body is a tensor")
    refused(whole[:-60], "the body is no Arrow stream")
    refused(whole + b"more", "4 bytes after the end of its stream")
    refused(b'{"instances": []}', "the body is no Arrow stream")


def test_rows_and_batches_are_bounded_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of nothing has any number of rows at no cost; so have texts that a dictionary names again and again."""
    nothing = pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])
    refused(body({"temp": nothing}), "send at most 500000 at a time", 413)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400_000, pa.int8()), ["clear" * 100])
    refused(body({"sky": texts}), "sky: the texts of all rows are too long together", 413)
    monkeypatch.setattr(arrow, "MOST_MESSAGES", 3)
    refused(body(*[{"temp": [1.0]}] * 3), "more than 3 record batches")


def test_what_lies_outside_a_batch_is_not_read() -> None:
    """An index beyond its dictionary, an offset that runs backwards, text that is none."""
    lost = pa.DictionaryArray.from_arrays(pa.array([7], pa.int8()), ["a"], safe=False)
    no_text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    texts = body({"sky": ["ab", "cd", "ef"]})
    offsets = b"\2\0\0\0\4\0\0\0\6\0\0\0"

    assert offsets in texts
    refused(body({"sky": lost}), "no Arrow stream")
    refused(body({"sky": no_text}), "no Arrow stream")
    refused(texts.replace(offsets, b"\x7f" + offsets[1:]), "no Arrow stream")


def test_thousands_of_damaged_streams_crash_nothing() -> None:
    """In a process of its own, which ends well: each is either taken or refused with a sentence."""
    command = [sys.executable, "-m", "mlauto_tests.serving.arrow_mutations", "7", "3000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(), check=False)

    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-500:])
    assert int(done.stdout.split()[0]) > 100


def test_a_reply_has_predictions_and_probabilities() -> None:
    """One column of predictions, one for each class."""
    reply = arrow_reply(["no", "yes"], [[0.9, 0.1], [0.2, 0.8]], ["no", "yes"])
    table = pa.ipc.open_stream(bytes(reply)).read_all()

    assert reply.headers == ((b"content-type", b"application/vnd.apache.arrow.stream"),)
    assert table.to_pydict() == {
        "prediction": ["no", "yes"],
        "probability_no": [0.9, 0.2],
        "probability_yes": [0.1, 0.8],
    }


@pytest.mark.parametrize(
    ("predictions", "kind", "read"),
    [
        ([1.5, 2.0], pa.float64(), [1.5, 2.0]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([3, 4], pa.int64(), [3, 4]),
        ([True, False], pa.bool_(), [True, False]),
        (["a", 1], pa.string(), ["a", "1"]),
    ],
)
def test_predictions_keep_their_type(predictions: list[Any], kind: Any, read: list[Any]) -> None:
    """Labels of several types become text, as in the other protocol."""
    table = pa.ipc.open_stream(bytes(arrow_reply(predictions, None, []))).read_all()

    assert table.schema.types == [kind]
    assert table.column("prediction").to_pylist() == read
