"""`mlauto predictions`: times in words, and files that appear whole or not at all."""

import json
import math
from pathlib import Path

import pyarrow.parquet
import pytest

from mlauto.commands.predictions import count_predictions, export_predictions, query_of
from mlauto.errors import MlautoError
from mlauto.monitoring.log.query import Query
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.commands.conftest import write_history
from mlauto_tests.monitoring.conftest import NOW, LogWriter


@pytest.fixture
def asked(settings: Settings) -> Settings:
    """An installation whose product was asked ten times, and failed once."""
    log = LogWriter(settings.product_home("bike") / "predictions")
    names = [log.predict(float(n), t=NOW + n, v=str(1 + n % 2), rows=[{"x": n, "sky": "clear"}]) for n in range(10)]
    log.fail(t=NOW + 10)
    log.label(names[4], 5.0, t=NOW + 20)
    return settings


def test_times_in_words() -> None:
    """How long ago, a moment, or seconds since the epoch."""
    assert query_of("2h", "90s", version="1", failed=True, now=NOW) == Query(
        since=NOW - 7200, until=NOW - 90, version="1", failed=True
    )
    assert query_of("2023-11-14T22:13:20", None, version=None, failed=None, now=0.0).since == NOW
    assert query_of(str(NOW), None, version=None, failed=None, now=0.0) == Query(since=NOW)
    assert query_of(None, None, version=None, failed=None, now=NOW) == Query(since=-math.inf)


def test_times_that_are_none(asked: Settings) -> None:
    """Each error names the option."""
    with pytest.raises(MlautoError, match="--until 'soon' is no time"):
        query_of(None, "soon", version=None, failed=None, now=NOW)
    with pytest.raises(MlautoError, match="--since 1h is not before --until 2h"):
        query_of("1h", "2h", version=None, failed=None, now=NOW)


def test_counting(asked: Settings) -> None:
    """A sentence."""
    assert count_predictions(asked, "bike", Query()) == "11 requests, 1 failed (9.091%)"
    assert count_predictions(asked, "bike", Query(version="1")) == "6 requests, 1 failed (16.667%)"
    assert count_predictions(asked, "bike", Query(until=NOW)) == "0 requests, 0 failed"


def test_a_parquet_file(asked: Settings, tmp_path: Path) -> None:
    """With the columns that were asked for, and nothing else in the folder."""
    target = tmp_path / "out" / "bike.parquet"
    target.parent.mkdir()
    said = export_predictions(
        asked, "bike", Query(version="2"), str(target), columns=("id", "prediction", "x"), limit=3
    )
    table = pyarrow.parquet.read_table(target)

    assert said == f"{target}: 3 lines"
    assert table.column_names == ["id", "prediction", "x"]
    assert table.column("x").to_pylist() == ["1", "3", "5"]
    assert list(target.parent.iterdir()) == [target]


def test_a_csv_file(asked: Settings, tmp_path: Path) -> None:
    """Labels beside the predictions."""
    target = tmp_path / "bike.csv"
    export_predictions(asked, "bike", Query(), str(target), columns=("version", "prediction"), labelled=True)

    assert target.read_text() == '"version","prediction","label"\n"1","4.0","5.0"\n'


def test_the_terminal(asked: Settings, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """One header, over segments."""
    log = LogWriter(asked.product_home("bike") / "predictions", segment=1)
    log.predict(1.0, v="3")
    export_predictions(asked, "bike", Query(), "-", columns=("version",))

    assert capfdbinary.readouterr().out.splitlines()[:2] == [b'"version"', b'"1"']
    export_predictions(asked, "bike", Query(version="3"), "-", columns=("version",))
    assert capfdbinary.readouterr().out == b'"version"\n"3"\n'


def test_kinds_are_those_of_the_newest_model(asked: Settings, tmp_path: Path) -> None:
    """Its columns have its types then, predictions too; what it does not know is text."""
    write_history(Store(asked.home), "bike")
    LogWriter(asked.product_home("bike") / "predictions", segment=1).predict(1.5, v="3", rows=[{"hour": 7, "x": 8}])
    target = tmp_path / "bike.parquet"
    export_predictions(asked, "bike", Query(version="3"), str(target), columns=("hour", "x", "prediction"))

    assert pyarrow.parquet.read_table(target).to_pylist() == [{"hour": 7, "x": "8", "prediction": 1.5}]


def test_what_cannot_be_done(asked: Settings, tmp_path: Path) -> None:
    """Each error says what to do next, and leaves no file."""
    with pytest.raises(MlautoError, match=r"ends in \.parquet or \.csv"):
        export_predictions(asked, "bike", Query(), "out.txt")
    with pytest.raises(MlautoError, match="has nothing of that"):
        export_predictions(asked, "bike", Query(version="9"), str(tmp_path / "a.csv"))
    with pytest.raises(MlautoError, match="cannot be written"):
        export_predictions(asked, "bike", Query(), str(tmp_path / "none" / "a.parquet"))
    with pytest.raises(MlautoError, match="train has no prediction log"):
        count_predictions(asked, "train", Query())
    assert list(tmp_path.glob("*.csv")) == []
    assert json.dumps(sorted(path.name for path in tmp_path.glob(".a*"))) == "[]"
