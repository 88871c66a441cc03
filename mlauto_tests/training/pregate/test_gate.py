"""The gate against the real Great Expectations: random tables, random expectations, verdict by verdict."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlauto.training.batches.expectations import batch_of, suite_of
from mlauto.training.batches.frames import read_file, typed
from mlauto.training.pregate import parts
from mlauto.training.pregate.gate import Entry, doubtful, verdicts
from mlauto.training.pregate.parts import FrameParts, ParquetParts

Draw = np.random.Generator
NUMBERS = ("whole", "halves", "gappy", "never", "tiny", "huge")
COLUMNS = (*NUMBERS, "flag", "flag_gaps", "word", "word_gaps", "no_word", "when", "when_gaps")


def table(draw: Draw, rows: int) -> pd.DataFrame:
    """A frame before it is typed: integers, floats with NaN and infinities, booleans, text, times, gaps in each."""
    holes = draw.random(rows) < draw.choice([0.05, 0.5, 0.98])
    whole = draw.integers(-5, 6, rows)
    times = pd.Series(
        pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 50, rows), unit="h"), dtype="M8[us]"
    )
    words = pd.Series(draw.choice(["a", "b", "", "Ab1", "12", "ü\n", "long text"], rows), dtype="str")
    huge = some(draw, draw.choice([2**53 + 1, -(2**62), 2**63 - 1], rows), draw.choice([8e307, -1e300], rows))
    return pd.DataFrame(
        {
            "whole": whole,
            "halves": draw.integers(-8, 9, rows) / 2,
            "gappy": np.where(holes, draw.choice([np.nan, np.inf, -np.inf]), whole * 1.5),
            "never": np.full(rows, np.nan),
            "tiny": draw.normal(0, 1e-9, rows) + 0.1,
            "huge": huge,
            "flag": draw.random(rows) < 0.5,
            "flag_gaps": pd.Series(np.where(holes, None, draw.random(rows) < 0.5), dtype="object"),
            "word": words,
            "word_gaps": words.mask(holes),
            "no_word": pd.Series([None] * rows, dtype="str"),
            "when": times,
            "when_gaps": times.mask(holes),
        }
    )


def some(draw: Draw, *values: Any) -> Any:
    return values[int(draw.integers(len(values)))]


def limits(draw: Draw, *values: Any) -> dict[str, Any]:
    """Bounds in order, one of them perhaps missing, perhaps strict."""
    low, high = sorted((some(draw, *values), some(draw, *values)))
    found = some(draw, {"min_value": low, "max_value": high}, {"min_value": low}, {"max_value": high})
    return found | some(
        draw, {}, {}, {"strict_min": True}, {"strict_max": True}, {"strict_min": True, "strict_max": True}
    )


def mostly(draw: Draw, rows: int) -> dict[str, float]:
    """None, a usual one, or one that k of n rows reach exactly, or miss by one."""
    edge = round(int(draw.integers(0, rows + 1)) / rows, 3) if rows else 0.5
    exact = int(draw.integers(0, rows + 1)) / rows if rows else 1.0
    return some(draw, {}, {}, {"mostly": edge}, {"mostly": exact}, {"mostly": 0.9}, {"mostly": 0})


def entry(draw: Draw, frame: pd.DataFrame) -> dict[str, Any]:
    """One expectation, of a column that is mostly there."""
    rows = len(frame)
    column = some(draw, *COLUMNS, "absent")
    share = mostly(draw, rows)
    numbers = (-6, -5, 0, 0.1, 1.5, 2, 5, 6, 7.5, 2.0**53)
    sets = ([-5, 0, 1.5, 3], ["a", "b", "Ab1"], ["", "12", 3], [], list(range(-5, 6)), [True, False], [None, "a"])
    types = (
        ["int64", "float64"],
        ["str"],
        ["bool", "int64"],
        ["datetime64[us]"],
        ["object"],
        ["int", "Timestamp"],
        ["no"],
    )
    ranges = some(draw, [[None, 1], [-1, None]], [[-3, -1], [-1, 3.0002]], [[0, 0], [0.1, 0.10001]])
    kinds: dict[str, dict[str, Any]] = {
        "values_to_not_be_null": share,
        "values_to_be_null": share,
        "values_to_be_between": limits(draw, *numbers) | share,
        "values_to_be_in_set": {"value_set": some(draw, *sets)} | share,
        "values_to_not_be_in_set": {"value_set": some(draw, *sets)} | share,
        "values_to_be_in_type_list": {"type_list": some(draw, *types)} | share,
        "values_to_be_of_type": {"type_": some(draw, *types)[0]} | share,
        "values_to_match_regex": {"regex": some(draw, "^[a-z]", r"\d+$", "b|1", "(a)", "[", "(?!a)b", "")} | share,
        "values_to_not_match_regex": {"regex": some(draw, "^[A-Z]", "ü$", r"^\w*$")} | share,
        "values_to_be_unique": share,
        "value_lengths_to_be_between": limits(draw, 0, 1, 2, 3, 9) | share,
        "value_lengths_to_equal": {"value": some(draw, 1, 2)} | share,
        "mean_to_be_between": limits(draw, *numbers),
        "sum_to_be_between": limits(draw, *numbers),
        "stdev_to_be_between": limits(draw, 0, 1, 2.5, 4),
        "min_to_be_between": limits(draw, *numbers),
        "max_to_be_between": limits(draw, *numbers),
        "median_to_be_between": limits(draw, *numbers),
        "unique_value_count_to_be_between": limits(draw, 0, 1, 2, 5, 11),
        "proportion_of_unique_values_to_be_between": limits(draw, 0, 0.1, 0.5, 1),
        "proportion_of_non_null_values_to_be_between": limits(draw, 0, 0.1, 0.5, 1),
        "quantile_values_to_be_between": {"quantile_ranges": {"quantiles": [0.2, 0.5], "value_ranges": ranges}},
        "to_exist": {},
    }
    if draw.random() < 0.2:
        return whole_table(draw, frame)
    kind = some(draw, *kinds)
    return {"type": f"expect_column_{kind}", "kwargs": {"column": column} | kinds[kind]}


def whole_table(draw: Draw, frame: pd.DataFrame) -> dict[str, Any]:
    """One expectation of the table, or of a pair of columns."""
    pair = {
        "column_A": some(draw, *COLUMNS),
        "column_B": some(draw, *COLUMNS),
        "or_equal": some(draw, True, False, None),
    }
    ignored = some(draw, "both_values_are_missing", "either_value_is_missing", "neither")
    kinds: dict[str, dict[str, Any]] = {
        "table_row_count_to_be_between": limits(draw, 0, 1, len(frame), len(frame) + 1),
        "table_row_count_to_equal": {"value": len(frame) + some(draw, 0, 1)},
        "table_column_count_to_equal": {"value": some(draw, 13, 14)},
        "table_columns_to_match_set": {"column_set": some(draw, [*COLUMNS[::-1]], [*COLUMNS[1:]], [*COLUMNS, "x"])}
        | some(draw, {}, {"exact_match": False}),
        "table_columns_to_match_ordered_list": {"column_list": some(draw, [*COLUMNS], [*COLUMNS[::-1]])},
        "column_pair_values_a_to_be_greater_than_b": pair | {"ignore_row_if": ignored} | mostly(draw, len(frame)),
    }
    kind = some(draw, *kinds)
    return {"type": f"expect_{kind}", "kwargs": kinds[kind]}


def asked(frame: pd.DataFrame, entries: list[dict[str, Any]]) -> tuple[list[Entry], list[bool]]:
    """The entries as Great Expectations holds them, and its verdict on each."""
    suite = suite_of({"expectations": entries}, Path("suite.json"))
    for number, expectation in enumerate(suite.expectations):
        expectation.meta = {"number": number}
    outcome = batch_of(frame).validate(suite, result_format="BOOLEAN_ONLY")
    said = {result.expectation_config.meta["number"]: bool(result.success) for result in outcome.results}
    held = [(one.configuration.type, one.configuration.kwargs) for one in suite.expectations]
    return held, [said[number] for number in range(len(entries))]


def told_apart(said: list[bool | None], truth: list[bool], entries: list[Entry]) -> list[Any]:
    """The entries of which the gate says the opposite of the truth."""
    return [(one, gate) for one, gate, real in zip(entries, said, truth, strict=True) if gate not in (None, real)]


@pytest.mark.parametrize("seed", range(12))
def test_verdicts_are_those_of_great_expectations(seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a frame, and of the Parquet file that it was read from, in parts of a few rows, never the opposite."""
    draw = np.random.default_rng(seed)
    monkeypatch.setattr(parts, "PART_ROWS", 7)
    for rows in (0, 1, 2, 20, 53):
        path = tmp_path / f"{rows}.parquet"
        table(draw, rows).to_parquet(path, row_group_size=some(draw, 10, 1000))
        frame = read_file(path)
        entries, truth = asked(frame, [entry(draw, frame) for _ in range(12)])

        assert told_apart(verdicts(FrameParts(frame), entries), truth, entries) == []
        assert told_apart(verdicts(ParquetParts(path), entries), truth, entries) == []


def test_the_gate_is_not_idle() -> None:
    """Of each expectation that it knows, it finds some that hold and some that do not; of most columns, most."""
    found: dict[str, set[bool | None]] = {}
    for seed in range(20):
        draw = np.random.default_rng([7, seed])
        frame = typed(table(draw, 40))
        drawn = [entry(draw, frame) for _ in range(60)]
        held = [(one["type"], one["kwargs"]) for one in drawn]
        for (kind, _), said in zip(held, verdicts(FrameParts(frame), held), strict=True):
            found.setdefault(kind, set()).add(said)

    assert len(found) == 29
    assert [kind for kind, said in found.items() if not {True, False} <= said] == []


def test_what_certainly_holds_is_not_asked_again() -> None:
    """Left are those that fail and those that are not known, as the objects that came in, in their order."""
    entries = [
        {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "whole"}},
        {"type": "expect_column_to_exist", "kwargs": {"column": "whole"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "whole", "min_value": 99}},
    ]
    expectations = suite_of({"expectations": entries}, Path("s.json")).expectations

    left = doubtful(FrameParts(typed(table(np.random.default_rng(0), 30))), expectations)

    assert [id(one) for one in left] == [id(expectations[0]), id(expectations[2])]


def test_nothing_is_read_where_names_and_types_decide(tmp_path: Path) -> None:
    """A file whose pages are damaged still has a header."""
    path = tmp_path / "t.parquet"
    table(np.random.default_rng(0), 500).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(2000) + content[2004:])

    said = verdicts(ParquetParts(path), [("expect_table_row_count_to_equal", {"value": 500})])

    assert said == [True]
