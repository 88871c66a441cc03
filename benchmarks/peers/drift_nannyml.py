"""NannyML's univariate drift, one chunk: reference.parquet window.parquet; prints CPU seconds."""

import json
import sys
import time

import nannyml
import pandas as pd

began = time.process_time()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
numbers = [name for name in reference if reference[name].dtype.kind == "f"]
calculator = nannyml.UnivariateDriftCalculator(
    column_names=list(reference),
    treat_as_categorical=[name for name in reference if name not in numbers],
    continuous_methods=["jensen_shannon"],
    categorical_methods=["jensen_shannon"],
    chunk_number=1,
)
calculator.fit(reference)
found = calculator.calculate(window).to_df()
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "found": found.shape[1]}))
