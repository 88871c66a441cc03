"""What was decided about single versions: approvals by people, and rejections by a rollback."""

from dataclasses import dataclass

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.store import Store

__all__ = [
    "Approval",
    "Rejection",
    "approve",
    "approved",
    "newer",
    "reject",
    "rejected_versions",
    "rejection",
    "restore",
]


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person let a version into production."""

    version: str
    by: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A version was taken out of production for a reason, in favour of `to`; it does not come back by itself."""

    version: str
    to: str
    reason: str
    at: float


def newer(a: str, b: str) -> bool:
    """True when version `a` was registered after `b`. Raises `DeliveryError` for what is no version number."""
    for version in (a, b):
        if not version.isdecimal():
            raise DeliveryError(f"version {version!r} is no number: versions are those of the model registry")
    return int(a) > int(b)


def approve(product: str, version: str, store: Store, *, by: str, now: float) -> Approval:
    """Let a version into production. Raises `DeliveryError` when it has no sound image, or was rejected."""
    image = store.read_record(product, f"images/{version}", Image)
    if image is None or not all(check.passed for check in image.checks):
        raise DeliveryError(f"{product}: version {version} has no image that passed its checks: materialize the image")
    refused = rejection(product, version, store)
    if refused is not None:
        raise DeliveryError(
            f"{product}: version {version} was rolled back ({refused.reason}): to have it again, roll back to it"
        )
    approval = Approval(version=version, by=by, at=now)
    store.write_record(product, f"approvals/{version}", approval)
    return approval


def approved(product: str, version: str, store: Store) -> bool:
    """Whether somebody let the version into production."""
    return store.read_record(product, f"approvals/{version}", Approval) is not None


def reject(product: str, decision: Rejection, store: Store) -> None:
    """Record that a version must not be rolled out by itself."""
    store.write_record(product, f"rejected/{decision.version}", decision)


def rejection(product: str, version: str, store: Store) -> Rejection | None:
    """Why a version was rejected; None when it was not."""
    return store.read_record(product, f"rejected/{version}", Rejection)


def rejected_versions(product: str, store: Store) -> frozenset[str]:
    """All versions that were rejected."""
    return frozenset(store.record_names(product, "rejected"))


def restore(product: str, version: str, store: Store) -> None:
    """Forget a rejection: somebody asked for that very version."""
    store.record_path(product, f"rejected/{version}").unlink(missing_ok=True)
