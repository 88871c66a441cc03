"""Rows decoded and checked in one go, by types made from a signature.

Whatever does not fit at once is left to the parsers of `invocations` and `protocol`, which accept a little more (3.0 as
a whole number, 1 as true) and own the sentences about mistakes. Where both accept, both give the same rows.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from mlauto.serving.wire.quicktypes import value_type
from mlauto.serving.wire.signature import KEY, MOST_CELLS, Signature

__all__ = ["Rows", "rows_for"]

Row = dict[str, Any]
Values = tuple[Any, ...]  # of one row, in the signature's order

FLOATS = ("FP16", "FP32", "FP64")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
ID = Annotated[str, Meta(max_length=256)] | None
# kind and datatype of a tensor -> the kind that its values are of
TENSORS: dict[tuple[str, str], str] = {
    **{("number", datatype): "number" for datatype in FLOATS},
    **{(kind, datatype): "integer" for kind in ("number", "integer") for datatype in INTEGERS},
    ("boolean", "BOOL"): "boolean",
    ("string", "BYTES"): "string",
    **{(KEY, datatype): "number" for datatype in FLOATS},
    **{(KEY, datatype): "integer" for datatype in INTEGERS},
    (KEY, "BOOL"): "boolean",
    (KEY, "BYTES"): "string",
}
MOST_ORDERS = 64  # of columns, as clients send them


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: Raw
    index: Raw | UnsetType = UNSET


class _Invocations(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: _Split | UnsetType = UNSET
    dataframe_records: Raw | UnsetType = UNSET
    instances: Raw | UnsetType = UNSET
    id: ID = None


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: tuple[int]
    datatype: str
    data: Raw


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    name: Literal["predict", "probabilities"]


class _Infer(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    id: ID = None
    outputs: list[_Wanted] = []


class _Order:
    """Lists of values in one order of the columns."""

    def __init__(self, names: Sequence[str], signature: Signature) -> None:
        self._names, columns = list(names), signature.accepted
        kinds = tuple(_type(name, columns[name], signature) for name in names)
        lists = list[tuple[kinds]] if kinds else list[tuple[()]]  # type: ignore[valid-type]
        self._decode: Callable[[Raw], Any] = msgspec.json.Decoder(lists).decode
        fields: list[tuple[str, Any]] = [("columns", list[str]), ("data", lists)]
        index = ("index", Raw | UnsetType, UNSET)
        split = msgspec.defstruct("Split", [*fields, index], forbid_unknown_fields=True)
        whole = msgspec.defstruct("Whole", [("dataframe_split", split), ("id", ID, None)], forbid_unknown_fields=True)
        self._whole = msgspec.json.Decoder(whole).decode
        places = {name: place for place, name in enumerate(names)}
        self._places = [places.get(name) for name in columns]
        self._straight = list(names) == list(columns)

    def values(self, data: Raw) -> list[Values]:
        """Raises `msgspec.MsgspecError`."""
        return self._placed(self._decode(data))

    def whole(self, body: bytes) -> tuple[list[Values], str | None] | None:
        """Rows and id of a `dataframe_split` request in one go; None where its columns are others, or in another order.

        Raises `msgspec.MsgspecError`.
        """
        found: Any = self._whole(body)
        split = found.dataframe_split
        return (self._placed(split.data), found.id) if split.columns == self._names else None

    def _placed(self, found: list[Values]) -> list[Values]:
        if self._straight:
            return found
        places = self._places
        return [tuple([None if place is None else row[place] for place in places]) for row in found]


def _type(name: str, kind: str, signature: Signature) -> Any:
    return value_type(kind, signature.limits.get(name), signature.categories.get(name))


class Rows:
    """The decoders of one signature. Each gives None for what it does not take."""

    def __init__(self, signature: Signature) -> None:
        self._signature, columns = signature, signature.accepted
        self._accepted = columns.keys()
        self._names = list(columns)
        self._most = MOST_CELLS // max(1, len(self._names))
        self._orders: dict[tuple[str, ...], _Order] = {}
        types = [_type(name, kind, signature) for name, kind in columns.items()]
        self._last = _Order(self._names, signature)
        fields = [(f"f{index}", values, None) for index, values in enumerate(types)]
        rename = {f"f{index}": name for index, name in enumerate(self._names)}
        row = msgspec.defstruct("Row", fields, forbid_unknown_fields=True, rename=rename, gc=False)
        self._records = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._body = msgspec.json.Decoder(_Invocations)
        self._infer = msgspec.json.Decoder(_Infer)
        self._columns = {
            (name, datatype): msgspec.json.Decoder(list[_type(name, sent, signature)])  # type: ignore[misc]
            for name, kind in columns.items()
            for (taken, datatype), sent in TENSORS.items()
            if taken == kind
        }

    def invocations(self, body: bytes) -> tuple[list[Row], str | None] | None:
        """The rows and the client's id of a request in one of MLflow's formats."""
        found = self.values(body)
        return None if found is None else (self._named(found[0]), found[1])

    def values(self, body: bytes) -> tuple[list[Values], str | None] | None:
        """The same, rows as tuples in the signature's order."""
        found = self._as_last_time(body) or self._any(body)
        return found if found is not None and 0 < len(found[0]) <= self._most else None

    def _as_last_time(self, body: bytes) -> tuple[list[Values], str | None] | None:
        """Most clients send `dataframe_split` with the same columns each time: then one pass does."""
        try:
            return self._last.whole(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _any(self, body: bytes) -> tuple[list[Values], str | None] | None:
        try:
            content = self._body.decode(body)
            split, records, instances = content.dataframe_split, content.dataframe_records, content.instances
            if (split is UNSET) + (records is UNSET) + (instances is UNSET) != 2:
                return None
            if isinstance(split, _Split):
                order = self._order(tuple(split.columns))
                rows = order.values(split.data) if order is not None else []
                self._last = order or self._last
            elif isinstance(records, Raw):
                rows = self._objects(records)
            else:
                rows = self._either(instances)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return rows, content.id

    def infer(self, body: bytes) -> tuple[list[Row], str | None, tuple[str, ...]] | None:
        """The rows of an Open Inference request, the client's id, and the outputs it names."""
        try:
            content = self._infer.decode(body)
            tensors = content.inputs
            columns = {
                tensor.name: self._columns[tensor.name, tensor.datatype].decode(tensor.data) for tensor in tensors
            }
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
            return None
        count = tensors[0].shape[0] if tensors else 0
        if len(columns) < len(tensors) or not 0 < count <= self._most:
            return None
        if any(tensor.shape[0] != count or len(columns[tensor.name]) != count for tensor in tensors):
            return None
        gaps = [None] * count
        names = self._names
        by_row = zip(*[columns.get(name, gaps) for name in names], strict=True)
        rows = [dict(zip(names, row, strict=True)) for row in by_row]
        return rows, content.id, tuple([wanted.name for wanted in content.outputs])

    def objects(self, body: bytes) -> list[Row] | None:
        """The rows of a JSON list of objects."""
        found = self.object_values(body)
        return None if found is None else self._named(found)

    def object_values(self, body: bytes) -> list[Values] | None:
        """The same as tuples in the signature's order."""
        try:
            rows = self._objects(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return rows if 0 < len(rows) <= self._most else None

    def _named(self, rows: list[Values]) -> list[Row]:
        names = self._names
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _objects(self, data: bytes | Raw) -> list[Values]:
        return list(map(msgspec.structs.astuple, self._records.decode(data)))

    def _either(self, data: Any) -> list[Values]:
        try:
            return self._objects(data)
        except msgspec.ValidationError:
            order = self._order(tuple(self._signature.columns))
            return order.values(data) if order is not None else []

    def _order(self, names: tuple[str, ...]) -> _Order | None:
        """Made when columns first come in that order; None where they are not the model's."""
        found = self._orders.get(names)
        if found is None:
            if len(set(names)) < len(names) or not set(names) <= self._accepted:
                return None
            if len(self._orders) >= MOST_ORDERS:
                self._orders.clear()
            found = self._orders[names] = _Order(names, self._signature)
        return found


_known: dict[int, tuple[Signature, Rows]] = {}


def rows_for(signature: Signature) -> Rows:
    """The decoders of that signature, made once for each."""
    found = _known.get(id(signature))
    if found is None or found[0] is not signature:
        if len(_known) >= MOST_ORDERS:
            _known.clear()
        found = _known[id(signature)] = signature, Rows(signature)
    return found[1]
