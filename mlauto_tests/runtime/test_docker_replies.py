"""How the engine's answers and failures are read."""

import socket
from pathlib import Path

import pytest

from mlauto.runtime.docker_replies import check_socket, image_of, label_filters, problem, said, state_of
from mlauto.runtime.engine import EngineError

IMAGE = {
    "Id": "sha256:1",
    "RepoTags": None,
    "Config": {"Labels": None, "User": "1"},
    "RootFS": {"Type": "layers"},
    "Size": 5,
    "Created": "2026-01-01T00:00:00Z",
    "Architecture": "arm64",
    "Metadata": {"LastTagTime": "2026-01-02T00:00:00Z"},
}
CONTAINER = {
    "Id": "1",
    "Name": "/one",
    "Image": "sha256:1",
    "Created": "2026-01-01T00:00:00Z",
    "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
    "RestartCount": 2,
    "Config": {"Labels": {"a": "b"}},
}


def test_an_image_without_tags_labels_or_layers_is_read() -> None:
    """The engine says null where there are none."""
    found = image_of(IMAGE)

    assert (found.tags, found.labels, found.layers) == ((), {}, ())
    assert (found.id, found.size, found.architecture) == ("sha256:1", 5, "arm64")
    assert (found.created, found.tagged) == ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    assert image_of({**IMAGE, "Metadata": None, "Config": None}).tagged == ""


def test_a_container_is_read() -> None:
    """Without the slash of its name; no health where it has no check."""
    found = state_of(CONTAINER)

    assert (found.name, found.status, found.exit_code, found.oom_killed) == ("one", "exited", 137, True)
    assert (found.restarts, found.labels, found.health) == (2, {"a": "b"}, "")
    health = {**CONTAINER, "State": {**CONTAINER["State"], "Health": {"Status": "healthy"}}}  # type: ignore[dict-item]
    assert state_of(health).health == "healthy"


def test_an_empty_value_fits_any() -> None:
    """Of a label, in a filter."""
    assert label_filters({"a": "1", "b": ""}) == ["a=1", "b"]


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("write /x: no space left on device", "the engine's disk is full: free some space"),
        ("('Connection aborted.', RemoteDisconnected())", "the Docker engine went away: start it again"),
        ("something else", "something else"),
    ],
)
def test_a_known_problem_comes_with_advice(why: str, advice: str) -> None:
    """What could not be done, why, and what to do."""
    text = str(problem("an image cannot be built", why))

    assert text.startswith(f"an image cannot be built: {why}")
    assert advice in text


def test_failures_of_the_sdk_are_ours() -> None:
    """With what the engine explained; other errors pass."""
    from docker.errors import APIError

    with pytest.raises(EngineError, match="it cannot be done: because"), said("it cannot be done"):
        raise APIError("500 Server Error", explanation="because")
    with pytest.raises(ValueError, match="other"), said("it cannot be done"):
        raise ValueError("other")


def test_a_socket_is_tried_first(tmp_path: Path) -> None:
    """One that nobody listens at, or that is not there, is named; another kind of address is left to the SDK."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(
            EngineError, match=r"no Docker engine answers at .*/s \(Connection refused\): start dockerd"
        ):
            check_socket(f"unix://{path}")
        listener.listen()
        check_socket(f"unix://{path}")
    check_socket("tcp://127.0.0.1:1")
