"""The test deployment: a version runs, without users' traffic, and has to prove itself before it may have any."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlauto.delivery.golden import Golden, difference, read_golden
from mlauto.delivery.image import verified_artifact
from mlauto.delivery.replay import LoggedRequest, replay
from mlauto.delivery.stages import current_rollout
from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Deployment, Image, Signature, TrainedModel
from mlauto.runtime.base import Runtime
from mlauto.store import Store

__all__ = ["verify"]

REQUESTS = 50
COLUMNS_TRIED = 64
# a value that a column of each kind must refuse
MISFITS: Mapping[str, object] = {"number": "no number", "integer": 0.5, "boolean": "neither", "string": 0.5}


def verify(
    product: str,
    image: Image,
    model: TrainedModel,
    runtime: Runtime,
    store: Store,
    *,
    latency_ms: float,
    now: float,
    requests: Sequence[LoggedRequest] | None = None,
) -> Deployment:
    """The image's version, running and judged by `contract`, `parity` and `latency`; recorded as `test_deployment`.

    With `requests`, users' newest first, also by `replay`; None leaves that check out.

    The process that passes is the one that production switches to. One that fails is stopped, unless it is what users
    are served by; candidates that this one supersedes are stopped first. Raises `DeliveryError` when the image is not
    fit for a deployment, belongs to another model, or does not start.
    """
    _require_fit(product, image, model)
    golden = read_golden(verified_artifact(model, store))
    in_use = _in_use(product, runtime, store)
    for superseded in runtime.running(product).keys() - in_use - {image.version}:
        runtime.stop(product, superseded)
    runtime.start(product, image)
    contract = _contract(product, image.version, model.signature, golden, runtime)
    parity, latency = _parity_and_latency(product, image.version, golden, runtime, latency_ms)
    checks = [contract, parity, latency]
    if requests is not None:
        checks.append(replay(product, image.version, model.signature, requests, runtime, latency_ms=latency_ms))
    deployment = Deployment(
        environment="test", version=image.version, image=image.digest, since=now, checks=tuple(checks)
    )
    store.write_record(product, "test_deployment", deployment)
    if image.version not in in_use and not all(check.passed for check in deployment.checks):
        runtime.stop(product, image.version)
    return deployment


def _require_fit(product: str, image: Image, model: TrainedModel) -> None:
    if (image.version, image.key) != (model.version, model.key):
        raise DeliveryError(
            f"{product}: the image is of version {image.version}, the model of {model.version}: materialize the image"
        )
    failed = [check for check in image.checks if not check.passed]
    if failed:
        reasons = "; ".join(f"{check.name}: {check.summary}" for check in failed)
        raise DeliveryError(f"{product}: the image of version {image.version} failed {reasons}")


def _in_use(product: str, runtime: Runtime, store: Store) -> set[str]:
    """Versions that users are served by, as the record and the public address say."""
    production = store.read_record(product, "production", Deployment)
    known = {production.version, production.fallback} if production else set()
    rollout = current_rollout(product, store)
    known |= {rollout.version} if rollout is not None and rollout.under_way else set()
    return {version for version in (*known, runtime.live(product)) if version is not None}


def _contract(product: str, version: str, signature: Signature, golden: Golden, runtime: Runtime) -> CheckOutcome:
    """The server takes the signature's columns, and refuses what does not fit with a sentence that names the column."""
    columns = list(signature.columns.items())[:COLUMNS_TRIED]
    problems = []
    for name, kind in columns:
        problem = _refused(product, version, {**golden.rows[0], name: MISFITS[kind]}, name, runtime)
        if problem is not None:
            problems.append(problem)
    beyond = list(_beyond(signature))
    for name, value in beyond:
        problem = _refused(product, version, {**golden.rows[0], name: value}, name, runtime)
        problems += [problem] if problem else []
    surplus = "not_a_column"
    while surplus in signature.columns:
        surplus += "_"
    problem = _refused(product, version, {**golden.rows[0], surplus: 1}, surplus, runtime)
    problems += [problem] if problem else []
    try:
        runtime.predict(product, version, [_complete(golden.rows[0], signature)])
    except DeliveryError as error:
        problems.append(f"a good row was refused: {error}")
    tried = len(columns) + len(beyond) + 1
    return CheckOutcome(
        name="contract",
        passed=not problems,
        summary="; ".join(problems[:5]) or f"{tried} bad requests were refused by name, a good one answered",
        details={"columns": dict(columns), "problems": problems},
    )


def _beyond(signature: Signature) -> Iterator[tuple[str, object]]:
    """Columns, each with a value just outside its limits or categories."""
    for name, ends in list(signature.limits.items())[:COLUMNS_TRIED]:
        for end, step in zip(ends, (-1, 1), strict=True):
            if end is not None and signature.columns[name] == "integer":
                whole = (math.ceil(end) if step < 0 else math.floor(end)) + step
                if -(2**63) <= whole < 2**63:  # beyond, the kind refuses it
                    yield name, whole
            elif end is not None:
                yield name, math.nextafter(end, step * math.inf)
    for name, values in list(signature.categories.items())[:COLUMNS_TRIED]:
        if isinstance(values[0], str):
            yield name, "".join(str(value) for value in values)[:100] + " and none of them"
        else:
            yield name, max(int(value) for value in values) + 1


def _refused(product: str, version: str, row: Mapping[str, object], column: str, runtime: Runtime) -> str | None:
    """What is wrong with how a row is refused whose value in `column` does not fit; None when all is well."""
    try:
        answer = runtime.predict(product, version, [row])
    except DeliveryError as error:
        if column in str(error):
            return None
        return f"{column}={row[column]!r} was refused without naming the column: {error}"
    return f"{column}={row[column]!r} does not fit the signature and was answered {answer.predictions[0]!r}"


def _complete(row: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    return {name: row.get(name) for name in signature.columns}


def _parity_and_latency(
    product: str, version: str, golden: Golden, runtime: Runtime, limit: float
) -> tuple[CheckOutcome, CheckOutcome]:
    """Golden rows one at a time: the answers must not depend on their neighbours, and come in time.

    Slow ones among the first 50 requests are judged together with 50 more, so that one hiccup of the machine decides
    nothing.
    """
    places = [place % len(golden.rows) for place in range(max(REQUESTS, len(golden.rows)))]
    problem, times = _ask(product, version, golden, runtime, places)
    if _p99(times) > limit:
        again, more = _ask(product, version, golden, runtime, places)
        problem, times = problem or again, times + more
    p99 = _p99(times)
    parity = CheckOutcome(
        name="parity",
        passed=problem is None,
        summary=problem or f"{len(golden.rows)} golden rows, asked one by one, are answered as by the trained model",
        details={"rows": len(golden.rows)},
    )
    latency = CheckOutcome(
        name="latency",
        passed=p99 <= limit,
        summary=f"p99 {p99:.1f} ms over {len(times)} one-row requests (limit {limit:g} ms)",
        details={"p99_ms": p99, "requests": len(times)},
    )
    return parity, latency


def _ask(
    product: str, version: str, golden: Golden, runtime: Runtime, places: Sequence[int]
) -> tuple[str | None, list[float]]:
    """The first difference from the golden answers, and the time of each request in milliseconds."""
    problem, times = None, []
    for place in places:
        answer = runtime.predict(product, version, [golden.rows[place]])
        times.append(answer.seconds * 1000)
        problem = problem or difference(golden, answer, [place])
    return problem, times


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.99 * len(times)) - 1]
