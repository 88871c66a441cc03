"""The image of a model: its files and its code as one immutable, content-addressed thing that a runtime can start."""

import shutil
from dataclasses import replace
from pathlib import Path

from mlauto.delivery.contents import assemble, inspect
from mlauto.delivery.golden import difference, read_golden
from mlauto.errors import StoreError
from mlauto.records import CheckOutcome, Deployment, Image, TrainedModel
from mlauto.runtime.base import Runtime
from mlauto.store import Store, tree_digest

__all__ = ["build_image", "verified_artifact"]


def build_image(product_name: str, model: TrainedModel, tree: Path, runtime: Runtime, store: Store) -> Image:
    """The image of `model`, with its checks `golden_predictions` and `unprivileged`, recorded as `images/<version>`.

    `tree` is an export of the model's commit. An image that was built from the same key, passed its checks and is
    intact is returned as it is. A version that passes is left running: its start is what a test deployment needs next,
    and loading it twice would be the longest part of a delivery. Raises `StoreError` for an artifact that differs from
    its digest, `DeliveryError` when the image could not be built or started.
    """
    known = store.read_record(product_name, f"images/{model.version}", Image)
    if known is not None and known.key == model.key and _passed(known) and runtime.holds(product_name, known):
        if store.read_record(product_name, "image", Image) != known:
            store.write_record(product_name, "image", known)
        return known
    artifact = verified_artifact(model, store)
    content = store.scratch("image")
    try:
        findings = assemble(content, product_name, model, artifact, tree)
        findings += inspect(content)
        image = runtime.build(product_name, model.version, model.key, content)
    finally:
        shutil.rmtree(content, ignore_errors=True)
    unprivileged = _unprivileged(findings)
    golden = _golden_predictions(product_name, image, artifact, runtime, store, tried=unprivileged.passed)
    image = replace(image, checks=(golden, unprivileged))
    store.write_record(product_name, f"images/{model.version}", image)
    store.write_record(product_name, "image", image)
    return image


def verified_artifact(model: TrainedModel, store: Store) -> Path:
    """The directory that training wrote, compared with its digest just now. Raises `StoreError`."""
    path = store.tree_path(model.artifact)
    if not path.is_dir():
        raise StoreError(f"the artifact of version {model.version} is missing: {path}; materialize the model again")
    if tree_digest(path) != model.artifact:
        raise StoreError(
            f"the artifact of version {model.version} was changed on disk: delete {path}, materialize the model again"
        )
    return path


def _passed(image: Image) -> bool:
    return all(check.passed for check in image.checks)


def _unprivileged(findings: list[str]) -> CheckOutcome:
    more = f", and {len(findings) - 5} more" if len(findings) > 5 else ""
    return CheckOutcome(
        name="unprivileged",
        passed=not findings,
        summary="; ".join(findings[:5]) + more if findings else "no rights, links, pickles or secrets in the image",
        details={"findings": findings[:50]},
    )


def _golden_predictions(
    product: str, image: Image, artifact: Path, runtime: Runtime, store: Store, *, tried: bool
) -> CheckOutcome:
    """Start the image and ask it all golden rows in one request; one that differs is stopped unless it is in use."""
    name = "golden_predictions"
    if not tried:
        return CheckOutcome(name=name, passed=False, summary="not tried: the image is not unprivileged")
    golden = read_golden(artifact)
    runtime.start(product, image)
    answer = runtime.predict(product, image.version, golden.rows)
    problem = difference(golden, answer, range(len(golden.rows)))
    if problem is not None:
        production = store.read_record(product, "production", Deployment)
        if production is None or image.version not in {production.version, production.fallback}:
            runtime.stop(product, image.version)
    return CheckOutcome(
        name=name,
        passed=problem is None,
        summary=problem or f"{len(golden.rows)} rows are predicted as when the model was trained",
        details={"rows": len(golden.rows)},
    )
