"""What `mlauto doctor` says of containers: the engine, and the image that all others stand on."""

import socket
from collections.abc import Mapping

import httpx

from mlauto.commands.finding import Finding
from mlauto.settings import Settings

__all__ = ["base_image", "docker_version", "engine"]


def engine(settings: Settings, environment: Mapping[str, str]) -> Finding:
    """The Docker engine, which the docker runtime needs."""
    version = docker_version(environment)
    if version is not None:
        return Finding(name="Docker engine", status="ok", observed=version)
    if settings.runtime == "docker":
        advice = "apt-get install docker.io, and have this user in the group docker; or MLAUTO_RUNTIME=local"
        return Finding(name="Docker engine", status="missing", observed="none answers", advice=advice)
    advice = "not needed: the local runtime does without; for images: apt-get install docker.io"
    return Finding(name="Docker engine", status="optional", observed="none answers", advice=advice)


def base_image(settings: Settings) -> Finding:
    """The image that all others stand on."""
    from mlauto.runtime.docker_engine import DockerEngine
    from mlauto.runtime.engine import EngineError

    asked = DockerEngine()
    try:
        found = asked.image(settings.base_image)
    except EngineError as error:
        return Finding(name="base image", status="missing", observed="not looked for", advice=str(error))
    finally:
        asked.close()
    if found is not None:
        return Finding(name="base image", status="ok", observed=settings.base_image)
    advice = f"docker pull {settings.base_image}, or ops/base_image.sh and MLAUTO_BASE_IMAGE=mlauto-base:bookworm"
    observed = f"the engine has no {settings.base_image}"
    return Finding(name="base image", status="missing", observed=observed, advice=advice)


def docker_version(environment: Mapping[str, str]) -> str | None:
    """The version of the Docker engine that answers at DOCKER_HOST (or its usual socket), or None."""
    host = environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    local = host.startswith("unix://")
    path = host.removeprefix("unix://")
    if local and not _listens(path):
        return None
    transport = httpx.HTTPTransport(uds=path) if local else None
    base = "http://docker" if local else host.replace("tcp://", "http://", 1)
    try:
        with httpx.Client(base_url=base, transport=transport, timeout=3, trust_env=False) as client:
            return str(client.get("/version").raise_for_status().json()["Version"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):
        return None


def _listens(path: str) -> bool:
    """Asked first, because a failing connection of httpx to a unix socket leaves a descriptor open."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(3)
        return probe.connect_ex(path) == 0
