"""The four JSON formats of MLflow's `/invocations`, and the plain rows that the gateway sends to its model servers.

| key                 | value                                                                  |
|---------------------|------------------------------------------------------------------------|
| `dataframe_split`   | `{"columns": [...], "data": [[...], ...]}`                             |
| `dataframe_records` | `[{column: value, ...}, ...]`                                          |
| `instances`         | the same, or a list of rows as lists in the order of the signature     |
| `inputs`            | `{column: [...], ...}`, or what `instances` takes                      |
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.arrow import arrow_reply
from mlauto.serving.wire.protocol import LONGEST_ID, Answer, Request, decoded
from mlauto.serving.wire.rows import rows_for
from mlauto.serving.wire.signature import Column, Signature, described, rows_from, unknown_column

__all__ = ["invocations_reply", "parse_invocations", "parse_rows"]

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def parse_invocations(body: bytes, signature: Signature) -> Request:
    """The rows of an `invocations` request. Raises `RequestError` naming the key that is wrong."""
    quick = rows_for(signature).invocations(body)
    if quick is not None:
        return Request(*quick)
    content = decoded(body, dict[str, Any])
    unknown = [key for key in content if key not in (*FORMATS, "params", "id")]
    if unknown:
        raise RequestError(f"{unknown[0][:100]}: unknown key; send one of {', '.join(FORMATS)}")
    given = [key for key in FORMATS if key in content]
    if len(given) != 1:
        raise RequestError(f"the body has {' and '.join(given) or 'no data'}: send exactly one of {', '.join(FORMATS)}")
    if content.get("params"):
        raise RequestError("params: this model takes no parameters")
    client_id = content.get("id")
    if client_id is not None and (not isinstance(client_id, str) or len(client_id) > LONGEST_ID):
        raise RequestError(f"id: must be a text of at most {LONGEST_ID} characters")
    key = given[0]
    if key == "dataframe_split":
        rows = _split(content[key], signature)
    elif key == "inputs" and isinstance(content[key], dict):
        rows = _columns(content[key], signature)
    else:
        rows = _records(content[key], key, signature, lists=key != "dataframe_records")
    return Request(rows, client_id)


def parse_rows(body: bytes, signature: Signature) -> Request:
    """The rows of a JSON list of objects. Raises `RequestError`."""
    quick = rows_for(signature).objects(body)
    return Request(_records(decoded(body, list[Any]), "rows", signature, lists=False) if quick is None else quick)


def invocations_reply(
    answer: Answer, request: Request, signature: Signature, *, version: str, prediction_id: str | None
) -> bytes:
    """The body of the reply to `invocations`. Raises `ModelError` when there is not one prediction per row."""
    count = len(request.rows)
    if len(answer.predictions) != count:
        raise ModelError(f"version {version} answered {len(answer.predictions)} predictions for {count} rows")
    if request.arrow:
        return arrow_reply(answer.predictions, answer.probabilities, signature.classes)
    body: dict[str, Any] = {"predictions": answer.predictions}
    return msgspec.json.encode(body if prediction_id is None else {**body, "id": prediction_id})


def _split(content: object, signature: Signature) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        raise RequestError(f"dataframe_split: must be an object with columns and data, not {described(content)}")
    unknown = [str(key) for key in content if key not in ("columns", "data", "index")]
    if unknown:
        raise RequestError(f"dataframe_split.{unknown[0][:100]}: unknown key; send columns and data")
    for part in ("columns", "data"):
        if not isinstance(content.get(part), list):
            raise RequestError(f"dataframe_split.{part}: must be a list, not {described(content.get(part))}")
    names = _names(content["columns"], "dataframe_split.columns")
    return _rows_of_lists(content["data"], names, "dataframe_split.data", signature)


def _names(values: Sequence[Any], place: str) -> list[str]:
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise RequestError(f"{place}[{index}]: a column's name is text, not {described(value)}")
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise RequestError(f"{place}: the column {value[:100]!r} occurs twice")
        seen.add(value)
    return list(values)


def _rows_of_lists(data: Sequence[Any], names: Sequence[str], place: str, signature: Signature) -> list[dict[str, Any]]:
    for index, row in enumerate(data):
        if not isinstance(row, list):
            raise RequestError(f"{place}[{index}]: a row is a list, not {described(row)}")
        if len(row) != len(names):
            raise RequestError(f"{place}[{index}]: {len(row)} values for {len(names)} columns")
    columns = {
        name: Column([row[position] for row in data], place, f"[{position}]") for position, name in enumerate(names)
    }
    return rows_from(columns, len(data), signature)


def _columns(content: dict[str, Any], signature: Signature) -> list[dict[str, Any]]:
    """Column -> list of values; a single value stands for one row."""
    columns: dict[str, Column] = {}
    for name, values in content.items():
        columns[name] = Column(values if isinstance(values, list) else [values], f"inputs.{name[:100]}")
    lengths = {name: len(column.values) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name[:100]}: {length}" for name, length in list(lengths.items())[:20])
        raise RequestError(f"inputs: the columns differ in length ({shown})")
    return rows_from(columns, next(iter(lengths.values()), 0), signature)


def _records(content: object, key: str, signature: Signature, *, lists: bool) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise RequestError(f"{key}: must be a list of rows, not {described(content)}")
    if lists and content and isinstance(content[0], list):
        return _rows_of_lists(content, list(signature.columns), key, signature)
    known = signature.accepted.keys()
    for index, row in enumerate(content):
        if not isinstance(row, dict):
            raise RequestError(f"{key}[{index}]: a row is an object, column -> value, not {described(row)}")
        if not row.keys() <= known:
            stranger = next(name for name in row if name not in known)
            raise RequestError(f"{key}[{index}]: {unknown_column(stranger, signature)}")
    columns = {name: Column([row.get(name) for row in content], key, f".{name}") for name in known}
    return rows_from(columns, len(content), signature)
