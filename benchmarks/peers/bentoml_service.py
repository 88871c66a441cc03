"""A BentoML service whose API takes a DataFrame; BENCH_MODEL names the skops file."""

import os

import bentoml
import pandas as pd
import skops.io


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Bench:
    def __init__(self) -> None:
        path = os.environ["BENCH_MODEL"]
        self.model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))

    @bentoml.api
    def predict(self, frame: pd.DataFrame) -> dict[str, list[int]]:
        return {"predictions": self.model.predict(frame).tolist()}
