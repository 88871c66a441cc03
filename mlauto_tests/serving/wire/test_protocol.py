"""The Open Inference Protocol's requests and replies."""

import json
import math
import struct
from typing import Any

import pytest

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.framed import Framed
from mlauto.serving.wire.protocol import Answer, Request, decoded, infer_reply, metadata, parse_infer
from mlauto.serving.wire.signature import Signature

SIGNATURE = Signature(
    columns={"temp": "number", "hour": "integer", "holiday": "boolean", "sky": "string"}, task="regression"
)


def tensor(name: str, datatype: str, data: Any, shape: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data, **more}


def infer(*inputs: dict[str, Any], **more: Any) -> Request:
    return parse_infer(json.dumps({"inputs": list(inputs), **more}).encode(), SIGNATURE)


def test_columns_become_rows() -> None:
    """One tensor per column, flat or of shape [n, 1]; the client's id is kept."""
    found = infer(
        tensor("temp", "FP32", [1.5, None]),
        tensor("sky", "BYTES", [["rain"], [None]], shape=[2, 1]),
        tensor("hour", "UINT8", [7, 8], shape=[2, 1]),
        id="mine",
        parameters={"anything": 1},
    )

    assert found.client_id == "mine"
    assert found.rows == [
        {"temp": 1.5, "hour": 7, "holiday": None, "sky": "rain"},
        {"temp": None, "hour": 8, "holiday": None, "sky": None},
    ]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([tensor("temp", "FP64", ["warm"])], "inputs[0].data[0]: column 'temp' takes a number, not the text 'warm'"),
        ([tensor("tmp", "FP64", [1.0])], "did you mean 'temp'?"),
        ([tensor("temp", "BYTES", ["1"])], "inputs[0].datatype: column 'temp' is of kind number and takes FP64"),
        ([tensor("sky", "FP64", [1.0])], "inputs[0].datatype: column 'sky' is of kind string and takes BYTES"),
        ([tensor("hour", "INT32", [1.5])], "inputs[0].data[0]: the number 1.5 is no INT32"),
        ([tensor("temp", "FP64", [1.0], shape=[2])], "inputs[0].data: 1 values, but its shape [2]"),
        ([tensor("temp", "FP64", [1.0], shape=[-1])], "inputs[0].data: 1 values"),
        ([tensor("temp", "FP64", [1.0, 2.0], shape=[1, 2])], "inputs[0].shape: [1, 2] is not [rows] or [rows, 1]"),
        ([tensor("temp", "FP64", [1.0], shape=[])], "inputs[0].shape"),
        ([tensor("temp", "FP64", [[1.0], [2.0, 3.0]], shape=[2, 1])], "inputs[0].data[1]: a list does not fit"),
        ([tensor("temp", "FP64", [[1.0], 2.0], shape=[2, 1])], "inputs[0].data[1]: the number 2 does not fit"),
        ([tensor("temp", "FP64", [[1.0]], shape=[1])], "inputs[0].data[0]: a list does not fit"),
        ([tensor("temp", "FP64", [[[1.0]]], shape=[1, 1])], "inputs[0].data[0]: column 'temp' takes a number"),
        (
            [tensor("temp", "FP64", [1.0]), tensor("hour", "INT64", [1, 2])],
            "inputs[1].data: 2 rows, but inputs[0] has 1",
        ),
        (
            [tensor("temp", "FP64", [1.0]), tensor("temp", "FP64", [1.0])],
            "inputs[1].name: the column 'temp' occurs twice",
        ),
        ([tensor("temp", "FP64", [])], "no rows"),
        ([], "no rows"),
        ([{"name": "temp", "datatype": "FP64", "data": [1]}], "inputs[0]: object missing required field `shape`"),
        ([{"name": 7, "datatype": "FP64", "data": [1], "shape": [1]}], "inputs[0].name: expected `str`, got `int`"),
        ([tensor("temp", "FP64", [1], shape=[1.5])], "inputs[0].shape[0]: expected `int`"),
    ],
)
def test_mistakes_are_named_with_their_place(inputs: list[dict[str, Any]], words: str) -> None:
    """The message begins with, or contains, the place in the client's own body."""
    with pytest.raises(RequestError) as caught:
        infer(*inputs)

    assert words in str(caught.value)
    assert 400 <= caught.value.status < 500


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"inputs": [], "id": "\xff"}', "not valid JSON"),
        (b'{"inputs": NaN}', "not valid JSON"),
        (b'{"inputs": 7}', "inputs: expected `array`, got `int`"),
        (b"[]", "the request: expected `object`, got `array`"),
        (b"null", "the request: expected `object`, got `null`"),
        (b"{}", "the request: object missing required field `inputs`"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "expected `object`"),
        (b'{"inputs": [{"name":"temp","shape":[1],"datatype":"FP64","data":' + b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": [{"name":"temp","shape":[1],"datatype":"FP64","data":[1e999]}]}', "out of range"),
        (b'{"inputs": [], "id": "' + b"x" * 300 + b'"}', "id: longer than 256"),
        (b'{"inputs": [], "id": 7}', "id: expected `str | null`, got `int`"),
    ],
)
def test_broken_bodies_are_answered_with_a_sentence(body: bytes, words: str) -> None:
    """However deep, long or broken the body is."""
    with pytest.raises(RequestError) as caught:
        parse_infer(body, SIGNATURE)

    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def binary(*inputs: tuple[dict[str, Any], bytes], extra: bytes = b"", **more: Any) -> Request:
    """The request with the bytes of each input behind its JSON; of None bytes, the input is JSON itself."""
    head = json.dumps({"inputs": [one for one, _ in inputs], **more}).encode()
    body = head + b"".join(data for _, data in inputs) + extra
    return parse_infer(body, SIGNATURE, len(head))


def raw(name: str, datatype: str, shape: list[int], content: bytes, **more: Any) -> tuple[dict[str, Any], bytes]:
    parameters = {"binary_data_size": len(content)}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters, **more}, content


def test_binary_and_json_tensors_together() -> None:
    """Data in the order of the inputs, those as JSON in between; NaN is a missing value."""
    found = binary(
        raw("sky", "BYTES", [2, 1], b"\4\0\0\0rain\0\0\0\0"),
        (tensor("hour", "INT64", [7, None]), b""),
        raw("temp", "FP64", [2], struct.pack("<2d", 1.5, math.nan)),
        raw("holiday", "BOOL", [2], b"\1\0"),
        id="mine",
    )

    assert found == Request(
        rows=[
            {"temp": 1.5, "hour": 7, "holiday": True, "sky": "rain"},
            {"temp": None, "hour": None, "holiday": False, "sky": ""},
        ],
        client_id="mine",
    )


DOUBLE = struct.pack("<d", 1.0)


@pytest.mark.parametrize(
    ("inputs", "extra", "words"),
    [
        ([raw("temp", "FP64", [1], DOUBLE)], b"x", "the body has 1 bytes after the data of its last input, inputs[0]"),
        ([(tensor("temp", "FP64", [1.0]), b"")], b"x", "1 bytes after the data of its last input, inputs[0]"),
        ([], b"x", "the body has 1 bytes"),
        ([raw("temp", "FP64", [2], DOUBLE)], b"", "inputs[0].parameters.binary_data_size: 8 bytes, but 2 FP64"),
        ([raw("temp", "FP64", [1, 2], DOUBLE * 2)], b"", "inputs[0].shape: [1, 2] is not [rows] or [rows, 1]"),
        ([raw("temp", "FP64", [0], b"")], b"", "the request has no rows"),
        ([raw("temp", "FP64", [10**30], DOUBLE)], b"", "send at most 500000 at a time"),
        ([raw("temp", "BYTES", [1], b"\0\0\0\0")], b"", "inputs[0].datatype: column 'temp' is of kind number"),
        ([raw("tmp", "FP64", [1], DOUBLE)], b"", "inputs[0].name: column 'tmp' is not one of the model's"),
        ([raw("temp", "FP64", [1], DOUBLE, data=[1.0])], b"", "inputs[0].data: send either data or parameters"),
        (
            [raw("temp", "FP64", [1], struct.pack("<d", math.inf))],
            b"",
            "inputs[0].data[0]: column 'temp' takes a number",
        ),
        ([raw("hour", "FP64", [1], struct.pack("<d", 0.5))], b"", "inputs[0].data[0]: column 'hour' takes a whole"),
        ([raw("holiday", "INT8", [1], b"\2")], b"", "inputs[0].data[0]: column 'holiday' takes true or false"),
        ([({"name": "temp", "datatype": "FP64", "shape": [1]}, b"")], b"", "inputs[0]: has no data"),
        (
            [raw("temp", "FP64", [1], DOUBLE), raw("hour", "INT8", [2], b"\1\2")],
            b"",
            "inputs[1].data: 2 rows, but inputs[0] has 1",
        ),
    ],
)
def test_binary_tensors_that_do_not_fit_are_named(
    inputs: list[tuple[dict[str, Any], bytes]], extra: bytes, words: str
) -> None:
    """Every size must agree with the shape, and all of them with the body."""
    with pytest.raises(RequestError) as caught:
        binary(*inputs, extra=extra)

    assert words in str(caught.value)


def test_binary_data_needs_the_header_and_a_sound_json() -> None:
    """Without it nobody knows where the data begins; a JSON that is cut short is broken."""
    with pytest.raises(RequestError, match="the request has no header Inference-Header-Content-Length"):
        infer(raw("temp", "FP64", [1], DOUBLE)[0])
    with pytest.raises(RequestError, match="not valid JSON"):
        parse_infer(b'{"inputs": []}', SIGNATURE, 5)


def test_outputs_are_binary_where_that_is_asked_for() -> None:
    """For all of them, for one, for all but one; the reply's JSON names their sizes."""
    temp = tensor("temp", "FP64", [1.0])
    but_one = [{"name": "predict", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    cases = [
        (infer(temp), ()),
        (infer(temp, parameters={"binary_data_output": True}), ("predict", "probabilities")),
        (infer(temp, outputs=[{"name": "predict", "parameters": {"binary_data": True}}]), ("predict",)),
        (infer(temp, outputs=but_one, parameters={"binary_data_output": True}), ("probabilities",)),
    ]
    signature = Signature(columns=SIGNATURE.columns, task="classification", classes=("no", "yes"))
    answer = Answer(predictions=["yes"], probabilities=[[0.25, 0.75]])
    data = {"predict": b"\3\0\0\0yes", "probabilities": struct.pack("<2d", 0.25, 0.75)}

    for request, wanted in cases:
        assert request.binary == wanted
        reply = infer_reply(answer, request, signature, name="m", version="3", prediction_id="i")
        assert isinstance(reply, Framed) is bool(wanted)
        assert reply.endswith(b"".join(data[name] for name in wanted))
        head = reply[: len(reply) - sum(len(data[name]) for name in wanted)]
        for output in json.loads(head)["outputs"]:
            assert ("data" in output) is (output["name"] not in wanted)
            if output["name"] in wanted:
                assert output["parameters"]["binary_data_size"] == len(data[output["name"]])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: must be true or false"),
        (
            {"outputs": [{"name": "predict", "parameters": {"binary_data": "yes"}}]},
            "outputs[0].parameters.binary_data: must be true or false, not the text 'yes'",
        ),
    ],
)
def test_wishes_that_are_none(more: dict[str, Any], words: str) -> None:
    """A flag is true or false."""
    with pytest.raises(RequestError) as caught:
        infer(tensor("temp", "FP64", [1.0]), **more)

    assert words in str(caught.value)


def test_outputs_can_be_chosen() -> None:
    """Only those asked for are rendered, and unknown ones are named."""
    request = infer(tensor("temp", "FP64", [1.0]), outputs=[{"name": "predict"}])
    answer = Answer(predictions=[2.0], probabilities=[[0.5, 0.5]])
    body = json.loads(infer_reply(answer, request, SIGNATURE, name="m", version="1", prediction_id="i"))

    assert [output["name"] for output in body["outputs"]] == ["predict"]
    with pytest.raises(RequestError, match=r"outputs\[0\]\.name: 'shap' is not one of predict, probabilities"):
        infer(tensor("temp", "FP64", [1.0]), outputs=[{"name": "shap"}])


@pytest.mark.parametrize(
    ("classes", "labels", "datatype"),
    [
        (("no", "yes"), ["yes"], "BYTES"),
        ((0, 1), [1], "INT64"),
        ((False, True), [True], "BOOL"),
        ((0.5, 1), [0.5], "FP64"),
        (("no", 1), [1], "BYTES"),
    ],
)
def test_labels_keep_their_json_values(classes: tuple[Any, ...], labels: list[Any], datatype: str) -> None:
    """A classifier's labels go out as they were in training, with the datatype that fits all of them."""
    signature = Signature(columns=SIGNATURE.columns, task="classification", classes=classes)
    answer = Answer(predictions=labels, probabilities=[[0.25, 0.75]])
    request = Request(rows=[{}])
    body = json.loads(infer_reply(answer, request, signature, name="m", version="3", prediction_id="i"))
    predict, probabilities = body["outputs"]

    assert (body["model_name"], body["model_version"], body["id"]) == ("m", "3", "i")
    assert (predict["datatype"], predict["data"], predict["shape"]) == (datatype, labels, [1])
    assert type(predict["data"][0]) is type(labels[0])
    assert (probabilities["shape"], probabilities["data"]) == ([1, 2], [0.25, 0.75])
    assert probabilities["parameters"]["classes"] == list(classes)


def test_an_answer_of_another_length_is_the_models_fault() -> None:
    """Two predictions for one row are an error of the model's, not a reply."""
    with pytest.raises(ModelError, match="2 predictions for 1 rows"):
        infer_reply(
            Answer(predictions=[1.0, 2.0]), Request(rows=[{}]), SIGNATURE, name="m", version="1", prediction_id=None
        )


def test_metadata_describes_inputs_and_outputs() -> None:
    """Regression has one output, classification also its probabilities."""
    regression = metadata("m", ["1", "2"], SIGNATURE)
    classifier = metadata("m", ["1"], Signature(columns={}, task="classification", classes=("a", "b")))

    assert regression["versions"] == ["1", "2"]
    assert [i["datatype"] for i in regression["inputs"]] == ["FP64", "INT64", "BOOL", "BYTES"]
    assert [o["name"] for o in regression["outputs"]] == ["predict"]
    assert [o["shape"] for o in classifier["outputs"]] == [[-1], [-1, 2]]


def test_a_client_error_within_a_list_is_placed() -> None:
    """`decoded` writes places without the `$` of JSON paths."""
    with pytest.raises(RequestError, match=r"^\[1\]: expected `int`, got `str`"):
        decoded(b'[1, "x"]', list[int])


def test_metadata_says_what_columns_allow() -> None:
    """Limits and categories, where there are any."""
    limited = Signature({"temp": "number"}, "regression", limits={"temp": (0, None)}, categories={"sky": ("a",)})

    assert metadata("m", ["1"], limited)["parameters"] == {
        "task": "regression",
        "classes": (),
        "limits": {"temp": (0, None)},
        "categories": {"sky": ("a",)},
    }
    assert metadata("m", ["1"], SIGNATURE)["parameters"] == {"task": "regression", "classes": ()}
