"""What doctor says of containers."""

import dataclasses
import http.server
import socketserver
import threading
from pathlib import Path

import pytest

from mlauto.commands.doctor import examine
from mlauto.commands.doctor_engine import base_image, docker_version, engine
from mlauto.settings import Settings


def test_an_engine_on_a_unix_socket_is_recognised(tmp_path: Path) -> None:
    """DOCKER_HOST decides where the engine is asked; an unused address, or no JSON, is no engine."""

    class Engine(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"Version": "20.10.24"}' if self.path == "/version" else b"<html>"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

    path = tmp_path / "docker.sock"
    with socketserver.UnixStreamServer(str(path), Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        answered = docker_version({"DOCKER_HOST": f"unix://{path}"})
        server.shutdown()
        thread.join()

    assert answered == "20.10.24"
    assert docker_version({"DOCKER_HOST": f"unix://{tmp_path}/nowhere.sock"}) is None
    assert docker_version({"DOCKER_HOST": "tcp://127.0.0.1:1"}) is None


def test_an_engine_is_needed_by_the_docker_runtime_only(settings: Settings, tmp_path: Path) -> None:
    """Elsewhere its absence is no fault."""
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/nowhere.sock"}
    contained = dataclasses.replace(settings, runtime="docker")

    assert engine(settings, nowhere).status == "optional"
    assert engine(contained, nowhere).status == "missing"
    assert "apt-get install docker.io" in engine(contained, nowhere).advice
    assert "base image" not in [finding.name for finding in examine(settings, nowhere)]
    assert "base image" in [finding.name for finding in examine(contained, nowhere)]


def test_without_an_engine_nobody_knows_its_images(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice is the engine's error."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere.sock")
    found = base_image(settings)

    assert (found.status, found.observed) == ("missing", "not looked for")
    assert "nowhere.sock" in found.advice


@pytest.mark.needs("docker", "base_image")
def test_the_base_image_is_there_or_can_be_made(settings: Settings, docker_base: str) -> None:
    """By its name in the settings."""
    found = base_image(dataclasses.replace(settings, base_image=docker_base))
    assert (found.status, found.observed) == ("ok", docker_base)

    absent = base_image(dataclasses.replace(settings, base_image="mlauto-no-such:1"))
    assert (absent.status, absent.observed) == ("missing", "the engine has no mlauto-no-such:1")
    assert "ops/base_image.sh" in absent.advice
