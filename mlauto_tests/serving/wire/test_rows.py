"""The quick decoders against the slow parsers: what both take is the same, and the quick ones take nothing more."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.wire import invocations, protocol, rows
from mlauto.serving.wire.protocol import Request
from mlauto.serving.wire.rows import Rows, rows_for
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.conftest import COLUMNS, ROW

SIGNATURE = Signature(columns=COLUMNS, task="regression")
LIMITED = Signature(
    columns=COLUMNS,
    task="regression",
    limits={"temp": (-1.5, 1e300), "hour": (None, 100.5)},
    categories={"sky": ("", "clear", "x" * 300)},
)
KEYED = Signature(
    columns={name: COLUMNS[name] for name in ("temp", "hour")}, task="regression", keys=("holiday", "sky")
)
GOOD: dict[str, list[Any]] = {
    "number": [0, 1, -1.5, 1e300, 2**53 + 1, None, 0.1],
    "integer": [0, -5, 2**63 - 1, -(2**63), None],
    "boolean": [True, False, None],
    "string": ["", "clear", '\u00e4\n"', None, "x" * 300],
}
# some of these are right for some kind, or right for the slow parsers alone
ODD = [3.0, 2.5, 1, 0, True, "1", "text", [], [1], {}, {"a": 1}, 2**63, -(2**63) - 1, 10**400, 1.75e308, None, -0.0]


class Slow:
    """A signature whose quick decoders take nothing."""

    def invocations(self, body: bytes) -> None:
        return None

    infer = objects = invocations


def outcome(parse: Callable[[bytes, Signature], Request], body: bytes) -> Any:
    try:
        return parse(body, SIGNATURE)
    except RequestError as error:
        return str(error), error.status


def both(monkeypatch: pytest.MonkeyPatch, parse: Callable[[bytes, Signature], Request], body: bytes) -> Any:
    """The outcome with the quick decoders, which must be the one without them; kinds of values included."""
    quick = outcome(parse, body)
    with monkeypatch.context() as patch:
        for module in (invocations, protocol):
            patch.setattr(module, "rows_for", lambda _: Slow())
        slow = outcome(parse, body)
    assert quick == slow
    assert repr(quick) == repr(slow)
    return quick


def value(draw: random.Random, kind: str) -> Any:
    return draw.choice(ODD) if draw.random() < 0.03 else draw.choice(GOOD[kind])


def row(draw: random.Random) -> dict[str, Any]:
    names = [name for name in COLUMNS if draw.random() < 0.9]
    draw.shuffle(names)
    found = {name: value(draw, COLUMNS[name]) for name in names}
    if draw.random() < 0.03:
        found[draw.choice(["tmep", "", "f0"])] = 1
    return found


def invocation(draw: random.Random) -> Any:
    """A body in one of MLflow's formats, rarely with something wrong or unusual about it."""
    form = draw.choice(["dataframe_split", "dataframe_records", "instances", "inputs"])
    records = [row(draw) for _ in range(draw.randrange(4))]
    names = draw.sample(list(COLUMNS), draw.randrange(len(COLUMNS) + 1)) + ["temp"] * (draw.random() < 0.03)
    lists = [[value(draw, COLUMNS[name]) for name in names] for _ in records]
    content: Any = records
    if form == "dataframe_split":
        content = {"columns": names, "data": lists} | ({"index": [1]} if draw.random() < 0.1 else {})
    elif form == "instances" and draw.random() < 0.5:
        content = [[value(draw, kind) for kind in COLUMNS.values()] for _ in records]
    elif form == "inputs":
        content = {name: [value(draw, COLUMNS[name]) for _ in records] for name in names}
    body = {form: content}
    extras = {"id": draw.choice(["mine", None, 7, "x" * 257]), "params": {}, "instances": []}
    return body | {key: given for key, given in extras.items() if draw.random() < 0.05}


def inference(draw: random.Random) -> Any:
    """An Open Inference body, likewise."""
    count = draw.randrange(4)
    datatypes = {"number": ["FP64", "FP32", "INT64"], "integer": ["INT64", "FP64"], "boolean": ["BOOL", "INT8"]}
    tensors = [
        {
            "name": name,
            "shape": draw.choice([[count]] * 9 + [[count, 1], [count + 1], []]),
            "datatype": draw.choice(datatypes.get(kind, ["BYTES"])) if draw.random() < 0.97 else "FP8",
            "data": [value(draw, kind) for _ in range(count)],
        }
        | ({"parameters": {}} if draw.random() < 0.05 else {})
        for name, kind in draw.sample(list(COLUMNS.items()), draw.randrange(5))
    ]
    if tensors and draw.random() < 0.05:
        tensors.append(draw.choice(tensors))
    body: dict[str, Any] = {"inputs": tensors}
    extras = {"id": draw.choice(["mine", "x" * 257]), "outputs": [{"name": "predict"}], "more": 1}
    return body | {key: given for key, given in extras.items() if draw.random() < 0.1}


@pytest.mark.parametrize("signature", [SIGNATURE, LIMITED, KEYED], ids=["free", "limited", "keyed"])
@pytest.mark.parametrize("seed", range(4))
def test_quick_and_slow_agree(seed: int, signature: Signature, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand random bodies of each kind, many of them wrong somewhere: same rows, or the same sentence."""
    monkeypatch.setattr(f"{__name__}.SIGNATURE", signature)
    draw = random.Random(seed)
    taken = 0
    for _ in range(1000):
        records = [row(draw) for _ in range(draw.randrange(4))]
        for parse, content in (
            (invocations.parse_invocations, invocation(draw)),
            (protocol.parse_infer, inference(draw)),
            (invocations.parse_rows, records),
        ):
            taken += isinstance(both(monkeypatch, parse, json.dumps(content).encode()), Request)

    assert (1000 if signature is not LIMITED else 200) < taken < 3000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b'{"instances": [{"temp": 1e400}]}',
        b'{"instances": [{"temp": NaN}]}',
        b'{"instances": [{"sky": "\xff"}]}',
        b'{"instances": [{"sky": "\\ud800"}]}',
        b'{"instances": [{"temp": 1, "temp": 2}]}',
        b'{"instances": [{"temp": 1}], "instances": [{"temp": 2}]}',
        b'{"instances": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"dataframe_split": null, "instances": [{}]}',
        b'{"dataframe_split": {"columns": ["temp"], "data": [[1, 2]]}}',
        b' {"instances" : [ { } ] } ',
        b'{"inputs": [[1, 2, true, "x"]]}',
    ],
)
def test_strange_bodies_are_judged_by_the_slow_parsers(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken, doubled, deep, or legal and unusual."""
    for parse in (invocations.parse_invocations, protocol.parse_infer, invocations.parse_rows):
        assert both(monkeypatch, parse, body) is not None


def test_the_usual_bodies_are_taken_quickly() -> None:
    """Otherwise nothing is gained."""
    quick = rows_for(SIGNATURE)
    names, values = list(ROW), list(ROW.values())

    def dumped(content: object) -> bytes:
        return json.dumps(content).encode()

    assert quick.objects(dumped([ROW])) == [ROW]
    assert quick.invocations(dumped({"dataframe_split": {"columns": names, "data": [values]}})) == ([ROW], None)
    assert quick.invocations(dumped({"dataframe_split": {"columns": names[::-1], "data": [values[::-1]]}})) is not None
    assert quick.invocations(dumped({"dataframe_records": [ROW], "id": "mine"})) == ([ROW], "mine")
    assert quick.invocations(dumped({"instances": [ROW]})) == ([ROW], None)
    assert quick.invocations(dumped({"instances": [values]})) == ([ROW], None)
    tensors = [
        {"name": name, "shape": [1], "datatype": datatype, "data": [ROW[name]]}
        for name, datatype in zip(names, ("FP64", "INT64", "BOOL", "BYTES"), strict=True)
    ]
    assert quick.infer(dumped({"inputs": tensors})) == ([ROW], None, ())


def test_orders_of_columns_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients cannot fill the memory with orders that they invent, nor many products with their signatures."""
    monkeypatch.setattr(rows, "MOST_ORDERS", 3)
    quick = Rows(SIGNATURE)
    names = list(COLUMNS)
    for count in range(5):
        body = {"dataframe_split": {"columns": names[:count], "data": [[None] * count]}}
        assert quick.invocations(json.dumps(body).encode()) == ([dict.fromkeys(names)], None)
        assert len(quick._orders) <= 3
    for _ in range(5):
        other = Signature(columns=dict(COLUMNS), task="regression")
        assert rows_for(other) is rows_for(other)
        assert len(rows._known) <= 3


def test_a_model_without_columns_takes_empty_rows() -> None:
    """As the slow parsers do."""
    empty = rows_for(Signature(columns={}, task="regression"))

    assert empty.objects(b"[{}, {}]") == [{}, {}]
    assert empty.invocations(b'{"instances": [[]]}') == ([{}], None)
    assert empty.objects(b"[]") is None


def test_columns_may_come_in_another_order_each_time() -> None:
    """The decoder of the last request is tried first; what it takes is what any other would."""
    signature = Signature({"a": "number", "b": "number", "c": "string"}, "regression")
    decoders = Rows(signature)
    for names in (["a", "b", "c"], ["b", "a", "c"], ["b", "a", "c"], ["c", "a"], ["a", "b"], ["a", "b", "c"]):
        values = {"a": 1.5, "b": 2, "c": "x"}
        body = json.dumps({"id": "i", "dataframe_split": {"columns": names, "data": [[values[n] for n in names]]}})
        wanted = tuple(values[name] if name in names else None for name in signature.columns)
        assert decoders.values(body.encode()) == ([wanted], "i")
    for broken in (["a", "a"], ["a", "z"]):
        body = json.dumps({"dataframe_split": {"columns": broken, "data": [[1, 2]]}})
        assert decoders.values(body.encode()) is None
