"""The Open Inference Protocol, version 2: one tensor per column in, predictions as tensors out, JSON or binary data.

Every error is a `RequestError` that names the place in the client's body, written as in `inputs[2].data[7]`.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.rows import rows_for
from mlauto.serving.wire.signature import KEY, Column, Signature, check_size, described, rows_from, unknown_column
from mlauto.serving.wire.tensors import Tail, framed

__all__ = ["LONGEST_ID", "Answer", "Request", "decoded", "infer_reply", "metadata", "parse_infer"]

FLOATS, INTEGERS = ("FP16", "FP32", "FP64"), ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
ACCEPTED = {
    "number": ("FP64", *FLOATS, *INTEGERS),
    "integer": ("INT64", *INTEGERS, *FLOATS),
    "boolean": ("BOOL", *INTEGERS),
    "string": ("BYTES",),
    KEY: ("BYTES", "BOOL", *INTEGERS, *FLOATS),
}
OUTPUTS = ("predict", "probabilities")
LONGEST_ID = 256

Kind = TypeVar("Kind")


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, Any] = {}


class _Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Infer(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Wanted] = []
    parameters: dict[str, Any] = {}


class Request(msgspec.Struct, frozen=True, gc=False):
    """Checked rows, each with every column of the signature; the client's own id; the outputs it asked for.

    `binary` names those of them that are to be sent as binary data; `arrow` is True when the reply is to be Arrow.
    `keys`: the rows' columns that are only logged, as a JSON list of objects, once `labelkeys.parted` took them out.
    """

    rows: list[dict[str, Any]]
    client_id: str | None = None
    outputs: tuple[str, ...] = OUTPUTS
    binary: tuple[str, ...] = ()
    arrow: bool = False
    keys: bytes | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a model said: one prediction per row, and a classifier's probabilities, one list per row."""

    predictions: list[Any]
    probabilities: list[list[float]] | None = None


def decoded(body: bytes | memoryview, kind: type[Kind]) -> Kind:
    """The body as JSON of that shape. Raises `RequestError` for anything else, however deep or broken it is."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        # msgspec writes the place as `$.inputs[0].shape`
        message, _, place = str(error).partition(" - at `$")
        where = place.rstrip("`").lstrip(".")
        raise RequestError(f"{where or 'the request'}: {message[:1].lower()}{message[1:]}") from None
    except RecursionError:
        raise RequestError("the body is nested too deeply: send lists of plain values") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = re.sub(r"^JSON is malformed: ", "", str(error))
        raise RequestError(f"the body is not valid JSON: {reason}") from None


def parse_infer(body: bytes, signature: Signature, head: int | None = None) -> Request:
    """The rows of an `infer` request, whose JSON ends after `head` bytes if binary data follows.

    Raises `RequestError`.
    """
    quick = rows_for(signature).infer(body) if head is None else None
    if quick is not None:
        return Request(quick[0], quick[1], quick[2] or OUTPUTS)
    request = decoded(body if head is None else memoryview(body)[:head], _Infer)
    tail = None if head is None else Tail(memoryview(body)[head:])
    if request.id is not None and len(request.id) > LONGEST_ID:
        raise RequestError(f"id: longer than {LONGEST_ID} characters")
    columns: dict[str, Column] = {}
    count = 0
    for index, tensor in enumerate(request.inputs):
        place = f"inputs[{index}]"
        if tensor.name in columns:
            raise RequestError(f"{place}.name: the column {tensor.name[:100]!r} occurs twice")
        values = _values(tensor, place, signature, tail)
        if index and len(values) != count:
            raise RequestError(f"{place}.data: {len(values)} rows, but inputs[0] has {count}: send equal lengths")
        count = len(values)
        columns[tensor.name] = Column(values, f"{place}.data")
    if tail is not None:
        tail.finish(f"inputs[{len(request.inputs) - 1}]" if request.inputs else "of which there is none")
    outputs, binary = _outputs(request)
    return Request(rows_from(columns, count, signature), request.id, outputs, binary)


def _outputs(request: _Infer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The outputs that are asked for, and those that are to be binary data."""
    every = _flag(request.parameters, "binary_data_output", "parameters", default=False)
    if not request.outputs:
        return OUTPUTS, OUTPUTS if every else ()
    binary = []
    for index, wanted in enumerate(request.outputs):
        place = f"outputs[{index}]"
        if wanted.name not in OUTPUTS:
            raise RequestError(f"{place}.name: {wanted.name[:100]!r} is not one of {', '.join(OUTPUTS)}")
        if _flag(wanted.parameters, "binary_data", f"{place}.parameters", default=every):
            binary.append(wanted.name)
    return tuple(wanted.name for wanted in request.outputs), tuple(binary)


def _flag(parameters: dict[str, Any], name: str, place: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"{place}.{name}: must be true or false, not {described(value)}")
    return value


def _values(tensor: _Tensor, place: str, signature: Signature, tail: Tail | None) -> list[Any]:
    """A tensor of shape [n] or [n, 1] as n values, its datatype checked against the column's kind."""
    kind = signature.accepted.get(tensor.name)
    if kind is not None and tensor.datatype not in ACCEPTED.get(kind, (tensor.datatype,)):
        raise RequestError(
            f"{place}.datatype: column {tensor.name!r} is of kind {kind} and takes {ACCEPTED[kind][0]}, "
            f"not {tensor.datatype[:20]!r}"
        )
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise RequestError(f"{place}.shape: {tensor.shape[:8]} is not [rows] or [rows, 1]: send one tensor per column")
    if "binary_data_size" in tensor.parameters:
        return _binary(tensor, place, signature, tail)
    values = _flat(tensor, place)
    if len(values) != tensor.shape[0]:
        raise RequestError(f"{place}.data: {len(values)} values, but its shape {tensor.shape} promises others")
    if tensor.datatype in INTEGERS:
        broken = next((i for i, v in enumerate(values) if type(v) is float and not v.is_integer()), None)
        if broken is not None:
            raise RequestError(f"{place}.data[{broken}]: {described(values[broken])} is no {tensor.datatype}")
    return values


def _binary(tensor: _Tensor, place: str, signature: Signature, tail: Tail | None) -> list[Any]:
    if tail is None:
        raise RequestError(
            f"{place}.parameters.binary_data_size: the request has no header Inference-Header-Content-Length"
        )
    if tensor.data is not UNSET:
        raise RequestError(f"{place}.data: send either data or parameters.binary_data_size, not both")
    if tensor.name not in signature.accepted:
        raise RequestError(f"{place}.name: {unknown_column(tensor.name, signature)}")
    check_size(tensor.shape[0], signature)
    return tail.values(tensor.parameters["binary_data_size"], tensor.datatype, tensor.shape[0], place)


def _flat(tensor: _Tensor, place: str) -> list[Any]:
    """The data without the nesting that a shape of [n, 1] allows."""
    if isinstance(tensor.data, UnsetType):
        raise RequestError(f"{place}: has no data")
    if not any(isinstance(value, list) for value in tensor.data):
        return tensor.data
    for index, value in enumerate(tensor.data):
        if not isinstance(value, list) or len(value) != 1 or len(tensor.shape) != 2:
            raise RequestError(
                f"{place}.data[{index}]: {described(value)} does not fit the shape {tensor.shape}: the data is ragged"
            )
    return [value[0] for value in tensor.data]


def infer_reply(
    answer: Answer, request: Request, signature: Signature, *, name: str, version: str, prediction_id: str | None
) -> bytes:
    """The body of the reply to `infer`. Raises `ModelError` when the answer's shape is not what was asked for."""
    count = len(request.rows)
    if len(answer.predictions) != count:
        raise ModelError(f"version {version} answered {len(answer.predictions)} predictions for {count} rows")
    tensors: list[dict[str, Any]] = []
    if "predict" in request.outputs:
        datatype = _label_datatype(answer.predictions, signature)
        tensors.append({"name": "predict", "datatype": datatype, "shape": [count], "data": answer.predictions})
    if "probabilities" in request.outputs and answer.probabilities is not None:
        flat = [value for row in answer.probabilities for value in row]
        shape = [count, len(flat) // count]
        parameters = {"classes": signature.classes}
        tensors.append(
            {"name": "probabilities", "datatype": "FP64", "shape": shape, "parameters": parameters, "data": flat}
        )
    named = {"model_name": name, "model_version": version, **({"id": prediction_id} if prediction_id else {})}
    body = {**named, "outputs": tensors}
    return framed(body, request.binary) if request.binary else msgspec.json.encode(body)


def _label_datatype(values: Sequence[Any], signature: Signature) -> str:
    if signature.task == "regression":
        return "FP64"
    kinds = {type(value) for value in (*signature.classes, *values)}
    return {frozenset({bool}): "BOOL", frozenset({int}): "INT64", frozenset({str}): "BYTES"}.get(
        frozenset(kinds), "FP64" if kinds <= {int, float} else "BYTES"
    )


def metadata(name: str, versions: Sequence[str], signature: Signature) -> dict[str, Any]:
    """The model's metadata: its inputs (one tensor of shape [-1] per column) and outputs, and what columns allow."""
    outputs = [{"name": "predict", "datatype": _label_datatype((), signature), "shape": [-1]}]
    if signature.task == "classification":
        outputs.append({"name": "probabilities", "datatype": "FP64", "shape": [-1, len(signature.classes)]})
    inputs = [{"name": n, "datatype": ACCEPTED[kind][0], "shape": [-1]} for n, kind in signature.columns.items()]
    parameters: dict[str, Any] = {"task": signature.task, "classes": signature.classes}
    parameters |= {"limits": signature.limits} if signature.limits else {}
    parameters |= {"categories": signature.categories} if signature.categories else {}
    return {
        "name": name,
        "versions": list(versions),
        "platform": "sklearn",
        "inputs": inputs,
        "outputs": outputs,
        "parameters": parameters,
    }
