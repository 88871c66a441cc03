"""Results of queries: a line per request or per row, with the columns, types and labels that were asked for."""

import datetime
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.query import Query
from mlauto.monitoring.log.queryrows import batches
from mlauto_tests.monitoring.log.test_query import pack

REGRESSION = {"x": "number", "prediction": "number", "label": "number"}


def lines(log: Any, *columns: str, query: Query | None = None, **how: Any) -> list[dict[str, Any]]:
    return [line for table in batches(log.folder, query or Query(), columns, **how) for line in table.to_pylist()]


def test_columns_of_the_request(log: Any) -> None:
    """One line per request, under names that say what they are; times are times."""
    name = log.predict(1.0, 2.0, v="7", t=1_700_000_000.125, client_id="mine")
    failed = log.fail(v=None)

    assert lines(log, "time", "id", "version", "ms", "client_id", "error", "code")[0] == {
        "time": datetime.datetime(2023, 11, 14, 22, 13, 20, 125_000, datetime.UTC),
        "id": name,
        "version": "7",
        "ms": 5.0,
        "client_id": "mine",
        "error": None,
        "code": None,
    }
    assert lines(log, "id", "code", query=Query(failed=True)) == [{"id": failed, "code": 503}]


@pytest.mark.parametrize("packed", [False, True])
def test_columns_of_rows(log: Any, packed: bool) -> None:
    """As many lines as the request has rows; a failed one is one line that tells nothing of rows."""
    name = log.predict(1.0, 2.0, rows=[{"x": 1, "s": "a"}, {"x": 0.5, "s": None}], p=[[0.1, 0.9], [1.0, 0.0]])
    failed = log.fail()
    if packed:
        pack(log.folder, 0, 0)

    assert lines(log, "id", "row", "prediction", "x", "s", kinds=REGRESSION) == [
        {"id": name, "row": 0, "prediction": 1.0, "x": 1.0, "s": "a"},
        {"id": name, "row": 1, "prediction": 2.0, "x": 0.5, "s": None},
        {"id": failed, "row": 0, "prediction": None, "x": None, "s": None},
    ]
    assert [line["probabilities"] for line in lines(log, "probabilities")] == ["[0.1,0.9]", "[1.0,0.0]", None]


def test_keys_that_the_model_did_not_get_are_columns_too(log: Any) -> None:
    """They were logged beside the rows."""
    log.predict(1.0, rows=[{"x": 1}], k=[{"station": "A"}])

    assert lines(log, "x", "station", "nobody") == [{"x": "1", "station": "A", "nobody": None}]


def test_a_feature_with_the_name_of_a_field(log: Any) -> None:
    """`rows.` says which is meant."""
    log.predict(1.0, v="7", rows=[{"version": "of the row"}])

    assert lines(log, "version", "rows.version") == [{"version": "7", "rows.version": "of the row"}]


def test_labels(log: Any) -> None:
    """The newest of each row; those without one are left out when only labelled ones are asked for."""
    one, two, three = log.predict(1.0), log.predict(2.0, 3.0), log.predict(4.0)
    log.label(one, 10.5)
    log.label(two, None, 30)
    log.label(three, 1, 2, 3, 4)
    none = log.predict(5.0)

    assert lines(log, "id", "prediction", labelled=True, kinds=REGRESSION) == [
        {"id": one, "prediction": 1.0, "label": 10.5},
        {"id": two, "prediction": 3.0, "label": 30.0},
        {"id": three, "prediction": 4.0, "label": 4.0},
    ]
    assert lines(log, "id", "label")[-1] == {"id": none, "label": None}


def test_a_label_of_another_number_of_values_is_none(log: Any) -> None:
    """As in the join."""
    name = log.predict(1.0, 2.0)
    log.label(name, 1)

    assert lines(log, "label") == [{"label": None}, {"label": None}]


def test_at_most_so_many(log: Any) -> None:
    """The oldest, over segments; the log is not read any further."""
    names = [log.predict(1.0) for _ in range(3)]
    log.segment = 1
    log.predict(1.0)
    log.predict(1.0)

    assert [line["id"] for line in lines(log, "id", limit=2)] == names[:2]
    assert len(lines(log, "id", limit=4)) == 4


def test_values_of_all_kinds(log: Any) -> None:
    """One type per column; without a kind everything is text, what is none as JSON."""
    log.predict(1.0, rows=[{"n": 2, "i": 3.0, "b": 1, "s": "x", "any": [1]}])
    kinds = {"n": "number", "i": "integer", "b": "boolean", "s": "string"}

    assert lines(log, "n", "i", "b", "s", "any", kinds=kinds) == [{"n": 2.0, "i": 3, "b": True, "s": "x", "any": "[1]"}]


@pytest.mark.parametrize(("kind", "value"), [("number", "x"), ("integer", 1.5), ("boolean", 2), ("integer", "1")])
def test_a_value_of_another_kind_is_an_error(log: Any, kind: str, value: object) -> None:
    """It names the column and the prediction, and is not turned into nothing."""
    name = log.predict(1.0, rows=[{"x": value}])

    with pytest.raises(MeasurementError, match=f"'x' of prediction {name} is .*kind {kind}.*one version"):
        lines(log, "x", kinds={"x": kind})
