"""A LitServe server as its documentation writes one, with one worker: MODEL.skops PORT."""

import sys
from typing import Any

import litserve
import pandas as pd
import skops.io


class Bench(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        path = sys.argv[1]
        self.model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))

    def decode_request(self, request: dict[str, Any]) -> pd.DataFrame:
        return pd.DataFrame(**request["dataframe_split"])

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.model.predict(frame)

    def encode_response(self, output: Any) -> dict[str, list[int]]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Bench(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning", access_log=False
    )
