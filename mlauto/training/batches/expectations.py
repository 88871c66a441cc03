"""Great Expectations' own objects: a batch of a frame, a suite of a file's entries, and a context that is quiet.

Importing it takes seconds and 264 MB, so nothing here imports it before it is called.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlauto.errors import ProductError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["batch_of", "be_quiet", "suite_of", "suite_with", "untyped_text"]


def be_quiet(context: Any) -> None:
    """No progress bars, and nothing sent anywhere."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)


def batch_of(frame: "pd.DataFrame") -> Any:
    """The frame as a batch of an ephemeral context."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    be_quiet(context)
    asset = context.data_sources.add_pandas("batch").add_dataframe_asset("batch")
    definition = asset.add_batch_definition_whole_dataframe("batch")
    return definition.get_batch({"dataframe": untyped_text(frame)})


def untyped_text(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Text columns as Python strings: Great Expectations does not recognise pandas 3's own string type.

    Equal values are one string, so that hashes are made once: a tenth of a validation's time.
    """
    import pandas as pd

    plain = frame.copy(deep=False)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.StringDtype):
            plain[name] = _python_strings(frame[name])
    return plain


def _python_strings(column: "pd.Series") -> "pd.Series":
    import numpy as np
    import pandas as pd

    codes, distinct = column.factorize()
    values = np.append(np.asarray(distinct, dtype=object), np.nan)  # the code of a missing value is -1: the last
    return pd.Series(values[codes], index=column.index, name=column.name, dtype=object)


def suite_of(suite: Mapping[str, Any], path: Path) -> Any:
    """The suite as Great Expectations' object. Raises `ProductError` naming the file and the entry it refuses."""
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    expectations = []
    for number, entry in enumerate(suite["expectations"]):
        try:
            config = ExpectationConfiguration(type=entry["type"], kwargs=entry.get("kwargs", {}))
            expectations.append(config.to_domain_obj())
        except (GreatExpectationsError, TypeError, ValueError) as error:
            raise ProductError(
                f"{path}: expectations[{number}] ({entry['type']}) is not valid: {' '.join(str(error).split())}"
            ) from error
    return ExpectationSuite(name=str(suite.get("name", "expectations")), expectations=expectations)


def suite_with(expectations: Sequence[Any], name: str) -> Any:
    """A suite of some of another's expectations."""
    from great_expectations.core import ExpectationSuite

    return ExpectationSuite(name=name, expectations=list(expectations))
