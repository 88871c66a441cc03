"""Validation with the real Great Expectations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlauto.errors import DataError, ProductError
from mlauto.records import ExpectationFailure, Validation
from mlauto.training.batches import quality
from mlauto.training.batches.expectations import batch_of
from mlauto.training.batches.frames import read_file, typed
from mlauto.training.batches.quality import (
    GATE_ROWS,
    data_docs,
    load_suite,
    markdown_table,
    propose_suite,
    validate,
    validate_file,
)


def sample(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2025-01-01", periods=rows, freq="h").strftime("%Y-%m-%d %H:%M:%S"),
            "load": rng.normal(50, 10, rows),
            "count": rng.integers(0, 20, rows),
            "site": rng.choice(["north", "south"], rows),
            "open": rng.random(rows) < 0.5,
            "note": [f"free text {number}" for number in range(rows)],
            "fixed": 7,
            "y": rng.normal(0, 1, rows),
        }
    )
    frame.loc[::20, "load"] = np.nan
    return typed(frame, timestamp="time")


@pytest.fixture
def suite_path(tmp_path: Path) -> Path:
    return written(tmp_path / "expectations.json", propose_suite(sample(), target="y", timestamp="time"))


def written(path: Path, suite: object) -> Path:
    path.write_text(json.dumps(suite))
    return path


def failed(validation: Validation) -> set[tuple[str, str | None]]:
    return {(failure.expectation, failure.column) for failure in validation.failures}


def test_the_proposed_suite_passes_its_sample_and_other_data_of_its_kind(suite_path: Path) -> None:
    """A suite accepts what it was proposed from, other rows of the same world, and a single row."""
    for frame in (sample(), sample(seed=1), sample(seed=2).iloc[1:2]):
        validation = validate(frame, suite_path)

        assert (validation.passed, validation.failures) == (True, ())
        assert validation.evaluated == len(json.loads(suite_path.read_text())["expectations"])


def test_the_proposed_suite_says_what_the_sample_shows(suite_path: Path) -> None:
    """Types, shares of missing values, ranges and categories are there; nothing is said where nothing is known."""
    entries = json.loads(suite_path.read_text())["expectations"]
    by_column: dict[str | None, dict[str, dict[str, Any]]] = {}
    for entry in entries:
        by_column.setdefault(entry["kwargs"].get("column"), {})[entry["type"]] = entry["kwargs"]

    assert set(by_column[None]) == {"expect_table_row_count_to_be_between", "expect_table_columns_to_match_set"}
    assert by_column["load"]["expect_column_values_to_not_be_null"]["mostly"] == 0.75
    assert by_column["load"]["expect_column_values_to_be_between"]["min_value"] < 0
    assert by_column["site"]["expect_column_values_to_be_in_set"]["value_set"] == ["north", "south"]
    assert by_column["y"]["expect_column_values_to_not_be_null"] == {"column": "y"}
    for column in ("time", "open", "note", "fixed"):
        assert not {"expect_column_values_to_be_between", "expect_column_values_to_be_in_set"} & set(by_column[column])


def test_counters_and_almost_empty_columns_get_no_tight_expectation() -> None:
    """A column that only rises has no range, one that is mostly missing no share, one always missing no type."""
    frame = pd.DataFrame({"id": range(100), "rare": [1.0] + [None] * 99, "never": [None] * 100, "y": [0.0, 1.0] * 50})

    suite = propose_suite(frame, target="y")

    said = {(entry["kwargs"].get("column"), entry["type"]) for entry in suite["expectations"]}
    assert ("id", "expect_column_values_to_be_between") not in said
    assert ("rare", "expect_column_values_to_not_be_null") not in said
    assert not [kind for column, kind in said if column == "never"]


@pytest.mark.parametrize(
    ("column", "values", "expectation"),
    [
        ("load", -999.0, "expect_column_values_to_be_between"),
        ("load", np.nan, "expect_column_values_to_not_be_null"),
        ("count", "many", "expect_column_values_to_be_in_type_list"),
        ("site", "E17", "expect_column_values_to_be_in_set"),
        ("open", "perhaps", "expect_column_values_to_be_in_type_list"),
        ("time", "yesterday", "expect_column_values_to_be_in_type_list"),
        ("note", 5, "expect_column_values_to_be_in_type_list"),
    ],
)
def test_each_kind_of_damage_is_named(suite_path: Path, column: str, values: object, expectation: str) -> None:
    """A damaged column fails the expectation that says so, and nothing else."""
    validation = validate(sample().assign(**{column: values}), suite_path)

    assert not validation.passed
    assert failed(validation) == {(expectation, column)}


def test_one_missing_target_is_too_many(suite_path: Path) -> None:
    """Rows without a label cannot be learned from: the producer has to hear of it."""
    frame = sample()
    frame.loc[3, "y"] = np.nan

    assert failed(validate(frame, suite_path)) == {("expect_column_values_to_not_be_null", "y")}


def test_a_missing_column_is_told_once(suite_path: Path) -> None:
    """All expectations of a column that is not there are one failure, beside that of the table."""
    validation = validate(sample().drop(columns="load").assign(surprise=1), suite_path)

    table = ("expect_table_columns_to_match_set", None)
    assert failed(validation) == {table, ("expect_column_to_exist", "load")}
    assert "unexpected surprise" in next(f.observed for f in validation.failures if f.column is None)


def test_no_rows_fail(suite_path: Path) -> None:
    """An empty batch is no batch."""
    assert ("expect_table_row_count_to_be_between", None) in failed(validate(sample().iloc[:0], suite_path))


def test_failures_carry_what_was_seen_and_examples(suite_path: Path) -> None:
    """Observed, expected and at most five distinct examples, for people."""
    frame = sample()
    frame["site"] = [f"X{number % 9}" for number in range(len(frame))]

    (failure,) = validate(frame, suite_path).failures

    assert failure.observed == "400 of 400 rows (100.0 %)"
    assert "north" in failure.expected
    assert "80.0%" in failure.expected
    assert failure.examples == ("X0", "X1", "X2", "X3", "X4")


def test_a_wide_disaster_is_told_in_twenty_failures(tmp_path: Path) -> None:
    """However many columns break, the record stays readable and bounded."""
    frame = pd.DataFrame({f"c{number:02d}": np.linspace(0, 1, 50) % 0.7 for number in range(40)})
    path = written(tmp_path / "s.json", propose_suite(frame, target="c00"))

    validation = validate(frame * 1e6, path)

    assert len(validation.failures) == 20


def test_a_suite_may_be_yaml_and_hold_any_expectation(tmp_path: Path) -> None:
    """Whatever Great Expectations knows can be asked for, in JSON or YAML."""
    path = tmp_path / "suite.yaml"
    entries = [
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "note"}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "load", "min_value": 90}},
    ]
    path.write_text(yaml.safe_dump({"expectations": entries}))

    (failure,) = validate(sample(), path).failures

    assert failure.expectation == "expect_column_mean_to_be_between"
    assert float(failure.observed) == pytest.approx(50, abs=3)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read as an expectation suite"),
        ("[]", 'an object with a list "expectations"'),
        ('{"expectations": 3}', 'an object with a list "expectations"'),
        ('{"expectations": [{"kwargs": {}}]}', r'expectations\[0\] has no "type"'),
        ('{"expectations": [{"type": "x", "kwargs": 1}]}', r"expectations\[0\].kwargs"),
    ],
)
def test_a_broken_suite_is_named_with_its_entry(tmp_path: Path, content: str, complaint: str) -> None:
    """The error says which file, which entry and what is wrong."""
    path = tmp_path / "s.json"
    path.write_text(content)

    with pytest.raises(ProductError, match=complaint) as caught:
        load_suite(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "expect_the_impossible", "kwargs": {}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "y", "minimum": 3}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "y", "mostly": 7}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {}},
    ],
)
def test_an_entry_that_great_expectations_refuses_is_named(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Unknown expectations and wrong arguments are the product's fault, not the data's."""
    path = written(tmp_path / "s.json", {"expectations": [entry]})

    with pytest.raises(ProductError, match=r"expectations\[0\] \(expect_"):
        validate(sample(), path)


def test_a_missing_suite_says_how_to_get_one(tmp_path: Path) -> None:
    """The next step is in the message."""
    with pytest.raises(ProductError, match="mlauto new"):
        load_suite(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"target": "z"}, "target 'z' is no column"),
        ({"target": "y", "timestamp": "z"}, "timestamp 'z' is no column"),
    ],
)
def test_a_suite_is_not_proposed_for_columns_that_are_not_there(arguments: dict[str, str], complaint: str) -> None:
    """A typo in a column's name is told with the names that exist."""
    with pytest.raises(ProductError, match=complaint):
        propose_suite(sample(5), **arguments)


def test_a_suite_is_not_proposed_from_nothing() -> None:
    """No rows, no suite."""
    with pytest.raises(ProductError, match="no rows"):
        propose_suite(sample(5).iloc[:0], target="y")


def test_markdown_shows_failures_as_a_table() -> None:
    """One row a failure, with characters that would break the table escaped."""
    failure = ExpectationFailure(expectation="e", column="c", observed="a|b\nc", expected="x", examples=("1", "2"))

    table = markdown_table(Validation(passed=False, evaluated=9, failures=(failure,)))

    assert table.splitlines()[0] == "**1 failures** among 9 expectations"
    assert table.splitlines()[-1] == "| e | c | x | a\\|b c | 1, 2 |"


def test_markdown_of_the_other_outcomes_is_one_sentence() -> None:
    """A pass and an unreadable file need no table."""
    assert markdown_table(Validation(passed=True, evaluated=3)) == "All 3 expectations hold."
    assert markdown_table(Validation(passed=False, evaluated=0, problem="a | b")) == "**Rejected**: a \\| b"


DAMAGES = {
    "nothing": lambda frame: frame,
    "a range": lambda frame: frame.assign(load=-999.0),
    "gaps": lambda frame: frame.assign(y=frame["y"].where(frame.index != 3)),
    "text": lambda frame: frame.assign(count="many"),
    "categories": lambda frame: frame.assign(site="E17"),
    "a column": lambda frame: frame.drop(columns="load").assign(surprise=1),
    "all rows": lambda frame: frame.iloc[:0],
    "much": lambda frame: frame.assign(load=1e9, site="E17", y=np.nan, time="yesterday"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_gate_changes_no_record(suite_path: Path, tmp_path: Path, damage: str) -> None:
    """Of a frame and of a Parquet file: what is recorded is what Great Expectations alone says."""
    frame = typed(DAMAGES[damage](sample()))
    frame.to_parquet(tmp_path / "batch.parquet")

    alone = validate(frame, suite_path)

    assert alone.passed == (damage == "nothing")
    assert validate(frame, suite_path, gate_rows=0) == alone
    assert validate_file(tmp_path / "batch.parquet", suite_path) == alone


def test_a_large_frame_that_passes_needs_no_batch(suite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the threshold on; a row less is for Great Expectations alone."""
    batches: list[int] = []

    def counted(frame: pd.DataFrame) -> Any:
        batches.append(len(frame))
        return batch_of(frame)

    monkeypatch.setattr(quality, "batch_of", counted)
    large = sample(GATE_ROWS)

    validations = [validate(large, suite_path), validate(large.iloc[1:], suite_path)]

    assert [one.passed for one in validations] == [True, True]
    assert validations[0] == validations[1]
    assert batches == [GATE_ROWS - 1]


def test_an_expectation_that_the_gate_does_not_know_is_asked_alone(tmp_path: Path) -> None:
    """Great Expectations gets what is open, and the count is that of the suite."""
    entries = [
        {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "load"}},
        {"type": "expect_column_to_exist", "kwargs": {"column": "load"}},
    ]
    path = written(tmp_path / "s.json", {"expectations": entries})

    validation = validate(sample(), path, gate_rows=0)

    assert validation == validate(sample(), path)
    assert (validation.passed, validation.evaluated) == (False, 2)
    assert failed(validation) == {("expect_column_values_to_be_increasing", "load")}


def test_a_wrong_entry_is_refused_before_the_gate(tmp_path: Path) -> None:
    """The same error, whatever the size."""
    entry = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "y", "minimum": 3}}
    path = written(tmp_path / "s.json", {"expectations": [entry]})
    sample().to_parquet(tmp_path / "batch.parquet")

    for ask in (lambda: validate(sample(), path, gate_rows=0), lambda: validate_file(tmp_path / "batch.parquet", path)):
        with pytest.raises(ProductError, match=r"expectations\[0\] \(expect_column_values_to_be_between\)"):
            ask()


@pytest.mark.parametrize("harm", ["text", "tail", "pages", "nested", "gone"])
def test_a_file_that_cannot_be_read_is_told_as_ever(suite_path: Path, tmp_path: Path, harm: str) -> None:
    """No Parquet at all, cut short, damaged inside, or with nested columns: the words are those of reading."""
    path = tmp_path / "batch.parquet"
    frame = sample().assign(odd=[[1]] * 400) if harm == "nested" else sample()
    frame.to_parquet(path)
    content = bytearray(path.read_bytes())
    if harm == "pages":
        content[4:3000] = bytes(2996)
    path.write_bytes({"text": b"time,load", "tail": bytes(content[:-50])}.get(harm, bytes(content)))
    if harm == "gone":
        path.unlink()

    with pytest.raises(DataError) as by_reading:
        read_file(path)
    with pytest.raises(DataError) as by_gate:
        validate_file(path, suite_path)

    assert str(by_gate.value) == str(by_reading.value)
    assert "batch.parquet" in str(by_gate.value)


def test_a_csv_is_read_whole(suite_path: Path, tmp_path: Path) -> None:
    """The gate reads Parquet only; a file may be either."""
    sample().to_csv(tmp_path / "batch.csv", index=False)

    assert validate_file(tmp_path / "batch.csv", suite_path, timestamp="time").passed


def test_data_docs_are_great_expectations_own(tmp_path: Path, suite_path: Path) -> None:
    """The pages name the columns and open without the folder that they were made in."""
    index = data_docs(sample().assign(load=-999.0), load_suite(suite_path), tmp_path / "docs")

    assert index == tmp_path / "docs" / "index.html"
    pages = list((tmp_path / "docs" / "validations").rglob("*.html"))
    assert len(pages) == 1
    assert "load" in pages[0].read_text()


@pytest.mark.parametrize(
    ("stream", "timestamp"), [("bike_hourly", "timestamp"), ("elec2", None), ("synth_sea_abrupt", None)]
)
def test_replay_is_not_stopped_by_false_alarms(
    streams: Path, tmp_path: Path, stream: str, timestamp: str | None
) -> None:
    """A suite proposed from the first tenth of a real stream lets later fiftieths pass, but not when corrupt."""
    frame = read_file(streams / f"{stream}.csv", timestamp=timestamp)
    size = len(frame) // 50
    path = written(tmp_path / "s.json", propose_suite(frame[: 5 * size], target="target", timestamp=timestamp))

    batches = [frame[start * size : (start + 1) * size] for start in range(5, 50, 3)]
    passed = [validate(batch, path).passed for batch in batches]

    assert passed.count(False) == 0
    number = "humidity" if stream == "bike_hourly" else "nswdemand" if stream == "elec2" else "a"
    for broken in (
        batches[0].assign(**{number: -999.0}),
        batches[0].assign(**{number: batches[0][number] * 1000}),
        batches[0].assign(**{number: None}),
        batches[0].assign(**{number: "x"}),
        batches[0].drop(columns=number),
        batches[0].assign(target=None),
    ):
        assert not validate(typed(broken), path).passed
