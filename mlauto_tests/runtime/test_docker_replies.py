"""How answers and failures of the engine become ours."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, DockerException

from mlauto.runtime.docker_replies import check_socket, image_of, label_filters, problem, said, state_of
from mlauto.runtime.engine import EngineError


def test_an_image_without_labels_or_tags() -> None:
    """Imported images have neither."""
    image = image_of(
        {
            "Id": "sha256:1",
            "RepoTags": None,
            "RootFS": {"Layers": ["a"]},
            "Size": 3,
            "Created": "t",
            "Config": None,
            "Architecture": "arm64",
            "Metadata": {"LastTagTime": "u"},
        }
    )

    assert (image.architecture, image.created, image.tagged) == ("arm64", "t", "u")
    assert (image.tags, image.labels, image.layers, image.config) == ((), {}, ("a",), {})


def test_a_container_with_and_without_health() -> None:
    """Health is empty where nothing is probed."""
    found = {
        "Id": "1",
        "Name": "/one",
        "Image": "sha256:1",
        "RestartCount": 2,
        "Created": "t",
        "Config": {"Labels": {"a": "b"}},
        "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": True, "Health": {"Status": "unhealthy"}},
    }
    state = state_of(found)

    assert (state.name, state.health, state.exit_code, state.oom_killed, state.restarts) == (
        "one",
        "unhealthy",
        137,
        True,
        2,
    )
    bare = state_of({**found, "State": {"Status": "running", "ExitCode": 0, "OOMKilled": False}, "Config": {}})
    assert (bare.health, bare.labels) == ("", {})


def test_filters_by_name_or_by_value() -> None:
    """An empty value fits any."""
    assert label_filters({"a": "", "b": "c"}) == ["a", "b=c"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (APIError("500", explanation="write /x: no space left on device"), "the engine's disk is full"),
        (requests.exceptions.ConnectionError("('Connection aborted.', reset)"), "the Docker engine went away"),
        (DockerException("something else"), "it cannot be done: something else$"),
    ],
)
def test_failures_say_what_to_do(error: Exception, sentence: str) -> None:
    """With the engine's own words."""
    with pytest.raises(EngineError, match=sentence), said("it cannot be done"):
        raise error


def test_what_is_no_failure_of_the_engine_passes() -> None:
    """A mistake of ours stays a traceback."""
    with pytest.raises(KeyError), said("it cannot be done"):
        raise KeyError("x")
    assert str(problem("it cannot be done", "")) == "it cannot be done"


def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    """Missing, refused and denied are told apart; other addresses are the SDK's business."""
    path = tmp_path / "docker.sock"
    with pytest.raises(EngineError, match="No such file"):
        check_socket(f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(EngineError, match="Connection refused"):
            check_socket(f"unix://{path}")
        listener.listen()
        check_socket(f"unix://{path}")
        check_socket("tcp://127.0.0.1:1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_socket_that_may_not_be_opened() -> None:
    """The sentence names the group."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder, "docker.sock")
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        Path(folder).chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(EngineError, match="add it to the group docker"):
                check_socket(f"unix://{path}")
        finally:
            os.seteuid(0)
