"""A Ray Serve deployment with one replica, on an instance of Ray of its own: MODEL.skops PORT FOLDER."""

import sys
from typing import Any

import pandas as pd
import ray
import skops.io
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

QUIET = LoggingConfig(enable_access_log=False, log_level="WARNING")


def listen_on_loopback() -> None:
    """A replica's port for other deployments is on all interfaces, whatever Ray is told: not on our users' machines."""
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _address: add_port(server, "127.0.0.1:0")


# with the default of 5 the router backs off and retries: 19 requests a second at 16 connections instead of 70
@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Bench:
    def __init__(self, path: str) -> None:
        listen_on_loopback()
        self.model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))

    async def __call__(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        return {"predictions": self.model.predict(pd.DataFrame(**body["dataframe_split"])).tolist()}


if __name__ == "__main__":
    model, port, folder = sys.argv[1:]
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)}, logging_config=QUIET)
    serve.run(Bench.bind(model), name="bench", route_prefix="/invocations", logging_config=QUIET, blocking=True)
