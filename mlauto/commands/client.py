"""A user's client of the gateway: asks for predictions and sends labels back.

It never retries, so that what it counts is what a user would have met.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx
import msgspec

from mlauto.errors import DeliveryError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GatewayClient", "Outcome", "rows_of"]

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One request as its sender saw it. `status` is 0 when no answer came; `seconds` is the latency."""

    sent: float
    rows: int
    status: int
    seconds: float
    version: str | None = None
    prediction_id: str | None = None
    predictions: tuple[Any, ...] = ()
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """True when a whole answer came: a prediction per row, a version and a prediction id."""
        return self.problem is None


class GatewayClient:
    """One keep-alive connection to the gateway, for one product. Not for use by several threads at once."""

    def __init__(
        self,
        url: str,
        product: str,
        *,
        credentials: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`credentials` are headers that go with each request: see `Settings.credentials`."""
        self.product = product
        # A proxy of the environment is for the internet, not for the gateway on this machine.
        self._http = httpx.Client(
            base_url=url, headers=credentials, timeout=timeout, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def ask(self, rows: Sequence[Row]) -> Outcome:
        """Ask the live version for a prediction per row. A failure is an outcome too, never an exception."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        body = {"dataframe_split": {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}}
        sent, began = time.time(), time.perf_counter()
        try:
            response = self._post("invocations", body)
        except httpx.HTTPError as error:
            seconds = time.perf_counter() - began
            return Outcome(sent=sent, rows=len(rows), status=0, seconds=seconds, problem=_words(error))
        return _outcome(response, sent, len(rows), time.perf_counter() - began)

    def label(self, labels: Mapping[str, Sequence[Any]]) -> None:
        """Send the truth about earlier requests: prediction id -> one label per row.

        Raises `DeliveryError` when the gateway does not take them.
        """
        if not labels:
            return
        try:
            response = self._post("feedback", {"labels": {name: list(values) for name, values in labels.items()}})
        except httpx.HTTPError as error:
            raise DeliveryError(f"{self.product}: labels were not sent: {_words(error)}") from error
        if response.is_error:
            raise DeliveryError(f"{self.product}: labels were refused ({response.status_code}): {_said(response)}")

    def _post(self, verb: str, body: object) -> httpx.Response:
        return self._http.post(
            f"/v2/models/{self.product}/{verb}",
            content=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
        )


def rows_of(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """A frame's rows as JSON values: missing values are None, times are ISO 8601 text."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    import pandas as pd

    if pd.isna(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def _outcome(response: httpx.Response, sent: float, rows: int, seconds: float) -> Outcome:
    version, name = response.headers.get("x-mlauto-version"), response.headers.get("x-prediction-id")
    predictions: tuple[Any, ...] = ()
    problem = None
    if response.is_error:
        problem = f"{response.status_code}: {_said(response)}"
    else:
        try:
            predictions = tuple(msgspec.json.decode(response.content, type=dict[str, Any]).get("predictions", ()))
        except msgspec.MsgspecError as error:
            problem = f"the answer is no JSON object: {error}"
        if problem is None and len(predictions) != rows:
            problem = f"{len(predictions)} predictions for {rows} rows"
        if problem is None and not (version and name):
            problem = "the answer has no x-mlauto-version or x-prediction-id header"
    return Outcome(
        sent=sent,
        rows=rows,
        status=response.status_code,
        seconds=seconds,
        version=version,
        prediction_id=name,
        predictions=predictions,
        problem=problem,
    )


def _said(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content, type=dict[str, Any])["error"])
    except (msgspec.MsgspecError, KeyError):
        return response.text[:200] or "(empty body)"


def _words(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
