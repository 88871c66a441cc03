"""`ops/compose.yaml` as compose reads it, and its services as arguments of `docker run`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["OPS", "arguments", "example", "interpolated", "loaded", "strings", "used"]

OPS = Path(__file__).resolve().parents[2] / "ops"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
Service = Mapping[str, Any]
# What a service may say, but that only compose acts on.
COMPOSE_ONLY = {"build", "depends_on", "healthcheck", "logging", "networks", "restart", "stop_grace_period"}
SWITCHES = {"init": "--init", "read_only": "--read-only"}
SINGLE = {"user": "--user", "mem_limit": "--memory", "pids_limit": "--pids-limit", "shm_size": "--shm-size"}
LISTS = {"tmpfs": "--tmpfs", "cap_drop": "--cap-drop", "security_opt": "--security-opt", "group_add": "--group-add"}


def loaded(name: str = "compose.yaml") -> dict[str, Any]:
    """The file with its anchors resolved and its variables as they stand."""
    found: dict[str, Any] = yaml.safe_load((OPS / name).read_text())
    return found


def strings(value: object) -> Iterator[str]:
    """Every string in it, keys excepted."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def used(document: object) -> dict[str, set[str]]:
    """The variables in it, each with all its defaults; `?` stands for one that must be set."""
    found: dict[str, set[str]] = {}
    for text in strings(document):
        for name, kind, default in VARIABLE.findall(text):
            found.setdefault(name, set()).add("?" if kind == "?" else default)
    return found


def example() -> dict[str, str]:
    """What `.env.example` sets."""
    lines = (OPS / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """The same with the variables' values, as compose puts them in. Raises `KeyError` for one that must be set."""

    def one(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        if environment.get(name):
            return environment[name]
        if kind != "-":
            raise KeyError(name)
        return str(default)

    if isinstance(value, str):
        return VARIABLE.sub(one, value)
    if isinstance(value, Mapping):
        return {key: interpolated(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolated(inner, environment) for inner in value]
    return value


def arguments(service: Service) -> list[str]:
    """What follows `docker run` for an interpolated service. Raises `KeyError` for a key that it would leave out."""
    found: list[str] = []
    for key, value in service.items():
        if key in SWITCHES:
            found += [SWITCHES[key]] if value else []
        elif key in SINGLE:
            found += [SINGLE[key], str(value)]
        elif key in LISTS:
            found += [word for one in value for word in (LISTS[key], str(one))]
        elif key == "environment":
            found += [word for name, one in value.items() for word in ("--env", f"{name}={one}")]
        elif key == "volumes":
            found += [word for one in value for word in ("--volume", re.sub(r"^\.(?=/)", str(OPS), one))]
        elif key == "ports":
            found += [word for one in value for word in ("--publish", one)]
        elif key not in COMPOSE_ONLY | {"image", "command"}:
            raise KeyError(key)
    return [*found, service["image"], *service["command"]]
