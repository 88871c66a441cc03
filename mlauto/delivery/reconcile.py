"""Which steps of a delivery still have to be done. Pure, so that a sensor may ask at every tick and after any crash."""

from collections.abc import Collection

from mlauto.delivery.decisions import newer
from mlauto.records import Deployment, Image, TrainedModel

__all__ = ["wanted"]

STEPS = ("image", "test_deployment", "production")


def wanted(
    model: TrainedModel | None,
    image: Image | None,
    test: Deployment | None,
    production: Deployment | None,
    *,
    rejected: Collection[str],
    mode: str,
    approved: Collection[str] = (),
    held_back: bool = False,
) -> tuple[str, ...]:
    """The steps, in order, between the newest model and its being in production; empty when there is nothing to do.

    `image`, `test` and `production` are the newest records, `rejected` and `approved` versions. Nothing is wanted of a
    version that failed a check, was rejected, or is older than production; a rollback that was cut short is finished.
    One that is `held_back` (its rollout is under way, or waits for another's end) goes on in its own time, not at once.
    """
    if production is not None and production.version in rejected and not _cures(model, production, rejected):
        return ("production",)
    if model is None or not model.passed or model.version in rejected:
        return ()
    if production is not None and newer(production.version, model.version):
        return ()
    steps = _missing(model, image, test, production)
    waits = mode == "suggest" or (mode == "approve" and model.version not in approved)
    if waits or held_back:
        steps = tuple(step for step in steps if step != "production")
    return steps


def _cures(model: TrainedModel | None, production: Deployment, rejected: Collection[str]) -> bool:
    """Whether the newest model makes finishing a rollback needless."""
    return (
        model is not None
        and model.passed
        and model.version not in rejected
        and newer(model.version, production.version)
    )


def _missing(
    model: TrainedModel, image: Image | None, test: Deployment | None, production: Deployment | None
) -> tuple[str, ...]:
    if image is None or (image.version, image.key) != (model.version, model.key):
        return STEPS
    if not all(check.passed for check in image.checks):
        return ()
    if production is not None and (production.version, production.image) == (image.version, image.digest):
        return ()
    if test is None or (test.version, test.image) != (image.version, image.digest):
        return STEPS[1:]
    return STEPS[2:] if all(check.passed for check in test.checks) else ()
