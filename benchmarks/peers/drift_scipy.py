"""By hand with SciPy: KS and Wasserstein per column, chi-square for levels: reference.parquet window.parquet."""

import json
import sys
import time

import pandas as pd
from scipy import stats

began = time.process_time()
reference, window = (pd.read_parquet(path) for path in sys.argv[1:3])
found = []
for name in reference:
    one, other = reference[name], window[name]
    if one.dtype.kind == "f":
        found.append(stats.ks_2samp(one, other).pvalue)
        stats.wasserstein_distance(one, other)
    else:
        counts = pd.DataFrame({"one": one.value_counts(), "other": other.value_counts()}).fillna(0)
        found.append(stats.chi2_contingency(counts + 0.5).pvalue)
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "found": sum(bool(p < 0.05) for p in found)}))
