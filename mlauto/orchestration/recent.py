"""Users' newest requests, out of the prediction log, for a candidate to be asked again. Reads a bounded part of it."""

import math
from collections import deque

from mlauto.delivery.replay import LoggedRequest
from mlauto.monitoring.log.reading import LogReader, Prediction
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import Deployment, TrainedModel

__all__ = ["recent_requests"]

READ_BYTES = 8 << 20
MOST_ROWS = 1000  # of one request: larger ones are left out


def recent_requests(platform: Platform, product: ModelProduct) -> list[LoggedRequest]:
    """The newest `delivery.replay` requests that users got an answer to, newest first; empty before there are any.

    Only those answered by a version with the live one's columns count: what older clients sent says nothing about
    today's. Looks at the newest 8 MB of the log. Raises `MeasurementError` when the log is there and cannot be read.
    """
    store = platform.store
    production = store.read_record(product.name, "production", Deployment)
    if production is None or product.delivery.replay == 0:
        return []
    columns: dict[str, dict[str, str] | None] = {}

    def columns_of(version: str) -> dict[str, str] | None:
        if version not in columns:
            model = store.read_record(product.name, f"models/{version}", TrainedModel)
            columns[version] = model.signature.columns if model else None
        return columns[version]

    live = columns_of(production.version)
    found: deque[Prediction] = deque(maxlen=product.delivery.replay)
    reader = LogReader(platform.settings.product_home(product.name) / "predictions", "predictions", Prediction)
    for lines in reader.newest(-math.inf, READ_BYTES)[0]:
        for line in lines:
            answered = line.v is not None and line.y is not None and len(line.y) <= MOST_ROWS
            if answered and columns_of(str(line.v)) == live:
                found.append(line)
    return [LoggedRequest(line.parsed_rows(), line.y or [], str(line.v)) for line in reversed(found)]
