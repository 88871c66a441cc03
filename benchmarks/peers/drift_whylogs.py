"""whylogs: profiles of both tables and its drift scores: reference.parquet window.parquet; prints CPU seconds."""

import json
import sys
import time

import pandas as pd
import whylogs as why
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

began = time.process_time()
reference, window = (why.log(pd.read_parquet(path)).view() for path in sys.argv[1:3])
found = calculate_drift_scores(target_view=window, reference_view=reference, with_thresholds=True)
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "found": len(found)}))
