"""Evidently's default drift preset: reference.parquet window.parquet; prints CPU seconds and columns that drifted."""

import json
import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

began = time.process_time()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
numbers = [name for name in reference if reference[name].dtype.kind == "f"]
levels = [name for name in reference if name not in numbers]
kinds = DataDefinition(numerical_columns=numbers, categorical_columns=levels)
tables = [Dataset.from_pandas(frame, data_definition=kinds) for frame in (window, reference)]
found = Report([DataDriftPreset()]).run(*tables).dict()
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "found": len(found["metrics"])}))
