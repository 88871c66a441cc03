"""Great Expectations' objects as they are made here."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import ProductError
from mlauto.training.batches.expectations import batch_of, suite_of, suite_with, untyped_text

ENTRIES = [
    {"type": "expect_column_to_exist", "kwargs": {"column": "a"}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "a"}},
]


def test_text_becomes_python_strings_as_pandas_would_make_them() -> None:
    """Only text changes; missing stays NaN, the index and the frame that was given stay."""
    frame = pd.DataFrame(
        {
            "word": pd.Series(["b", None, "a", "b"], dtype="str"),
            "none": pd.Series([None] * 4, dtype="str"),
            "number": [1, 2, 3, 4],
        },
        index=[5, 6, 7, 9],
    )

    plain = untyped_text(frame)

    pd.testing.assert_frame_equal(plain, frame.astype({"word": object, "none": object}))
    assert np.isnan(plain["word"].iloc[1])
    assert isinstance(frame["word"].dtype, pd.StringDtype)


def test_equal_strings_are_one_object() -> None:
    """That is what makes hashing them cheap."""
    values = untyped_text(pd.DataFrame({"word": pd.Series(["some text"] * 3, dtype="str")}))["word"]

    assert values[0] is values[1] is values[2]


def test_a_batch_can_be_asked_for_a_part_of_a_suite() -> None:
    """The part has the name of the whole, and its results are those of its entries."""
    suite = suite_of({"name": "whole", "expectations": ENTRIES}, Path("s.json"))
    part = suite_with(suite.expectations[1:], suite.name)

    outcome = batch_of(pd.DataFrame({"a": [1, 1]})).validate(part, result_format="BOOLEAN_ONLY")

    assert part.name == "whole"
    assert [(one.expectation_config.type, one.success) for one in outcome.results] == [
        ("expect_column_values_to_be_unique", False)
    ]


def test_a_refused_entry_is_named_with_its_file_and_place() -> None:
    """The second entry is at fault, and the message says so."""
    with pytest.raises(ProductError, match=r"s\.json: expectations\[1\] \(expect_nothing\) is not valid"):
        suite_of({"expectations": [ENTRIES[0], {"type": "expect_nothing"}]}, Path("s.json"))
