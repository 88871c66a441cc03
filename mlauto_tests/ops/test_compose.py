"""The compose file: valid by the specification's schema, closed, bounded, and telling everything that it reads."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlauto_tests.conftest import tool
from mlauto_tests.ops.compose_file import OPS, arguments, example, interpolated, loaded, strings, used

BASE = loaded()
SERVICES: dict[str, dict[str, Any]] = BASE["services"]
OURS = {name for name, service in SERVICES.items() if "MLAUTO_IMAGE" in service["image"]}
SECRETS = {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "MLAUTO_API_KEY", "MLAUTO_SCRAPE_KEY"}
FILES = ("compose.yaml", "compose.docker.yaml")
each_service = pytest.mark.parametrize("name", SERVICES)


def checked(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [str(tool("check-jsonschema")), "--builtin-schema", "vendor.compose-spec", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.needs("check-jsonschema")
@pytest.mark.parametrize("name", FILES)
def test_the_file_follows_the_compose_specification(name: str) -> None:
    """By the schema that the specification publishes."""
    done = checked(OPS / name)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("check-jsonschema")
def test_the_schema_tells_a_wrong_file(tmp_path: Path) -> None:
    """So the check above can fail: a key that compose does not know is found."""
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((OPS / "compose.yaml").read_text().replace("mem_limit: 1g", "memory_limit: 1g", 1))

    done = checked(wrong)

    assert done.returncode == 1
    assert "memory_limit" in done.stdout


def test_the_services_are_those_of_the_whole_platform() -> None:
    """None is missing, and each of ours is the one image."""
    assert set(SERVICES) == {
        *("postgres", "mlflow", "gateway", "code", "daemon", "webserver"),
        *("prometheus", "alertmanager", "grafana"),
    }
    assert {"mlflow", "gateway", "code", "daemon", "webserver"} == OURS
    assert len({SERVICES[name]["image"] for name in OURS}) == 1
    assert all(
        SERVICES[name].get("build", {}).get("target") == ("orchestrator" if name in OURS else None) for name in SERVICES
    )
    assert "AS orchestrator\n" in (OPS.parent / "Dockerfile").read_text()
    assert SERVICES["code"]["environment"]["DAGSTER_CURRENT_IMAGE"] == SERVICES["code"]["image"]


@each_service
def test_a_service_is_closed_and_bounded(name: str) -> None:
    """No privilege, no capability, a user that is not root, limits for memory, processes and logs."""
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] not in ("", "0", "root", "0:0")
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 500
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True or name == "prometheus"


@each_service
def test_a_service_says_when_it_is_healthy_and_waits_for_those_it_needs(name: str) -> None:
    """A health check with an end to its patience, and dependencies that are awaited healthy."""
    service = SERVICES[name]
    check = service["healthcheck"]

    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)
    for other, how in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}


@each_service
def test_a_port_is_published_on_the_loopback_interface_only(name: str) -> None:
    """Whoever wants it wider puts a proxy with TLS before it."""
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port)


def test_published_ports_differ() -> None:
    """No two services want the same one by default."""
    ports = [port.split(":-")[1].split("}")[0] for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == 6
    assert len(set(ports)) == len(ports)


@each_service
def test_a_third_party_image_is_pinned_to_a_version(name: str) -> None:
    """A full version; ours is what the variable says."""
    image = SERVICES[name]["image"]

    assert name in OURS or re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", image)


@pytest.mark.parametrize("file", FILES)
def test_every_mounted_file_exists(file: str) -> None:
    """Of this folder; docker would make a directory of what is missing."""
    volumes = [one for service in loaded(file)["services"].values() for one in service.get("volumes", [])]
    ours = [one.split(":")[0] for one in volumes if one.startswith("./")]

    assert [path for path in ours if not (OPS / path).exists()] == []
    assert ours or file == "compose.docker.yaml"
    assert all(one.endswith(":ro") for one in volumes if one.startswith("./"))


def test_every_named_volume_is_declared() -> None:
    """By the names that services use, the state's default included."""
    named = {
        interpolated(one, {**example(), "MLAUTO_PROJECT": "/p"}).split(":")[0]
        for service in SERVICES.values()
        for one in service.get("volumes", [])
    }

    assert {name for name in named if not name.startswith((".", "/"))} == set(BASE["volumes"])
    assert BASE["volumes"]["mlauto-state"]["name"] == example()["MLAUTO_STATE"]


def test_the_docker_socket_is_where_runs_are_started_and_nowhere_else() -> None:
    """The daemon's only; with the docker runtime the code server's and the run workers', too."""
    holders = {
        file: {name for name, service in loaded(file)["services"].items() if "DOCKER_SOCKET" in str(service)}
        for file in FILES
    }

    assert holders == {"compose.yaml": {"daemon"}, "compose.docker.yaml": {"code"}}
    assert SERVICES["daemon"].get("ports") is None


@pytest.mark.parametrize("file", FILES)
def test_what_is_read_is_in_the_example(file: str) -> None:
    """Each variable, with the default of the compose file; empty where people must decide."""
    known = example()
    for name, defaults in used(loaded(file)).items():
        required = "?" in defaults
        assert name in known, name
        assert required or {known[name]} == defaults, name


def test_the_example_holds_no_secret_and_nothing_that_is_not_read() -> None:
    """Secrets, and what depends on the machine, are empty; a variable that nobody reads would mislead."""
    known = example()
    secrets = {one["environment"] for one in BASE["secrets"].values()}
    read = set().union(secrets, *(used(loaded(file)) for file in FILES))

    assert set(known) == read
    assert {name for name, value in known.items() if not value} == SECRETS | {
        *("MLAUTO_PROJECT", "DOCKER_GID", "MLAUTO_REGISTRY", "MLAUTO_DASK_ADDRESS", "RAY_ADDRESS")
    }
    assert "/ops/.env\n" in (OPS.parent / ".gitignore").read_text()


def test_a_secret_that_is_not_set_stops_compose() -> None:
    """No service starts with an empty password."""
    for name in SECRETS:
        given = {**dict.fromkeys((*SECRETS, "MLAUTO_PROJECT", "DOCKER_GID"), "x"), name: ""}
        with pytest.raises(KeyError, match=name):
            interpolated(SERVICES, given)


def test_only_what_needs_a_secret_gets_it() -> None:
    """The gateway, which users reach, knows no database; the database's clients are named here."""
    knows = {
        secret: {name for name, service in SERVICES.items() if any(f"${{{secret}:" in one for one in strings(service))}
        for secret in SECRETS
    }

    assert knows["POSTGRES_PASSWORD"] == {"postgres", "mlflow", "code", "daemon", "webserver"}
    assert knows["GRAFANA_PASSWORD"] == {"grafana"}
    assert knows["MLAUTO_API_KEY"] == knows["MLAUTO_SCRAPE_KEY"] == {"gateway", "code", "daemon"}
    assert SERVICES["prometheus"]["secrets"] == ["scrape_key"]


def test_a_service_becomes_arguments_of_docker_run_or_says_what_would_be_lost() -> None:
    """What the live test runs is what the file says: nothing is dropped silently."""
    service = {"image": "one:1", "command": ["a", "b"], "read_only": True, "environment": {"A": "1"}, "tmpfs": ["/tmp"]}

    assert arguments(service) == ["--read-only", "--env", "A=1", "--tmpfs", "/tmp", "one:1", "a", "b"]
    with pytest.raises(KeyError, match="privileged"):
        arguments({**service, "privileged": True})
