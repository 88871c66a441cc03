"""The Dockerfile as the classic builder should get it, and the locks: what of them decides an image.

The classic builder runs every stage above its target, needed or not; here it gets the needed ones only, and what an
image is keyed by does not change with the others.
"""

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlauto.errors import DeliveryError
from mlauto.store import file_digest, tree_digest

__all__ = ["Checkout", "Locked", "configured", "locked", "needed"]

STAGE = re.compile(r"^FROM\s+(\S+)(?:\s+AS\s+(\S+))?\s*$", re.MULTILINE)
DEFAULT = re.compile(r"^ARG\s+(\w+)=(\S+)\s*$", re.MULTILINE)
COPIED = re.compile(r"^COPY\s+--from=(\S+)", re.MULTILINE)
SAID = re.compile(r"^(ENV|USER|ENTRYPOINT|CMD)\s+(.+)$", re.MULTILINE)
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*(.*?))?\s*(?:\\|$)")


class Checkout:
    """The files of ours that images are made from. What is missing is a `DeliveryError`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> str:
        """A file's text."""
        return self._there(name).read_text()

    def digest(self, name: str) -> str:
        """Of a file's bytes, or of a folder's names and files."""
        path = self._there(name)
        return tree_digest(path) if path.is_dir() else file_digest(path)

    def copy(self, names: Sequence[str], context: Path) -> None:
        """Files and folders, to the same places below `context`."""
        for name in names:
            source, target = self._there(name), context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)

    def _there(self, name: str) -> Path:
        path = self._root / name
        if not path.exists():
            raise DeliveryError(f"{path} is missing: images are built from a checkout of mlauto")
        return path


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


def configured(dockerfile: str, stage: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """What an image of that stage says of itself when it stands on one that says `before`, by the builder's rules.

    ENV in one line, USER, ENTRYPOINT and CMD as lists; nothing else of the stage is looked at.
    """
    texts = {found[2]: text for text in re.split(r"\n(?=FROM\s)", dockerfile) if (found := STAGE.match(text))}
    says = dict(before)
    for word, value in SAID.findall(texts[stage]):
        if word == "ENV":
            known = dict(one.split("=", 1) for one in [*(says.get("Env") or ()), *shlex.split(value)])
            says["Env"] = [f"{name}={text}" for name, text in known.items()]
        elif word == "USER":
            says["User"] = value
        elif word == "CMD":
            says["Cmd"] = json.loads(value)
        else:
            says |= {"Entrypoint": json.loads(value), "Cmd": None}
    return says
