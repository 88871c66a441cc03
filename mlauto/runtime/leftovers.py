"""What of our images and containers nobody needs any more is removed from the engine.

An engine is shared: only what carries our label and this state directory's is looked at, and of that what is young
stays, because a record of it may be to come.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from mlauto.runtime.engine import HOME_LABEL, MADE_LABEL, OWNER, OWNER_LABEL, ContainerState, Engine, EngineImage

__all__ = ["GRACE", "clear", "is_old"]

GRACE = 3600.0
KIND_LABEL, KEY_LABEL, PRODUCT_LABEL = "mlauto.kind", "mlauto.key", "mlauto.product"
ENDED = ("created", "exited", "dead")


def clear(
    engine: Engine, home: str, product: str, *, kept: Collection[str], current: Collection[str], now: float
) -> tuple[str, ...]:
    """Remove what is left over, and say what it was.

    `kept` are ids of the product's images that can be started; `current` are keys of what the next ones build on. A
    base stays as long as any image of ours, of whatever home, that stays builds on it. Raises `EngineError`.
    """
    removed = [_remove_container(engine, one) for one in _ended(engine.containers({HOME_LABEL: home}), now)]
    images = engine.images({OWNER_LABEL: OWNER})
    used = {container.image for container in engine.containers({})} | set(kept)
    gone = [image for image in images if image.id not in used and _may_go(image, home, product, current, now)]
    stay = [image for image in images if image not in gone]
    for image in sorted(gone, key=lambda one: len(one.layers), reverse=True):  # what stands on another goes first
        if any(_stands_on(other, image) for other in stay):
            stay.append(image)
        else:
            removed.append(_remove(engine, image))
    return tuple(removed)


def is_old(image: EngineImage, now: float) -> bool:
    """Whether nobody made it or named it within the time of grace."""
    return max(_seconds(image.created), _seconds(image.tagged)) < now - GRACE


def _ended(containers: Iterable[ContainerState], now: float) -> Iterator[ContainerState]:
    for container in containers:
        ours = container.labels.get(MADE_LABEL) == OWNER
        if ours and container.status in ENDED and _seconds(container.created) < now - GRACE:
            yield container


def _may_go(image: EngineImage, home: str, product: str, current: Collection[str], now: float) -> bool:
    kind = image.labels.get(KIND_LABEL)
    if not is_old(image, now):
        return False
    if image.labels.get(HOME_LABEL) != home:
        return False
    if kind == "stage":  # what the builder left
        return not image.tags
    if kind in ("code", "model"):
        return image.labels.get(PRODUCT_LABEL) == product
    return kind in ("dependencies", "flavour") and image.labels.get(KEY_LABEL) not in current


def _stands_on(image: EngineImage, other: EngineImage) -> bool:
    return len(image.layers) > len(other.layers) and image.layers[: len(other.layers)] == other.layers


def _remove(engine: Engine, image: EngineImage) -> str:
    for tag in image.tags:
        named = engine.image(tag)
        if named is not None and named.id == image.id:  # it may have moved
            engine.remove_image(tag)
    if engine.image(image.id) is not None:
        engine.remove_image(image.id)
    return f"image {image.tags[0] if image.tags else image.id[7:19]}"


def _remove_container(engine: Engine, container: ContainerState) -> str:
    engine.remove(container.id)
    return f"container {container.name}"


def _seconds(moment: str) -> float:
    """Seconds since 1970 of an ISO 8601 time with whatever many decimals; 0 for none."""
    if not moment:
        return 0.0
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", moment).replace("Z", "+00:00")).timestamp()
