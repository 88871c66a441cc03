"""The Dockerfile as the classic builder should get it, and the locks: what of them decides an image.

The classic builder runs every stage above its target, needed or not; here it gets the needed ones only, and what an
image is keyed by does not change with the others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlauto.errors import DeliveryError

__all__ = ["Locked", "locked", "needed"]

STAGE = re.compile(r"^FROM\s+(\S+)(?:\s+AS\s+(\S+))?\s*$", re.MULTILINE)
DEFAULT = re.compile(r"^ARG\s+(\w+)=(\S+)\s*$", re.MULTILINE)
COPIED = re.compile(r"^COPY\s+--from=(\S+)", re.MULTILINE)
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*(.*?))?\s*(?:\\|$)")


@dataclass(frozen=True)
class Locked:
    """One entry of a lock; `text` is all of it, `hashes` are SHA-256 of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    text: str


def locked(lock: str) -> list[Locked]:
    """The entries of a lock's text. Raises `DeliveryError` for one that is not pinned to a version and hashes."""
    return [_entry(text) for text in re.split(r"\n(?=\S)", lock.strip())]


def _entry(text: str) -> Locked:
    found = ENTRY.match(text)
    hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
    if found is None or not hashes:
        raise DeliveryError(f"{text[:60]!r} is no entry of a lock (name==version with hashes): run scripts/lock")
    return Locked(re.sub(r"[-_.]+", "-", found[1]).lower(), found[2], found[3] or "", hashes, text)


def needed(dockerfile: str, target: str, arguments: Mapping[str, str]) -> str:
    """The head and the stages that `target` stands on when built with those arguments, without comments.

    Raises `DeliveryError` when there is no such stage.
    """
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    head, *rest = re.split(r"\n(?=FROM\s)", "\n".join(lines))
    values = {**dict(DEFAULT.findall(head)), **arguments}
    stages = {}
    for text in rest:
        found = STAGE.match(text)
        if found is None or found[2] is None:
            raise DeliveryError(f"the Dockerfile's line {text.splitlines()[0]!r} names no stage: add AS name")
        base = re.sub(r"\$\{(\w+)\}", lambda name: values.get(name[1], ""), found[1])
        stages[found[2]] = (text, {base, *COPIED.findall(text)})
    if target not in stages:
        raise DeliveryError(f"the Dockerfile has no stage {target}: it has {', '.join(stages)}")
    wanted: set[str] = set()
    rest = [target]
    while rest:
        name = rest.pop()
        if name in stages and name not in wanted:
            wanted.add(name)
            rest.extend(stages[name][1])
    return "\n".join([head, *(text for name, (text, _) in stages.items() if name in wanted), ""])
