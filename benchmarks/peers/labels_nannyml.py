"""NannyML's estimates without labels, run in its own environment: `labels_nannyml.py FOLDER`.

The folder holds `{binary,numbers}_{reference,analysis}.csv`; a list of estimates per chunk for each goes to stdout.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import nannyml
import pandas as pd

folder, rows = Path(sys.argv[1]), int(sys.argv[2])


def estimates(estimator, kind, metric):
    """The estimate of each chunk of the analysis rows."""
    estimator.fit(pd.read_csv(folder / f"{kind}_reference.csv"))
    found = estimator.estimate(pd.read_csv(folder / f"{kind}_analysis.csv")).filter(period="analysis").to_df()
    return found[(metric, "value")].tolist()


with contextlib.redirect_stdout(io.StringIO()):
    cbpe = nannyml.CBPE(
        metrics=["accuracy"],
        y_true="truth",
        y_pred="said",
        y_pred_proba="odds",
        problem_type="classification_binary",
        chunk_size=rows,
    )
    dle = nannyml.DLE(
        metrics=["mae"], y_true="truth", y_pred="said", feature_column_names=["x", "noise"], chunk_size=rows
    )
    told = {
        "binary": [1 - value for value in estimates(cbpe, "binary", "accuracy")],
        "numbers": estimates(dle, "numbers", "mae"),
    }
print(json.dumps(told))
