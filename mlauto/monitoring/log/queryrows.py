"""What a query finds, as columns with names and types: of the request, of its rows, and of what the model was asked.

| column                                                        | one value per                                       |
|---------------------------------------------------------------|-----------------------------------------------------|
| id, time, version, ms, error, code, client_id, retried_from   | request                                             |
| row, prediction, probabilities (JSON), label                  | row of the request                                  |
| any other name, or `rows.NAME`                                | row: the value that the column had in the request   |

A request is one line of the result, or, where a column of rows is asked for, as many as it has rows; a failed one has
none to tell, and is one line with nothing in those columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.query import Query, tables
from mlauto.monitoring.log.querylabels import LabelIndex

if TYPE_CHECKING:
    import pyarrow

__all__ = ["DEFAULT", "batches"]

REQUEST = {"id": "id", "time": "t", "version": "v", "ms": "ms", "error": "error", "code": "code"}
REQUEST |= {"client_id": "client_id", "retried_from": "retried_from"}
ROW = {"row": "int64", "prediction": "string", "probabilities": "string", "label": "string"}
ARROW = {"number": "float64", "integer": "int64", "boolean": "bool", "string": "string"}
DEFAULT = ("time", "id", "version", "ms", "prediction", "error")


def batches(
    folder: Path,
    query: Query,
    columns: Sequence[str] = DEFAULT,
    *,
    kinds: Mapping[str, str] | None = None,
    labelled: bool = False,
    limit: int | None = None,
) -> "Iterator[pyarrow.Table]":
    """The lines of the result, a segment's at a time, all with one schema; at most `limit`, the oldest ones.

    `kinds` gives columns of rows a kind of the signature's (`number`, `integer`, `boolean`, `string`), `prediction` and
    `label` too; those without are text. `labelled` leaves only rows with a label. Raises `MeasurementError`, also for
    a value that is not of its column's kind.
    """
    if labelled and "label" not in columns:
        columns = (*columns, "label")
    left = limit
    for table in _all(folder, query, tuple(dict.fromkeys(columns)), dict(kinds or {}), labelled):
        part = table if left is None else table.slice(0, left)
        left = None if left is None else left - part.num_rows
        if part.num_rows:
            yield part
        if left == 0:
            return


def _all(
    folder: Path, query: Query, columns: tuple[str, ...], kinds: Mapping[str, str], labelled: bool
) -> "Iterator[pyarrow.Table]":
    of_request = {name: REQUEST[name] for name in columns if name in REQUEST}
    if len(of_request) == len(columns):
        for table in tables(folder, query, tuple(of_request.values())):
            yield _named(table, of_request)
        return
    rows = _Rows(columns, kinds)
    if "label" not in columns:
        for table in tables(folder, query, rows.needed):
            yield _named(
                rows.of(table, None, labelled=False), of_request | {name: name for name in rows.names}, columns
            )
        return
    with LabelIndex(folder, query.since) as labels:
        for table in tables(folder, query, rows.needed):
            found = rows.of(table, labels.of(table.column("id").to_pylist()), labelled=labelled)
            yield _named(found, of_request | {name: name for name in rows.names}, columns)


def _named(table: "pyarrow.Table", names: Mapping[str, str], order: Sequence[str] = ()) -> "pyarrow.Table":
    """The columns under the names of the result, times as such."""
    import pyarrow
    import pyarrow.compute as pc

    found = {}
    for name in order or names:
        column = table.column(names[name])
        if name == "time":
            column = pc.cast(pc.round(pc.multiply(column, 1000.0)), pyarrow.int64()).cast(
                pyarrow.timestamp("ms", "UTC")
            )
        found[name] = column
    return pyarrow.table(found)


class _Rows:
    """Takes requests apart into their rows. `names` are the result's columns of rows, `needed` those of the log."""

    def __init__(self, columns: Sequence[str], kinds: Mapping[str, str]) -> None:
        self.names = [name for name in columns if name not in REQUEST]
        self._request = [REQUEST[name] for name in columns if name in REQUEST]
        self._features = {name: name.removeprefix("rows.") for name in self.names if name not in ROW}
        self._kinds = {name: kinds.get(self._features.get(name, name), "string") for name in self.names}
        used = ["p"] * ("probabilities" in self.names) + ["rows", "k"] * bool(self._features)
        self.needed = tuple(dict.fromkeys((*self._request, "id", "y", *used)))
        asked = list(dict.fromkeys(self._features.values()))
        fields = [(f"f{place}", Any, None) for place in range(len(asked))]
        rename = {f"f{place}": name for place, name in enumerate(asked)}
        row = msgspec.defstruct("Row", fields, rename=rename, gc=False)
        self._places = {name: asked.index(feature) for name, feature in self._features.items()}
        self._decode = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]

    def of(
        self, table: "pyarrow.Table", labels: Mapping[str, Sequence[Any]] | None, *, labelled: bool
    ) -> "pyarrow.Table":
        """One line per row; only those with a label, where that is asked for. Raises `MeasurementError`."""
        import pyarrow

        logged = {
            name: table.column(name).to_pylist() for name in self.needed if name not in self._request or name == "id"
        }
        repeat: list[int] = []
        values: dict[str, list[Any]] = {name: [] for name in self.names}
        for place, name in enumerate(logged["id"]):
            own = {column: found[place] for column, found in logged.items()}
            truth = () if labels is None else labels.get(name, ())
            for number, line in enumerate(self._lines(own, truth)):
                if labelled and line["label"] is None:
                    continue
                repeat.append(place)
                for column in self.names:
                    values[column].append(number if column == "row" else self._typed(column, line[column], name))
        chosen = table.select(list(dict.fromkeys((*self._request, "id")))).take(pyarrow.array(repeat, pyarrow.int64()))
        found = {name: chosen.column(name) for name in self._request}
        for column in self.names:
            alias = "int64" if column == "row" else ARROW[self._kinds[column]]
            found[column] = pyarrow.array(values[column], pyarrow.type_for_alias(alias))
        return pyarrow.table(found)

    def _lines(self, logged: Mapping[str, Any], truth: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The values of each row of one request."""
        predicted = msgspec.json.decode(logged["y"]) if logged["y"] else [None]
        odds = msgspec.json.decode(logged["p"]) if logged.get("p") else None
        rows = self._decode(logged["rows"]) if logged.get("rows") else []
        keys = self._decode(logged["k"]) if logged.get("k") else []
        count = len(predicted)
        if len(truth) % count:
            truth = ()  # of another number of rows: no label of this request, as for the join
        truth = truth[-count:]
        for place in range(count):
            line = {
                "row": place,
                "prediction": predicted[place],
                "probabilities": None if odds is None else odds[place],
                "label": truth[place] if truth else None,
            }
            asked = [msgspec.structs.astuple(found[place]) for found in (rows, keys) if place < len(found)]
            for name, index in self._places.items():
                line[name] = next((row[index] for row in asked if row[index] is not None), None)
            yield line

    def _typed(self, column: str, value: Any, prediction: str) -> Any:
        kind = self._kinds[column]
        if value is None:
            return None
        if kind == "string":
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if kind == "number" and isinstance(value, int | float):
            return float(value)
        if kind == "integer" and whole:
            return int(value)
        if kind == "boolean" and value in (0, 1):
            return bool(value)
        raise MeasurementError(
            f"{column!r} of prediction {prediction} is {value!r}, not of the kind {kind} that it has today:"
            " ask for one version, or leave the column away"
        )
