"""How the Docker engine's answers and failures are read."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlauto.runtime.engine import ContainerState, EngineError, EngineImage

__all__ = ["check_socket", "image_of", "label_filters", "problem", "said", "state_of"]


@contextmanager
def said(what: str) -> Iterator[None]:
    """Every failure of the SDK as an `EngineError`: what could not be done, why, and what to do."""
    import requests
    from docker.errors import DockerException

    try:
        yield
    except (DockerException, requests.exceptions.RequestException) as error:
        explanation = getattr(error, "explanation", None)
        raise problem(what, str(explanation or error)) from error


def check_socket(address: str) -> None:
    """Raise `EngineError` with the reason when nobody listens there; the SDK would leave its socket open then, too."""
    if not address.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address.removeprefix("unix://"))
        except PermissionError as error:
            raise EngineError(
                f"{address} may not be opened by this user: add it to the group docker, or set DOCKER_HOST"
            ) from error
        except OSError as error:
            raise EngineError(
                f"no Docker engine answers at {address} ({error.strerror}): start dockerd, or set DOCKER_HOST"
            ) from error


def problem(what: str, why: str) -> EngineError:
    """The error of what could not be done, with why, and what to do where that is known."""
    advice = ""
    if "connection aborted" in why.lower() or "connection refused" in why.lower():
        advice = "the Docker engine went away: start it again"
    elif "no space left on device" in why.lower():
        advice = "the engine's disk is full: free some space (docker system df shows what takes it)"
    return EngineError(": ".join(part for part in (what, why, advice) if part))


def label_filters(labels: Mapping[str, str]) -> list[str]:
    """Labels as the engine's filters; an empty value fits any."""
    return [f"{name}={value}" if value else name for name, value in labels.items()]


def image_of(found: Mapping[str, Any]) -> EngineImage:
    """What `docker image inspect` says."""
    config = found.get("Config") or {}
    return EngineImage(
        id=found["Id"],
        tags=tuple(found.get("RepoTags") or ()),
        labels=config.get("Labels") or {},
        layers=tuple(found["RootFS"].get("Layers") or ()),
        size=found["Size"],
        created=found["Created"],
        config=config,
        architecture=found["Architecture"],
        tagged=(found.get("Metadata") or {}).get("LastTagTime", ""),
    )


def state_of(found: Mapping[str, Any]) -> ContainerState:
    """What `docker container inspect` says."""
    state = found["State"]
    return ContainerState(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        image=found["Image"],
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
        restarts=found["RestartCount"],
        labels=found["Config"].get("Labels") or {},
        created=found["Created"],
    )
