"""The gateway's counters as Prometheus keeps them. Whatever is wrong with it is a `MeasurementError` that says what.

One query for raw samples answers everything about a version, so that all figures are of one moment.
"""

import re
import time
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.service import FEWEST_REQUESTS, LONGEST, NAMES, Series, ServiceLevel, service_level
from mlauto.settings import Settings

if TYPE_CHECKING:
    import httpx

__all__ = ["Prometheus", "selector"]

ANSWER_SECONDS = 3.0  # for connecting, and for each part of the answer
WHOLE_SECONDS = 5.0  # for all of it
SILENT_SECONDS = 30.0  # after it took longer, it is not asked again: many products would wait for it one by one
LARGEST_ANSWER = 16 << 20
SAID = 200  # characters of its own words in a cause


class _Found(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]]


class _Data(msgspec.Struct):
    resultType: str  # noqa: N815 -- Prometheus' word
    result: list[_Found]


class _Reply(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []


@dataclass
class Prometheus:
    """A Prometheus server that scrapes the gateway; `match` narrows down to ours where it scrapes several.

    The address may hold a name and a password, which no message shows; `token_file` is read for each query.
    """

    url: str = field(repr=False)
    token_file: Path | None = None
    match: str = ""
    _silent: tuple[float, str] = field(default=(0.0, ""), repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "Prometheus | None":
        """The one that the settings name, if they do."""
        if not settings.prometheus_url:
            return None
        return cls(settings.prometheus_url, settings.prometheus_token_file, settings.prometheus_match)

    @property
    def name(self) -> str:
        """What messages call it: its address without credentials, path and query."""
        parts = urlsplit(self.url)
        return f"Prometheus at {parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def level(self, product: str, version: str, *, now: float, recent: float) -> ServiceLevel:
        """The version's service level as `service.service_level` gives it.

        Raises `MeasurementError` when Prometheus is down, slow, empty, stale, or answers anything but sound samples.
        """
        try:
            found = service_level(
                self._samples(product, version, now, 2 * recent), version=version, now=now, recent=recent
            )
            if found.requests < FEWEST_REQUESTS or found.until - found.since < recent / 2:
                longer = self._samples(product, version, now, LONGEST * recent)
                found = service_level(longer, version=version, now=now, recent=recent)
        except MeasurementError as error:
            raise MeasurementError(f"{self.name}: {error}") from error
        return found

    def _samples(self, product: str, version: str, now: float, seconds: float) -> list[Series]:
        if time.monotonic() < self._silent[0]:
            raise MeasurementError(self._silent[1])
        status, body = self._asked({"query": selector(product, version, self.match, seconds), "time": f"{now:.3f}"})
        try:
            reply = msgspec.json.decode(body, type=_Reply)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MeasurementError(f"it answered {status}, and no samples ({error})") from error
        if status != 200 or reply.status != "success" or reply.data is None:
            raise MeasurementError(f"it answered {status}: {reply.error[:SAID] or reply.status[:SAID]}")
        if reply.warnings:
            raise MeasurementError(f"its answer is partial: {'; '.join(reply.warnings)[:SAID]}")
        if reply.data.resultType != "matrix":
            raise MeasurementError(f"it answered with a {reply.data.resultType[:SAID]} where samples were asked for")
        return [_series(found) for found in reply.data.result if found.metric.get("product", "") in {product, ""}]

    def _asked(self, parameters: dict[str, str]) -> tuple[int, bytes]:
        import httpx

        parts = urlsplit(self.url)
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/api/v1/query"
        secret = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
        deadline = time.monotonic() + WHOLE_SECONDS
        try:
            with (
                httpx.Client(timeout=ANSWER_SECONDS, trust_env=False, verify=parts.scheme == "https") as client,
                client.stream("GET", address, params=parameters, headers=self._headers(), auth=secret) as reply,
            ):
                return reply.status_code, _body(reply, deadline)
        except (httpx.TimeoutException, TimeoutError):
            words = f"it did not answer within {WHOLE_SECONDS:g} s"
            self._silent = (time.monotonic() + SILENT_SECONDS, words)
            raise MeasurementError(words) from None
        except (httpx.HTTPError, OSError) as error:
            raise MeasurementError(f"it does not answer ({str(error)[:SAID] or type(error).__name__})") from error

    def _headers(self) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}  # the bound on the answer's size is on what is parsed
        if self.token_file is None:
            return plain
        try:
            token = self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MeasurementError(f"MLAUTO_PROMETHEUS_TOKEN_FILE cannot be read ({type(error).__name__})") from error
        if not token.isascii() or not token.isprintable():
            raise MeasurementError("MLAUTO_PROMETHEUS_TOKEN_FILE holds more than one line of plain text")
        return {**plain, "Authorization": f"Bearer {token}"}


def selector(product: str, version: str, match: str, seconds: float) -> str:
    """The query for all samples of a version within so many seconds, and of what has no version or no product."""
    names = "|".join(NAMES)
    labels = [f'__name__=~"{names}"', f'product=~"{_quoted(product)}|"', f'version=~"{_quoted(version)}|"']
    return f"{{{','.join([*labels, *([match] if match else [])])}}}[{ceil(seconds)}s]"


def _quoted(text: str) -> str:
    """A regular expression that matches just `text`, within a string of a query."""
    return re.escape(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _series(found: _Found) -> Series:
    name = found.metric.get("__name__", "")
    try:
        samples = [(at, float(value)) for at, value in found.values]
    except ValueError as error:
        raise MeasurementError(f"{name[:SAID]} has a sample that is no number") from error
    return Series(name=name, labels=found.metric, samples=samples)


def _body(reply: "httpx.Response", deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in reply.iter_raw():
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise MeasurementError(f"its answer is larger than {LARGEST_ANSWER >> 20} MB")
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)
