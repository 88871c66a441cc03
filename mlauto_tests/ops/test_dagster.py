"""Dagster's configuration for containers: complete, and like the checkout's where it does not say otherwise."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import serialize_value
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext

from mlauto.orchestration.instance import HomeComputeLogs
from mlauto.settings import Settings
from mlauto_tests.ops.compose_file import OPS, example, interpolated, loaded

HERE: dict[str, Any] = yaml.safe_load((OPS / "dagster.yaml").read_text())
CHECKOUT: dict[str, Any] = yaml.safe_load((OPS.parent / "dagster.yaml").read_text())
SECRETS = ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "MLAUTO_API_KEY", "MLAUTO_SCRAPE_KEY")
GIVEN = {**example(), **dict.fromkeys(SECRETS, "secret-of-this-test")}
GIVEN |= {"MLAUTO_PROJECT": "/home/team/project", "DOCKER_GID": "999"}
DAEMON = interpolated(loaded(), GIVEN)["services"]["daemon"]["environment"]
OF_THE_DAEMON_ONLY = {"DAGSTER_HOME"}


def context_of(*files: str) -> dict[str, Any]:
    """What the code server tells launchers, of the last file that says it."""
    texts = [
        interpolated(loaded(name), {**GIVEN, "MLAUTO_STATE": "/srv/state", "MLAUTO_STATE_AT": "/srv/state"})[
            "services"
        ]["code"]["environment"]["DAGSTER_CONTAINER_CONTEXT"]
        for name in files
    ]
    found: dict[str, Any] = json.loads(texts[-1])
    return found


def test_dagster_takes_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its own schema, every class with its options; what is handed to run workers names the password's variable."""
    for name, value in {**DAEMON, "MLAUTO_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    reference = InstanceRef.from_dir(str(OPS))
    launcher = reference.run_launcher
    handed = serialize_value(reference)

    assert isinstance(launcher, DockerRunLauncher)
    assert launcher.container_kwargs["auto_remove"]
    assert isinstance(reference.compute_log_manager, HomeComputeLogs)
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    assert "MLAUTO_POSTGRES_PASSWORD" in handed
    assert "secret-of-this-test" not in handed


def test_dagster_refuses_a_wrong_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So the check above can fail."""
    for name, value in DAEMON.items():
        monkeypatch.setenv(name, value)
    text = (OPS / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text.replace("env_vars:", "environment_variables:"))

    with pytest.raises(dg.DagsterInvalidConfigError, match="environment_variables"):
        assert InstanceRef.from_dir(str(tmp_path)).run_launcher


def test_what_is_not_about_containers_is_as_in_the_checkout() -> None:
    """The same queue, pools, retention and stores below MLAUTO_HOME."""
    same = ("telemetry", "nux", "local_artifact_storage", "compute_logs", "run_queue", "concurrency", "retention")

    assert {name: HERE[name] for name in same} == {name: CHECKOUT[name] for name in same}
    assert set(CHECKOUT) - set(HERE) == {"code_servers"}  # a code server of one's own is not reloaded by Dagster
    assert set(HERE) - set(CHECKOUT) == set()


def test_dead_workers_are_seen_and_not_resumed() -> None:
    """Run monitoring is on, as often as in the checkout; a resumed run would be a second worker for the same state."""
    assert HERE["run_monitoring"]["enabled"] is True
    assert HERE["run_monitoring"]["max_resume_run_attempts"] == 0
    assert HERE["run_monitoring"]["poll_interval_seconds"] == CHECKOUT["run_monitoring"]["poll_interval_seconds"]
    stop = HERE["run_launcher"]["config"]["container_kwargs"]["stop_timeout"]
    assert stop < HERE["run_monitoring"]["cancel_timeout_seconds"]


def test_run_workers_get_the_daemons_settings() -> None:
    """Every variable that the daemon has, so that a run sees what the sensors saw."""
    passed = HERE["run_launcher"]["config"]["env_vars"]

    assert set(passed) == set(DAEMON) - OF_THE_DAEMON_ONLY
    assert len(set(passed)) == len(passed)
    assert all("=" not in name for name in passed), "a value in the file, where people would put a password"


def test_the_services_see_one_installation() -> None:
    """State directory, gateway and keys are the same by all services' settings, run workers' included."""
    services = interpolated(loaded(), GIVEN)["services"]
    seen = {name: Settings.from_environment(services[name]["environment"]) for name in ("code", "daemon", "gateway")}

    assert {str(found.home) for found in seen.values()} == {"/var/lib/mlauto/home"}
    assert {found.api_keys for found in seen.values()} == {"secret-of-this-test,secret-of-this-test"}
    assert services["gateway"]["command"][-1] == str(seen["code"].gateway_port)
    assert seen["code"].gateway_url == "http://gateway:8900"
    assert services["gateway"]["command"][4] == str(seen["gateway"].home)


@pytest.mark.parametrize("files", [("compose.yaml",), ("compose.yaml", "compose.docker.yaml")])
def test_run_workers_see_the_files_that_the_code_server_sees(files: tuple[str, ...]) -> None:
    """The same state and project; the Docker socket only with the docker runtime; the launcher takes all of it."""
    said = context_of(*files)
    context = DockerContainerContext.create_from_config(said)
    volumes = [one.split(":")[1] for one in context.container_kwargs["volumes"]]

    assert context.networks == ["mlauto"]
    assert volumes[:2] == ["/srv/state", "/srv/mlauto"]
    assert ("/var/run/docker.sock" in volumes) is ("compose.docker.yaml" in files)
    assert set(context.container_kwargs) <= {"user", "volumes", "group_add"}


def test_the_closed_settings_of_workers_stay_when_the_code_server_adds_its_own() -> None:
    """The launcher merges both, and none of the keys is in both."""
    fixed = HERE["run_launcher"]["config"]["container_kwargs"]
    added = context_of("compose.yaml", "compose.docker.yaml")["docker"]["container_kwargs"]

    assert set(fixed) & set(added) == set()
    assert fixed["read_only"] is True
    assert fixed["cap_drop"] == ["ALL"]
    assert fixed["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "log_config"} <= set(fixed)


def test_the_workspace_names_the_code_server() -> None:
    """By the service's name and port, under the location name that the checkout uses."""
    server = yaml.safe_load((OPS / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    command = loaded()["services"]["code"]["command"]
    module = yaml.safe_load((OPS.parent / "workspace.yaml").read_text())["load_from"][0]["python_module"]

    assert server == {"host": "code", "port": 4000, "location_name": module["location_name"]}
    assert command[command.index("--port") + 1] == "4000"
    assert command[-1] == module["module_name"]
