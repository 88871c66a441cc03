"""Saves the pipeline for MLServer's scikit-learn runtime, which reads joblib: MODEL.skops FOLDER and three ports."""

import json
import sys
from pathlib import Path

import joblib
import skops.io

path, folder, http, grpc, metrics = sys.argv[1:]
Path(folder).mkdir()
joblib.dump(skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path)), Path(folder, "model.joblib"))
ports = {"http_port": int(http), "grpc_port": int(grpc), "metrics_port": int(metrics)}
settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 1, **ports}
model = {"name": "bench", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
Path(folder, "settings.json").write_text(json.dumps(settings))
Path(folder, "model-settings.json").write_text(json.dumps(model))
