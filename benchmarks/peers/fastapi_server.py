"""FastAPI, pandas and scikit-learn, as most teams write it: MODEL.skops PORT."""

import sys
from typing import Any

import pandas as pd
import skops.io
import uvicorn
from fastapi import FastAPI

path, port = sys.argv[1:]
model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
app = FastAPI()


@app.post("/invocations")
def invocations(body: dict[str, Any]) -> dict[str, list[int]]:
    return {"predictions": model.predict(pd.DataFrame(**body["dataframe_split"])).tolist()}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
